"""Distillation losses: pure functions of tensors, each with a thin module."""

from lightning_distill.losses.bce import SoftTargetBCELoss, soft_target_bce_loss
from lightning_distill.losses.corrected import MFTLoss, mft_loss
from lightning_distill.losses.curriculum import CTKDLoss
from lightning_distill.losses.decoupled import DKDLoss, dkd_loss
from lightning_distill.losses.hard_target import HardDistillationLoss, hard_distillation_loss
from lightning_distill.losses.multi_level import MLKDLoss, batch_relation_loss, class_relation_loss, mlkd_loss
from lightning_distill.losses.normalized import NKDLoss, nkd_loss
from lightning_distill.losses.pearson import DISTLoss, dist_loss
from lightning_distill.losses.pearson_plus import DISTPlusLoss, dist_plus_loss
from lightning_distill.losses.regression import CosineLogitsLoss, MSELogitsLoss, cosine_logits_loss, mse_logits_loss
from lightning_distill.losses.similarity_direction import SKDLoss, skd_loss
from lightning_distill.losses.soft_target import KLDistillationLoss, kl_distillation_loss
from lightning_distill.losses.standardize import standardize_logits
from lightning_distill.losses.weighted import WSLDLoss, wsld_loss

__all__ = [
    "CTKDLoss",
    "CosineLogitsLoss",
    "DISTLoss",
    "DISTPlusLoss",
    "DKDLoss",
    "HardDistillationLoss",
    "KLDistillationLoss",
    "MFTLoss",
    "MLKDLoss",
    "MSELogitsLoss",
    "NKDLoss",
    "SKDLoss",
    "SoftTargetBCELoss",
    "WSLDLoss",
    "batch_relation_loss",
    "class_relation_loss",
    "cosine_logits_loss",
    "dist_loss",
    "dist_plus_loss",
    "dkd_loss",
    "hard_distillation_loss",
    "kl_distillation_loss",
    "mft_loss",
    "mlkd_loss",
    "mse_logits_loss",
    "nkd_loss",
    "skd_loss",
    "soft_target_bce_loss",
    "standardize_logits",
    "wsld_loss",
]
