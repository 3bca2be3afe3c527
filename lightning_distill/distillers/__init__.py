"""One ``LightningModule`` per distiller."""

from lightning_distill.distillers.base import BaseDistiller, StudentOutputs
from lightning_distill.distillers.classic import Distiller
from lightning_distill.distillers.deit import DeiTDistiller
from lightning_distill.distillers.distillation import Distillation
from lightning_distill.distillers.sharding import ShardedStudent
from lightning_distill.distillers.simkd import SimKDDistiller
from lightning_distill.distillers.terms import Term

__all__ = [
    "BaseDistiller",
    "DeiTDistiller",
    "Distillation",
    "Distiller",
    "ShardedStudent",
    "SimKDDistiller",
    "StudentOutputs",
    "Term",
]
