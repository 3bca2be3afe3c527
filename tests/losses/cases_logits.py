"""The logit losses."""

from __future__ import annotations

from functools import partial

import torch

from lightning_distill.losses.bce import SoftTargetBCELoss, soft_target_bce_loss
from lightning_distill.losses.corrected import MFTLoss, mft_loss
from lightning_distill.losses.curriculum import CTKDLoss
from lightning_distill.losses.decoupled import DKDLoss, dkd_loss
from lightning_distill.losses.hard_target import HardDistillationLoss, hard_distillation_loss
from lightning_distill.losses.multi_level import MLKDLoss, mlkd_loss
from lightning_distill.losses.normalized import NKDLoss, nkd_loss
from lightning_distill.losses.pearson import DISTLoss, dist_loss
from lightning_distill.losses.pearson_plus import DISTPlusLoss, dist_plus_loss
from lightning_distill.losses.regression import (
    CosineLogitsLoss,
    MSELogitsLoss,
    cosine_logits_loss,
    mse_logits_loss,
)
from lightning_distill.losses.similarity_direction import SKDLoss, skd_loss
from lightning_distill.losses.soft_target import KLDistillationLoss, kl_distillation_loss
from lightning_distill.losses.weighted import WSLDLoss, wsld_loss
from tests.losses.cases import Case, Inputs, randn

CLASSES = 6


def logits(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(2 * randn(generator, batch, CLASSES), 2 * randn(generator, batch, CLASSES))


def maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(2 * randn(generator, batch, CLASSES, 2, 3), 2 * randn(generator, batch, CLASSES, 2, 3))


def labelled(generator: torch.Generator, batch: int) -> Inputs:
    pair = logits(generator, batch)
    return Inputs(pair.student, pair.teacher, {"target": torch.randint(CLASSES, (batch,), generator=generator)})


def labelled_maps(generator: torch.Generator, batch: int) -> Inputs:
    pair = maps(generator, batch)
    return Inputs(pair.student, pair.teacher, {"target": torch.randint(CLASSES, (batch, 2, 3), generator=generator)})


def two_views(generator: torch.Generator, batch: int) -> Inputs:
    return logits(generator, 2 * batch)


def features_and_logits(generator: torch.Generator, batch: int) -> Inputs:
    needs = {
        "student_logits": 2 * randn(generator, batch, CLASSES),
        "teacher_logits": 2 * randn(generator, batch, CLASSES),
    }
    student, teacher = randn(generator, batch, 3, 2, 4), randn(generator, batch, 3, 2, 4)
    return Inputs(student, teacher, needs, trained_needs=("student_logits",))


CASES = [
    Case("kd", KLDistillationLoss, logits, kl_distillation_loss, zero_at_agreement=True, additive=True),
    Case("kd_maps", KLDistillationLoss, maps, kl_distillation_loss, zero_at_agreement=True, additive=True),
    Case(
        "kd_sequences",
        partial(KLDistillationLoss, class_dim=-1),
        maps,
        partial(kl_distillation_loss, class_dim=-1),
        zero_at_agreement=True,
        additive=True,
    ),
    Case(
        "kd_standardized",
        partial(KLDistillationLoss, temperature=2.0, standardize=True),
        logits,
        partial(kl_distillation_loss, temperature=2.0, standardize=True),
        zero_at_agreement=True,
        additive=True,
    ),
    Case("hard", HardDistillationLoss, logits, hard_distillation_loss, additive=True),
    Case(
        "hard_softmax",
        partial(HardDistillationLoss, targets="softmax"),
        logits,
        partial(hard_distillation_loss, targets="softmax"),
        additive=True,
    ),
    Case("dkd", DKDLoss, labelled, dkd_loss, zero_at_agreement=True, additive=True),
    Case("dkd_maps", DKDLoss, labelled_maps, dkd_loss, zero_at_agreement=True, additive=True),
    Case(
        "dkd_standardized",
        partial(DKDLoss, standardize=True),
        labelled,
        partial(dkd_loss, standardize=True),
        zero_at_agreement=True,
        additive=True,
    ),
    Case("nkd", NKDLoss, labelled, nkd_loss, additive=True),
    Case(
        "nkd_cifar",
        partial(NKDLoss, gamma=3.5, temperature=3.0),
        labelled_maps,
        partial(nkd_loss, gamma=3.5, temperature=3.0),
        additive=True,
    ),
    Case(
        "wsld",
        WSLDLoss,
        labelled,
        wsld_loss,
        additive=True,
        gradcheck=False,
        reason="the samples' weights depend on the student but get no gradient; test_weighted.py checks them as fixed",
    ),
    Case("dist", DISTLoss, logits, dist_loss),
    Case("dist_maps", partial(DISTLoss, variant="clamped"), maps, partial(dist_loss, variant="clamped")),
    Case("mlkd", MLKDLoss, logits, mlkd_loss, zero_at_agreement=True),
    Case(
        "mlkd_code",
        partial(MLKDLoss, views=2, standardize=True, variant="code"),
        two_views,
        partial(mlkd_loss, views=2, standardize=True, variant="code"),
        zero_at_agreement=True,
    ),
    Case("ctkd", CTKDLoss, logits, zero_at_agreement=True, additive=True),
    Case("ctkd_standardized", partial(CTKDLoss, standardize=True), maps, zero_at_agreement=True, additive=True),
    Case("bce", SoftTargetBCELoss, logits, soft_target_bce_loss, additive=True),
    Case("cosine", CosineLogitsLoss, logits, cosine_logits_loss, zero_at_agreement=True, additive=True),
    Case(
        "cosine_centered",
        partial(CosineLogitsLoss, center=True),
        maps,
        partial(cosine_logits_loss, center=True),
        zero_at_agreement=True,
        additive=True,
    ),
    Case("mse", MSELogitsLoss, logits, mse_logits_loss, zero_at_agreement=True, additive=True),
    Case(
        "mse_centered",
        partial(MSELogitsLoss, center=True, reduction="mean"),
        maps,
        partial(mse_logits_loss, center=True, reduction="mean"),
        zero_at_agreement=True,
        additive=True,
    ),
    Case("mft", MFTLoss, labelled, mft_loss, additive=True),
    Case("skd", SKDLoss, logits, skd_loss, zero_at_agreement=True),
    Case("dist_plus", DISTPlusLoss, features_and_logits, dist_plus_loss, wrong_name="student_features"),
]
