"""Lightning's logger of CSV files, for runs that go on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lightning_distill.engine import pl
from lightning_distill.files import replacing

Writer: Any = pl.loggers.csv_logs.ExperimentWriter
rank_zero_experiment: Any = getattr(pl.loggers.logger, "rank_zero_experiment")  # noqa: B009 - re-exported


class ContinuedCSVLogger(pl.loggers.CSVLogger):
    """Goes on with the file that is there, where Lightning's own deletes it.

    Rows of the steps that a resumed run repeats are replaced, and the row that was being written when it was killed.

    Args:
        options: Of ``CSVLogger``: ``save_dir``, ``name``, ``version`` ...

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for step in (0, 1):  # a run, and one that goes on
        ...         logger = ContinuedCSVLogger(save_dir=folder, version="run")
        ...         logger.log_metrics({"loss": 2.5 - step}, step)
        ...         logger.save()
        ...     print(Path(logger.log_dir, "metrics.csv").read_text().split())
        ['loss,step', '2.5,0', '1.5,1']
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    @property
    @rank_zero_experiment  # type: ignore[untyped-decorator]
    def experiment(self) -> Any:
        """What writes the file."""
        if self._experiment is None:
            self._experiment = ContinuedWriter(log_dir=self.log_dir)
        return self._experiment


class ContinuedWriter(Writer):  # type: ignore[misc]
    """Appends to a file of an earlier process, from the first step on that is logged."""

    _begun = False

    def _check_log_dir_exists(self) -> None:
        """Here Lightning's own deletes the file."""

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        if not self._begun:
            self._keep_before(step or 0)
            self._begun = True
        super().log_metrics(metrics_dict, step)

    def _keep_before(self, step: int) -> None:
        path = Path(self.metrics_file_path)
        if not path.exists():
            return
        with path.open(newline="", errors="replace") as file:
            reader = csv.DictReader(file)
            names, rows = list(reader.fieldnames or []), list(reader)
        kept = [row for row in rows if None not in row.values() and row.get("step", "").isdigit()]
        self.metrics_keys = names
        with replacing(path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(row for row in kept if int(row["step"]) < step)
