"""Which checkpoint ``ckpt_path`` means."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from lightning_distill.report import RunFolder

LAST = "last"
RUNS = Path("outputs")  # <day>/<time> below it, as conf/hydra/default.yaml names the folders of runs


def take_last_checkpoint(config: DictConfig) -> None:
    """Replace ``ckpt_path=last`` by the newest ``last.ckpt`` of a student's stage among the runs of this project.

    Args:
        config: Changed in place: afterwards ``ckpt_path`` is a file.

    Raises:
        FileNotFoundError: If no run has one.
    """
    if config.get("ckpt_path") != LAST:
        return
    own = Path(config.output_dir).absolute()  # with several processes, the first of them may have begun to write there
    folders = [folder for folder in RUNS.glob("*/*") if folder.absolute() != own]
    found = [last for last in map(_last_of, folders) if last.exists()]
    if not found:
        raise FileNotFoundError(
            f"Expected `ckpt_path=last` to find a run to go on from, but there is no {_last_of(RUNS / '*/*')} in "
            f"{Path.cwd()}. Name the file: ckpt_path=<run folder>/checkpoints/student/last.ckpt"
        )
    config.ckpt_path = str(max(found, key=lambda last: last.stat().st_mtime_ns))


def _last_of(run: Path) -> Path:
    return RunFolder(run).checkpoints("student") / "last.ckpt"
