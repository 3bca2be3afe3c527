"""Handlers of the reference values of losses that compare channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_distill.losses import CWDLoss, HintLoss, ICKDLoss, NSTLoss, PKDLoss, SPLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, read_inputs


def plain(build: Callable[[Entry], nn.Module]) -> Handler:
    def handler(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
        inputs = read_inputs(entry, arrays, dtype)
        return collect(entry, build(entry)(inputs["student"], inputs["teacher"]), inputs)

    return handler


HANDLERS: dict[str, Handler] = {
    "CWD": plain(lambda entry: CWDLoss(entry["hyperparameters"]["tau"])),
    "ICKD (channel similarity)": plain(lambda entry: ICKDLoss("torchdistill")),
    "NST (poly kernel)": plain(lambda entry: NSTLoss()),
    "PKD (Pearson feature)": plain(lambda entry: PKDLoss()),
    "tiny-transformers inter (linear)": plain(lambda entry: HintLoss()),
    "tiny-transformers inter (similarity)": plain(lambda entry: SPLoss()),
}

DEVIATIONS: dict[str, str] = {}
