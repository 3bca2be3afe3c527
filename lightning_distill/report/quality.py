"""What answers on the test split say about a network, beside its accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from lightning_distill.report.predictions import Predictions

BINS = 15  # of the confidence, as Guo et al. (2017, https://arxiv.org/abs/1706.04599) use


@dataclass(frozen=True)
class Quality:
    """One network's numbers on the test split.

    Attributes:
        accuracy: Share of samples whose highest logit is the label's.
        nll: Negative log likelihood of the labels, in nats, mean over samples.
        ece: Expected calibration error: mean distance of confidence and accuracy, in [0, 1].
        agreement: Share of samples for which it chooses the teacher's class; ``None`` without a teacher.
        teacher_kl: KL(teacher || network) at temperature 1, in nats, mean over samples.
    """

    accuracy: float
    nll: float
    ece: float
    agreement: float | None = None
    teacher_kl: float | None = None


def measure_quality(own: Predictions, teacher: Predictions | None = None) -> Quality:
    """The numbers of one network.

    Args:
        own: Its answers.
        teacher: The teacher's answers to the same samples.

    Example:
        >>> import torch
        >>> certain = Predictions(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0]))
        >>> found = measure_quality(certain)
        >>> found.accuracy, round(found.nll, 2), round(found.ece, 2)
        (0.5, 4.5, 0.5)
    """
    classes = own.logits.shape[1]
    accuracy = multiclass_accuracy(own.logits, own.target, classes, average="micro")
    nll = F.cross_entropy(own.logits, own.target)
    ece = multiclass_calibration_error(own.logits.softmax(dim=1), own.target, classes, n_bins=BINS)
    if teacher is None:
        return Quality(float(accuracy), float(nll), float(ece))
    agreement = (choices(own) == choices(teacher)).float().mean()
    own_log, teacher_log = own.logits.log_softmax(dim=1), teacher.logits.log_softmax(dim=1)
    teacher_kl = F.kl_div(own_log, teacher_log, reduction="batchmean", log_target=True)
    return Quality(float(accuracy), float(nll), float(ece), float(agreement), float(teacher_kl))


def choices(predictions: Predictions) -> Tensor:
    """The chosen class of every sample, ``[N]``."""
    return predictions.logits.argmax(dim=1)


def class_agreement(own: Predictions, teacher: Predictions) -> Tensor:
    """Share of each class's samples for which ``own`` chooses what the teacher does, ``[C]``; NaN for empty classes.

    Example:
        >>> import torch
        >>> target = torch.tensor([0, 0, 1])
        >>> teacher = Predictions(torch.eye(2)[[0, 1, 1]], target)
        >>> class_agreement(Predictions(torch.eye(2)[[0, 0, 1]], target), teacher)
        tensor([0.5000, 1.0000])
    """
    same = (choices(own) == choices(teacher)).float()
    classes = own.logits.shape[1]
    counts = own.target.bincount(minlength=classes)
    return own.target.bincount(weights=same, minlength=classes).to(same.dtype) / counts


def confusion_difference(student: Predictions, baseline: Predictions) -> Tensor:
    """Samples of class (row) that the student takes for class (column), more than the baseline does, ``[C, C]``."""
    classes = student.logits.shape[1]
    own, alone = (
        multiclass_confusion_matrix(part.logits, part.target, num_classes=classes) for part in (student, baseline)
    )
    return own - alone


def reliability(predictions: Predictions) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Confidence of every sample ``[N]``; mean confidence and accuracy of every bin that holds samples."""
    from sklearn.calibration import calibration_curve  # here, where a page is drawn: it takes a second to import

    confidence, chosen = predictions.logits.softmax(dim=1).max(dim=1)
    right = (chosen == predictions.target).numpy()
    accuracy, mean_confidence = calibration_curve(right, confidence.double().clamp(0, 1).numpy(), n_bins=BINS)
    return confidence, mean_confidence, accuracy
