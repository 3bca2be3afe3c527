"""Mixup (https://arxiv.org/abs/1710.09412) and CutMix (https://arxiv.org/abs/1905.04899), once per batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_distill.checks import check_fraction
from lightning_distill.data.labels import NO_LABEL
from lightning_distill.types import Batch, describe


class Mix(NamedTuple):
    """How the samples of one batch are mixed, each with the one before it.

    Attributes:
        share: What a sample keeps of itself, in [0, 1].
        box: For CutMix the part that comes from the other: top, bottom, left and right as shares of the image's size.
    """

    share: float
    box: tuple[float, float, float, float] | None = None


class Mixing:
    """Mixes the images of a batch, and their labels in the same proportion: the labels become probabilities.

    Teacher and student see the same mixed images. Where the teacher has an input of its own it is mixed with the same
    partners, share and box, at its own resolution. How a batch is mixed is a function of (seed, epoch, batch, process),
    so a resumed run goes on with the same mixes.

    A sample without a label (target -100) has a row of zeros; mixed with a labelled one it gives it the other's label
    with the other's share, and the rest of the row's mass of 1 is missing: nothing is invented.

    Args:
        mixup_alpha: Mixup's share is drawn from Beta(alpha, alpha); 0 for no mixup.
        cutmix_alpha: Likewise for CutMix, whose labels then follow the box's true area.
        mix_prob: Share of the batches that are mixed.
        switch_prob: Share of the mixed batches that CutMix mixes, where both are on.
        label_smoothing: Share of a label that is spread over all classes. Set it here rather than in the student loss,
            which would also smooth the rows of samples without a label.
        seed: Not below 0.

    Raises:
        ValueError: If a number is out of range, or both alphas are 0.

    Example:
        >>> mixing = Mixing(mixup_alpha=1.0, cutmix_alpha=0.0, seed=1)
        >>> batch = mixing(Batch(torch.tensor([[0.0], [10.0]]), torch.tensor([0, 1])), num_classes=2, epoch=0, index=0)
        >>> batch.inputs, batch.target
        (tensor([[5.7583],
                [4.2417]]), tensor([[0.4242, 0.5758],
                [0.5758, 0.4242]]))
    """

    def __init__(
        self,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        *,
        mix_prob: float = 1.0,
        switch_prob: float = 0.5,
        label_smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
            if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 <= alpha < float("inf"):
                raise ValueError(f"Expected `{name}` to be a number of at least 0, but got {alpha!r}.")
        if mixup_alpha == cutmix_alpha == 0:
            raise ValueError(
                "Expected `mixup_alpha` or `cutmix_alpha` to be above 0, but got 0 for both. Leave mixing out instead."
            )
        for name, share in (("mix_prob", mix_prob), ("switch_prob", switch_prob), ("label_smoothing", label_smoothing)):
            check_fraction(name, share)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"Expected `seed` to be a whole number of at least 0, but got {seed!r}.")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.mix_prob = mix_prob
        self.switch_prob = switch_prob
        self.label_smoothing = label_smoothing
        self.seed = seed

    def __call__(self, batch: Batch, *, num_classes: int, epoch: int, index: int, rank: int = 0) -> Batch:
        """The batch with mixed inputs and probabilities ``[B, num_classes]`` as its target.

        Args:
            batch: Inputs are a float tensor ``[B, ...]`` or a mapping of such tensors, images ``[B, C, H, W]`` where
                CutMix is on. The target is class indices ``[B]``, probabilities ``[B, num_classes]`` or ``None``.
            num_classes: Number of classes.
            epoch: From 0.
            index: Of the batch in the epoch.
            rank: Of this process.

        Raises:
            ValueError: If inputs or target are something else.
        """
        mix = self.draw(epoch, index, rank)
        inputs = mixed(batch.inputs, mix)
        teacher_input = None if batch.teacher_input is None else mixed(batch.teacher_input, mix)
        target = batch.target
        if target is not None:
            target = probabilities(target, num_classes, self.label_smoothing)
            share = share_of(batch.inputs, mix)
            target = target * share + target.roll(1, 0) * (1 - share)
        return batch._replace(inputs=inputs, target=target, teacher_input=teacher_input)

    def draw(self, epoch: int, index: int, rank: int = 0) -> Mix:
        """How a batch is mixed: on the host, so that no step waits for the device."""
        generator = np.random.default_rng((self.seed, epoch, index, rank))
        mixes, switches, row, column = generator.random(4)
        if mixes >= self.mix_prob:
            return Mix(1.0)
        cuts = self.mixup_alpha == 0 or (self.cutmix_alpha > 0 and switches < self.switch_prob)
        alpha = self.cutmix_alpha if cuts else self.mixup_alpha
        share = float(generator.beta(alpha, alpha))
        if not cuts:
            return Mix(share)
        half = 0.5 * (1 - share) ** 0.5
        top, left = max(0.0, row - half), max(0.0, column - half)
        return Mix(share, (top, min(1.0, row + half), left, min(1.0, column + half)))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"


def mixed(inputs: Any, mix: Mix) -> Any:
    """``inputs`` mixed, each sample with the one before it and the first with the last."""
    if isinstance(inputs, Mapping):
        return {name: mixed(value, mix) for name, value in inputs.items()}
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        got = f"{inputs.dtype} of shape {list(inputs.shape)}" if isinstance(inputs, Tensor) else describe(inputs)
        raise ValueError(
            f"Expected inputs that are mixed to be float tensors, but got {got}. Switch mixing off for them."
        )
    if mix.box is None:
        return inputs if mix.share == 1 else inputs * mix.share + inputs.roll(1, 0) * (1 - mix.share)
    rows, columns = pixels_of(inputs, mix.box)
    result = inputs.clone()
    result[:, :, rows, columns] = inputs[:, :, rows, columns].roll(1, 0)
    return result


def share_of(inputs: Any, mix: Mix) -> float:
    """What a sample keeps of itself: for CutMix by the pixels that it keeps in ``inputs``."""
    image = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    if mix.box is None:
        return mix.share
    rows, columns = pixels_of(image, mix.box)
    taken = (rows.stop - rows.start) * (columns.stop - columns.start)
    return float(1 - taken / (image.shape[2] * image.shape[3]))


def pixels_of(images: Tensor, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """The rows and columns of a box.

    Raises:
        ValueError: If ``images`` are not ``[B, C, H, W]``.
    """
    if images.ndim != 4:
        raise ValueError(
            f"Expected inputs that CutMix mixes to be images [B, C, H, W], but got {describe(images)}. Set "
            "`cutmix_alpha=0` to use mixup alone."
        )
    top, bottom, left, right = box
    height, width = images.shape[2:]
    return slice(round(top * height), round(bottom * height)), slice(round(left * width), round(right * width))


def probabilities(target: Tensor, num_classes: int, label_smoothing: float = 0.0) -> Tensor:
    """Labels as rows ``[B, num_classes]`` of float32; zeros where a sample has no label.

    Args:
        target: Class indices ``[B]``, or probabilities ``[B, num_classes]``, which are smoothed, too.
        num_classes: Number of classes.
        label_smoothing: Share of a label that is spread over all classes.

    Raises:
        ValueError: If ``target`` is neither.

    Example:
        >>> probabilities(torch.tensor([1, -100]), num_classes=2, label_smoothing=0.2)
        tensor([[0.1000, 0.9000],
                [0.0000, 0.0000]])
    """
    if target.ndim == 1 and not target.is_floating_point():
        labelled = target != NO_LABEL
        rows = F.one_hot(torch.where(labelled, target, 0).long(), num_classes).float() * labelled.unsqueeze(1)
    elif target.ndim == 2 and target.is_floating_point() and target.shape[1] == num_classes:
        rows = target
    else:
        raise ValueError(
            f"Expected labels that are mixed to be class indices [B] or probabilities [B, {num_classes}], but got "
            f"{target.dtype} of shape {list(target.shape)}. Switch mixing off for them."
        )
    if label_smoothing == 0:
        return rows
    return rows * (1 - label_smoothing) + rows.sum(dim=1, keepdim=True) * (label_smoothing / num_classes)
