"""Channel-wise distillation, CWD (Shu et al., 2021, https://arxiv.org/abs/2011.13256)."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_distill.checks import check_positive
from lightning_distill.losses.divergence import score_divergence
from lightning_distill.losses.trained import lift_features


def cwd_loss(student_features: Tensor, teacher_features: Tensor, temperature: float = 4.0) -> Tensor:
    """KL(teacher || student) of each channel's softened distribution over the positions, times ``temperature ** 2``.

    Summed over positions, a mean over samples and channels. Zero where every channel agrees up to a constant.

    Args:
        student_features: Feature maps or segmentation logits ``[B, C, H, W]`` (any number of positions' dimensions);
            the only input that receives a gradient.
        teacher_features: Same shape; an adapter joins other channels.
        temperature: Above 0; the paper's is 4 for features, and 4 or 1 for logits.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, there are no positions, or the temperature is not above 0.

    Example:
        >>> import torch
        >>> cwd_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.0, 4.0]]]]))
        tensor(1.7751)
    """
    check_positive("temperature", temperature)
    student, teacher = lift_features(student_features, teacher_features)
    if student_features.dim() < 3:
        raise ValueError(
            f"Expected `student_features` to have the shape [B, C, H, W], but got {list(student_features.shape)}."
        )
    scores = student.flatten(2) / temperature, teacher.flatten(2) / temperature
    return score_divergence(*scores, temperature**2 / (student.shape[0] * student.shape[1]))


class CWDLoss(nn.Module):
    """Module form of :func:`cwd_loss`."""

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        return cwd_loss(student_features, teacher_features, self.temperature)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"
