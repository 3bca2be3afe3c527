"""``report.html`` and its figures, from what a run left in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lightning_distill.engine import pl
from lightning_distill.report.folder import RunFolder, write_text_atomically


def write_report(
    folder: RunFolder, networks: Mapping[str, nn.Module], example_input: Any, data: pl.LightningDataModule
) -> None:
    """Draw the page of a finished run, and its figures as PNG in ``report/``.

    A figure that cannot be drawn is named in the page and does not keep the others from it. A task that is not
    single-label classification gets the parts that make sense for it.

    Args:
        folder: Of the run; holds numbers, rows per epoch and answers.
        networks: What is deployed, by role.
        example_input: For latency and operations.
        data: Where the samples are from that are shown.
    """
    # Imported here: whoever only trains does not wait for matplotlib.
    from lightning_distill.report.contents import read_contents
    from lightning_distill.report.sections import whole_page

    contents = read_contents(folder, networks, example_input, data)
    write_text_atomically(folder.report, whole_page(contents))
