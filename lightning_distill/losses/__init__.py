"""Distillation losses: pure functions of tensors, each with a thin module."""

from lightning_distill.losses.ab import ABLoss, ab_loss
from lightning_distill.losses.affinity import AffinityLoss, affinity_loss
from lightning_distill.losses.attention import ATLoss, at_loss
from lightning_distill.losses.bce import SoftTargetBCELoss, soft_target_bce_loss
from lightning_distill.losses.channel_correlation import ICKDLoss, ickd_loss
from lightning_distill.losses.channel_wise import CWDLoss, cwd_loss
from lightning_distill.losses.class_weighted import class_weighted_cross_entropy
from lightning_distill.losses.contrastive import CRDLoss, crd_loss
from lightning_distill.losses.corrected import MFTLoss, mft_loss
from lightning_distill.losses.correlation import CCLoss, cc_loss
from lightning_distill.losses.curriculum import CTKDLoss
from lightning_distill.losses.decoupled import DKDLoss, dkd_loss
from lightning_distill.losses.factor import FTLoss, Paraphraser, Translator, ft_loss
from lightning_distill.losses.flow import FSPLoss, fsp_loss, fsp_matrix
from lightning_distill.losses.hard_target import HardDistillationLoss, hard_distillation_loss
from lightning_distill.losses.hint import HintLoss, hint_loss
from lightning_distill.losses.mgd import MGDLoss, mgd_loss
from lightning_distill.losses.minilm import MiniLMLoss, minilm_loss
from lightning_distill.losses.multi_level import MLKDLoss, batch_relation_loss, class_relation_loss, mlkd_loss
from lightning_distill.losses.normalized import NKDLoss, nkd_loss
from lightning_distill.losses.ofd import OFDLoss, ofd_loss
from lightning_distill.losses.pad import PADL2Loss, pad_l2_loss
from lightning_distill.losses.pearson import DISTLoss, dist_loss
from lightning_distill.losses.pearson_features import PKDLoss, pkd_loss
from lightning_distill.losses.pearson_plus import DISTPlusLoss, dist_plus_loss
from lightning_distill.losses.pkt import PKTLoss, pkt_loss
from lightning_distill.losses.queue import QueueLoss, queue_loss, token_similarity_loss
from lightning_distill.losses.regression import CosineLogitsLoss, MSELogitsLoss, cosine_logits_loss, mse_logits_loss
from lightning_distill.losses.relational import RKDLoss, rkd_loss
from lightning_distill.losses.review import ReviewKDLoss, hcl_loss
from lightning_distill.losses.selectivity import NSTLoss, nst_loss
from lightning_distill.losses.similarity import SPLoss, sp_loss
from lightning_distill.losses.similarity_direction import SKDLoss, skd_loss
from lightning_distill.losses.simkd import SimKDLoss, SimKDProjector, simkd_loss
from lightning_distill.losses.singular import KDSVDLoss, kdsvd_loss
from lightning_distill.losses.soft_target import KLDistillationLoss, kl_distillation_loss
from lightning_distill.losses.srd import SRDLoss, srd_loss
from lightning_distill.losses.srrl import SRRLLoss, srrl_loss
from lightning_distill.losses.standardize import standardize_logits
from lightning_distill.losses.tokens import TokenLoss, token_loss
from lightning_distill.losses.variational import VIDLoss, vid_loss
from lightning_distill.losses.vitkd import ViTKDLoss
from lightning_distill.losses.weighted import WSLDLoss, wsld_loss

__all__ = [
    "ABLoss",
    "ATLoss",
    "AffinityLoss",
    "CCLoss",
    "CRDLoss",
    "CTKDLoss",
    "CWDLoss",
    "CosineLogitsLoss",
    "DISTLoss",
    "DISTPlusLoss",
    "DKDLoss",
    "FSPLoss",
    "FTLoss",
    "HardDistillationLoss",
    "HintLoss",
    "ICKDLoss",
    "KDSVDLoss",
    "KLDistillationLoss",
    "MFTLoss",
    "MGDLoss",
    "MLKDLoss",
    "MSELogitsLoss",
    "MiniLMLoss",
    "NKDLoss",
    "NSTLoss",
    "OFDLoss",
    "PADL2Loss",
    "PKDLoss",
    "PKTLoss",
    "Paraphraser",
    "QueueLoss",
    "RKDLoss",
    "ReviewKDLoss",
    "SKDLoss",
    "SPLoss",
    "SRDLoss",
    "SRRLLoss",
    "SimKDLoss",
    "SimKDProjector",
    "SoftTargetBCELoss",
    "TokenLoss",
    "Translator",
    "VIDLoss",
    "ViTKDLoss",
    "WSLDLoss",
    "ab_loss",
    "affinity_loss",
    "at_loss",
    "batch_relation_loss",
    "cc_loss",
    "class_relation_loss",
    "class_weighted_cross_entropy",
    "cosine_logits_loss",
    "crd_loss",
    "cwd_loss",
    "dist_loss",
    "dist_plus_loss",
    "dkd_loss",
    "fsp_loss",
    "fsp_matrix",
    "ft_loss",
    "hard_distillation_loss",
    "hcl_loss",
    "hint_loss",
    "ickd_loss",
    "kdsvd_loss",
    "kl_distillation_loss",
    "mft_loss",
    "mgd_loss",
    "minilm_loss",
    "mlkd_loss",
    "mse_logits_loss",
    "nkd_loss",
    "nst_loss",
    "ofd_loss",
    "pad_l2_loss",
    "pkd_loss",
    "pkt_loss",
    "queue_loss",
    "rkd_loss",
    "simkd_loss",
    "skd_loss",
    "soft_target_bce_loss",
    "sp_loss",
    "srd_loss",
    "srrl_loss",
    "standardize_logits",
    "token_loss",
    "token_similarity_loss",
    "vid_loss",
    "wsld_loss",
]
