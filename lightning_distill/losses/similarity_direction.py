"""SKD (CVPR 2026, as published in torchdistill): soft targets and the direction of the samples' similarities."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_distill.checks import check_positive
from lightning_distill.losses.logits import as_matrix, lift_pair, unit_direction
from lightning_distill.losses.precision import full_precision
from lightning_distill.losses.soft_target import kl_distillation_loss


def skd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    tikhonov: float = 0.1,
    instance: float = 1.0,
    direction: float = 1.0,
) -> Tensor:
    """``instance`` * KL(teacher || student) + ``direction`` * mean Mahalanobis length of the similarity's error.

    The KL is a sum over classes, a mean over samples and not multiplied by the squared temperature. The second part
    takes D, the student's minus the teacher's cosines between all samples' logits, and measures each row of D as
    ``sqrt(d^T (cov(D) + tikhonov * I)^-1 d)``. It sees the whole batch and is 0 for a single sample. Zero at agreement.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient. Positions count as samples.
        teacher_logits: Same shape.
        temperature: Above 0; of the soft targets.
        tikhonov: Above 0; added to the covariance's diagonal.
        instance: Coefficient of the soft targets.
        direction: Coefficient of the similarities.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``temperature`` or ``tikhonov`` is not above 0.

    Example:
        >>> skd_loss(torch.eye(3), torch.ones(3, 3))
        tensor(3.8077)
    """
    check_positive("temperature", temperature)
    check_positive("tikhonov", tikhonov)
    student, teacher = lift_pair(student_logits, teacher_logits)
    student, teacher = as_matrix(student), as_matrix(teacher)
    soft_targets = kl_distillation_loss(student, teacher, temperature) / temperature**2
    return instance * soft_targets + direction * _similarity_error(student, teacher, tikhonov)


def _similarity_error(student: Tensor, teacher: Tensor, tikhonov: float) -> Tensor:
    student, teacher = unit_direction(student), unit_direction(teacher)
    with full_precision(student):
        error = student @ student.T - teacher @ teacher.T
        centred = error - error.mean(dim=1, keepdim=True)
        covariance = centred @ centred.T / max(error.shape[0] - 1, 1)
        ridge = tikhonov * torch.eye(error.shape[0], dtype=error.dtype, device=error.device)
        # The checking form waits for the device; with the ridge the matrix is positive definite anyway.
        factor, _ = torch.linalg.cholesky_ex(covariance + ridge)
        whitened = torch.linalg.solve_triangular(factor, error, upper=False)
    lengths: Tensor = torch.linalg.vector_norm(whitened, dim=0)
    return lengths.mean()


class SKDLoss(nn.Module):
    """Module form of :func:`skd_loss`.

    Example:
        >>> SKDLoss()(torch.eye(3), torch.ones(3, 3))
        tensor(3.8077)
    """

    def __init__(
        self, temperature: float = 4.0, tikhonov: float = 0.1, instance: float = 1.0, direction: float = 1.0
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_positive("tikhonov", tikhonov)
        self.temperature = temperature
        self.tikhonov = tikhonov
        self.instance = instance
        self.direction = direction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return skd_loss(student_logits, teacher_logits, self.temperature, self.tikhonov, self.instance, self.direction)

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, tikhonov={self.tikhonov}, instance={self.instance}, "
            f"direction={self.direction}"
        )
