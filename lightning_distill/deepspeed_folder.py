"""Read a checkpoint that DeepSpeed wrote as a folder, up to its stage 2, and look at it before DeepSpeed does."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lightning_distill.weights import read_content

TAG = "checkpoint"  # the folder in the folder, as Lightning has it named
WEIGHTS = f"{TAG}/mp_rank_00_model_states.pt"
# What DeepSpeed pickles beside tensors and plain values; none of these does anything when it is read.
ALLOWED = {
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
}


def is_deepspeed(folder: str | Path) -> bool:
    """Whether DeepSpeed wrote ``folder``."""
    return (Path(folder) / WEIGHTS).is_file()


def check_deepspeed(folder: str | Path) -> None:
    """Raise unless the files in ``folder`` hold data alone: DeepSpeed would run what they name.

    Raises:
        ValueError: If one is damaged, or names code.
    """
    folder = Path(folder)
    try:
        if (folder / "latest").read_text().strip() != TAG:
            raise ValueError(f"`latest` names something else than {TAG}")
        for file in sorted(folder.rglob("*.pt")):
            named = set(torch.serialization.get_unsafe_globals_in_checkpoint(str(file))) - ALLOWED
            if named:
                raise ValueError(f"{file.name} names {min(named)}, which is no data")
    except Exception as error:  # whatever the bytes of a file that is something else make the reader do
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"Expected {folder} to be a checkpoint as DeepSpeed writes it, but it cannot be read: {first}."
        ) from None


def read_deepspeed(folder: str | Path) -> dict[str, Tensor]:
    """The weights in ``folder``: whole, in the precision in which DeepSpeed trained.

    Raises:
        ValueError: If there are none, or reading them would run code.
    """
    file = Path(folder) / WEIGHTS
    content = read_content(file)
    weights = content.get("module") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"Expected {file} to hold a network's weights as DeepSpeed writes them, but it does not.")
    return dict(weights)
