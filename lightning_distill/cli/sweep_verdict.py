"""At the end of a sweep: the verdict over its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepVerdict(Callback):
    """Says after ``train.py -m ...`` what its runs tell; named in ``conf/hydra/default.yaml``."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        # Imported here: every run builds this object, and only a sweep uses it.
        from lightning_distill.report.console import say
        from lightning_distill.report.summary import report_on

        try:
            report_on([Path(config.hydra.sweep.dir)])
        except Exception as error:  # the runs are finished and saved, whatever is wrong with their summary
            say(f"verdict: it could not be given ({type(error).__name__}: {error})")
