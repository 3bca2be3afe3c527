"""What losses with trained parts share: their features in order, a norm that knows single values, a frozen head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_same_shape

Features = Tensor | Sequence[Tensor]
Channels = int | Sequence[int]

# Values are equal if their spread is below this share of the root of a norm's `eps`.
EQUAL = 1e-2


def as_list(features: Features) -> list[Tensor]:
    """One tensor, or all of a sequence, as a list.

    Example:
        >>> len(as_list(torch.zeros(2, 3))), len(as_list((torch.zeros(2, 3), torch.zeros(2, 4))))
        (1, 2)
    """
    return [features] if isinstance(features, Tensor) else list(features)


def pair_features(student_features: Features, teacher_features: Features) -> list[tuple[Tensor, Tensor]]:
    """Pairs of a student's and a teacher's feature, the teacher's detached.

    Raises:
        ValueError: If one side holds more features than the other, or none.

    Example:
        >>> len(pair_features(torch.zeros(2, 3), torch.zeros(2, 3)))
        1
    """
    student, teacher = as_list(student_features), as_list(teacher_features)
    if len(student) != len(teacher) or not student:
        raise ValueError(
            "Expected `student_features` and `teacher_features` to hold as many features, but got "
            f"{len(student)} and {len(teacher)}. Name the same number of layers on both sides."
        )
    return [(s, t.detach()) for s, t in zip(student, teacher, strict=True)]


def lift_features(student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
    """Two features of one shape in one precision of at least float32, the teacher's detached.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> lift_features(torch.zeros(2, 3).half(), torch.zeros(2, 3))[0].dtype
        torch.float32
    """
    check_same_shape(student_features=student_features, teacher_features=teacher_features)
    student, teacher = at_least_fp32(student_features), at_least_fp32(teacher_features.detach())
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    return student.to(dtype), teacher.to(dtype)


def list_channels(student_channels: Channels, teacher_channels: Channels) -> tuple[list[int], list[int]]:
    """The channels of every layer on both sides.

    Raises:
        ValueError: If the numbers of layers differ, or a number of channels is not above 0.

    Example:
        >>> list_channels(8, [16])
        ([8], [16])
    """
    student = [student_channels] if isinstance(student_channels, int) else list(student_channels)
    teacher = [teacher_channels] if isinstance(teacher_channels, int) else list(teacher_channels)
    if len(student) != len(teacher) or not student or min(student + teacher) < 1:
        raise ValueError(
            "Expected `student_channels` and `teacher_channels` to hold as many numbers above 0, but got "
            f"{student} and {teacher}. Give one for each layer."
        )
    return student, teacher


def check_layers(name: str, features: Sequence[object], count: int) -> None:
    """Raise unless there are ``count`` features, as many as the loss was built for.

    Raises:
        ValueError: If there are more or fewer.
    """
    if len(features) != count:
        raise ValueError(
            f"Expected `{name}` to hold {count} features, as at construction, but got {len(features)}. "
            "Name as many layers as the channels that the loss was built with."
        )


def to_input(name: str, feature: Tensor, channels: int, module: nn.Module) -> Tensor:
    """``feature`` as maps ``[B, channels, H, W]`` in the precision of ``module``'s parameters.

    Args:
        name: For the message.
        feature: ``[B, C, H, W]``, or ``[B, C]``, which becomes a map of one position.
        channels: What C must be.
        module: What will read it.

    Raises:
        ValueError: If it has another number of dimensions or channels.

    Example:
        >>> to_input("student_features", torch.zeros(2, 3).half(), 3, nn.Conv2d(3, 4, 1)).shape
        torch.Size([2, 3, 1, 1])
    """
    if feature.dim() not in (2, 4) or feature.shape[1] != channels:
        raise ValueError(
            f"Expected `{name}` to have the shape [B, {channels}] or [B, {channels}, H, W], but got "
            f"{list(feature.shape)}. Build the loss with the channels of the layer that it reads."
        )
    maps = feature if feature.dim() == 4 else feature[:, :, None, None]
    return maps.to(next(module.parameters()).dtype)


class MapNorm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` that can be given values without any variance.

    Where a channel holds one value only, as in a last batch of one sample, running statistics normalise it. Where it
    holds equal values, as a dead channel does, its gradient is not divided by the square root of ``eps``: three such
    layers in a row would make it 3e7 times larger, too large for half precision.

    Example:
        >>> MapNorm(3)(torch.zeros(1, 3, 1, 1)).shape
        torch.Size([1, 3, 1, 1])
    """

    def forward(self, maps: Tensor) -> Tensor:
        if self.training and maps.numel() == maps.shape[1]:
            return F.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(self._calm(maps) if self.training else maps)

    def _calm(self, maps: Tensor) -> Tensor:
        """The same values; the gradient of a channel of equal values is multiplied by the root of ``eps``."""
        values = maps.detach()
        spread = values.amax(dim=(0, 2, 3), keepdim=True) - values.amin(dim=(0, 2, 3), keepdim=True)
        scale = self.eps**0.5
        # Equal up to rounding, which a norm before this one makes larger: far below what `eps` hides anyway.
        return torch.where(spread < EQUAL * scale, maps * scale + values * (1 - scale), maps)


class FrozenHead(nn.Module):
    """The teacher's classifier on maps: never trained, and never in train mode where that would change anything.

    Maps are averaged over their positions, or flattened where the classifier's first linear layer reads that many
    numbers.

    Args:
        head: The teacher's classifier. It is taken over: its parameters stop requiring gradients. Give a copy of it
            if the original is to be trained.

    Example:
        >>> FrozenHead(nn.Linear(8, 3))(torch.zeros(2, 2, 2, 2)).shape
        torch.Size([2, 3])
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head.requires_grad_(False)
        self.train(self.training)
        self.width = next((m.in_features for m in head.modules() if isinstance(m, nn.Linear)), None)

    def train(self, mode: bool = True) -> FrozenHead:
        super().train(mode)
        for module in self.head.modules():
            # A linear layer has no modes; Lightning warns of each module in eval mode.
            if type(module) is not nn.Linear:
                module.eval()
        return self

    def embed(self, maps: Tensor) -> Tensor:
        """What the classifier reads of ``maps``: ``[B, D]``."""
        if maps.dim() == 4:
            maps = maps.flatten(1) if self.width == maps[0].numel() else at_least_fp32(maps).mean(dim=(2, 3))
        if self.width is not None and maps.shape[1] != self.width:
            raise ValueError(
                f"Expected the features to give `teacher_head` {self.width} numbers per sample, but got "
                f"{maps.shape[1]}. Compare the layer that the teacher's classifier reads."
            )
        return maps

    def forward(self, maps: Tensor) -> Tensor:
        embedding = self.embed(maps)
        parameter = next(self.head.parameters(), None)
        logits: Tensor = self.head(embedding if parameter is None else embedding.to(parameter.dtype))
        return logits
