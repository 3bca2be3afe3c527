"""Distillation losses: pure functions of tensors, each with a thin module."""

from lightning_distill.losses.hard_target import HardDistillationLoss, hard_distillation_loss
from lightning_distill.losses.soft_target import KLDistillationLoss, kl_distillation_loss

__all__ = [
    "HardDistillationLoss",
    "KLDistillationLoss",
    "hard_distillation_loss",
    "kl_distillation_loss",
]
