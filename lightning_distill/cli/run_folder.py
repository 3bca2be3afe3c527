"""The folder of a run, the same in all of its processes: where a launcher starts several, each reads its own clock."""

from __future__ import annotations

import os
from datetime import timedelta

WAIT = timedelta(minutes=5)  # for the first process to say where


def run_folder(resume: str | None, new: str) -> str:
    """The folder of a run that is resumed, or the one for a new run; read by conf/hydra/default.yaml.

    Args:
        resume: What ``resume=`` names.
        new: Where this process would put a new run. Of processes that ``torchrun`` started, the first one's counts;
            those of ``srun`` use ``outputs/slurm/<job>-<step>``.

    Example:
        >>> run_folder(None, "outputs/2026-01-01/12-00-00"), run_folder("runs/a", "outputs/2026-01-01/12-00-00")
        ('outputs/2026-01-01/12-00-00', 'runs/a')
    """
    if resume:
        return resume
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return _said_by_the_first(new)
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_ID" in os.environ:
        return f"outputs/slurm/{os.environ['SLURM_JOB_ID']}-{os.environ['SLURM_STEP_ID']}"
    return new


def _said_by_the_first(new: str) -> str:
    """Rank 0's ``new``, through the store that ``torchrun`` keeps for its processes."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined] # here, so that --help does without torch

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=WAIT)
    key = f"lightning_distill/run_folder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if os.environ["RANK"] == "0":
        store.set(key, new)
    said: bytes = store.get(key)
    return said.decode()
