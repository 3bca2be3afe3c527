"""Attention transfer, AT (Zagoruyko and Komodakis, 2017, https://arxiv.org/abs/1612.03928)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_choice, check_positive
from lightning_distill.losses.embeddings import unit_rows
from lightning_distill.losses.simkd import match_sizes
from lightning_distill.losses.trained import Features, as_list, check_layers

ATVariant = Literal["code", "paper"]
VARIANTS = ("code", "paper")


def at_loss(
    student_features: Features, teacher_features: Features, power: float = 2.0, variant: ATVariant = "code"
) -> Tensor:
    """Distance of the attention maps: where on the image a layer is active, over all channels.

    A sample's attention map is the mean over channels of ``|feature| ** power``, flattened and divided by its L2 norm.
    Several layers are added up. Zero where the two sides agree up to a factor. The larger maps are averaged to the
    size of the smaller ones; channels may differ.

    Args:
        student_features: ``[B, C, H, W]``, or one for each layer; all that receives a gradient.
        teacher_features: ``[B, C', H', W']``, as many.
        power: Above 0.
        variant: ``"code"``: squared difference, a mean over samples and positions, as in the authors' code and in
            RepDistiller, mdistiller and MMRazor. ``"paper"``: the L2 norm of each sample's difference, a mean over
            samples, about 100 times larger.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the features are no maps, or the batches or numbers of layers differ.

    Example:
        >>> student, teacher = torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]])
        >>> at_loss(student, teacher), at_loss(student, teacher, variant="paper")
        (tensor(1.), tensor(1.4142))
    """
    check_positive("power", power)
    check_choice("variant", variant, VARIANTS)
    students, teachers = as_list(student_features), as_list(teacher_features)
    check_layers("teacher_features", teachers, len(students))
    layers = [_layer(s, t.detach(), power, variant) for s, t in zip(students, teachers, strict=True)]
    return layers[0] if len(layers) == 1 else torch.stack(layers).sum()


def _layer(student: Tensor, teacher: Tensor, power: float, variant: ATVariant) -> Tensor:
    for name, maps in (("student_features", student), ("teacher_features", teacher)):
        if maps.dim() != 4:
            raise ValueError(f"Expected `{name}` to have the shape [B, C, H, W], but got {list(maps.shape)}.")
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(
            "Expected `student_features` and `teacher_features` to hold as many samples, but got "
            f"{student.shape[0]} and {teacher.shape[0]}."
        )
    student, teacher = match_sizes(student, teacher)
    difference = attention_map(student, power) - attention_map(teacher, power)
    if variant == "paper":
        norms: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return norms.mean()
    return difference.square().mean()


def attention_map(features: Tensor, power: float = 2.0) -> Tensor:
    """Mean over channels of ``|features| ** power`` as unit vectors ``[B, H * W]``; zero samples stay zero.

    Example:
        >>> attention_map(torch.tensor([[[[2.0, 0.0]], [[2.0, 0.0]]]]))
        tensor([[1., 0.]])
    """
    features = at_least_fp32(features)
    powers = features.square() if power == 2 else features.abs().pow(power)
    return unit_rows(powers.mean(dim=1).flatten(1))


class ATLoss(nn.Module):
    """Module form of :func:`at_loss`.

    Example:
        >>> ATLoss()(torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]]))
        tensor(1.)
    """

    def __init__(self, power: float = 2.0, variant: ATVariant = "code") -> None:
        super().__init__()
        check_positive("power", power)
        check_choice("variant", variant, VARIANTS)
        self.power = power
        self.variant: ATVariant = variant

    def forward(self, student_features: Features, teacher_features: Features) -> Tensor:
        return at_loss(student_features, teacher_features, self.power, self.variant)

    def extra_repr(self) -> str:
        return f"power={self.power}, variant={self.variant!r}"
