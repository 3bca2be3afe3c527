"""Knowledge distillation for PyTorch Lightning: a frozen teacher and a trainable student in one module."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lightning_distill.distillers import DeiTDistiller, Distillation, Distiller
    from lightning_distill.losses import HardDistillationLoss, KLDistillationLoss
    from lightning_distill.teachers import FrozenTeacher

# Looked up on first use, so that `import lightning_distill.losses` does not import Lightning.
_HOMES = {
    "DeiTDistiller": "lightning_distill.distillers",
    "Distillation": "lightning_distill.distillers",
    "Distiller": "lightning_distill.distillers",
    "FrozenTeacher": "lightning_distill.teachers",
    "HardDistillationLoss": "lightning_distill.losses",
    "KLDistillationLoss": "lightning_distill.losses",
}

__all__ = ["DeiTDistiller", "Distillation", "Distiller", "FrozenTeacher", "HardDistillationLoss", "KLDistillationLoss"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
