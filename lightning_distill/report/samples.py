"""Test samples worth a look: those about which the networks disagree."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_distill.data.module import by_hand
from lightning_distill.engine import pl
from lightning_distill.report.predictions import Predictions
from lightning_distill.report.quality import choices
from lightning_distill.types import as_batch, batch_size_of

SHOWN = 24
SOFTENED = 6


def disagreements(predictions: Mapping[str, Predictions], most: int = SHOWN) -> list[int]:
    """Rows for which not all networks choose the same class.

    First those that the student alone gets wrong, then those that it alone gets right against the baseline, then the
    others; within each, the ones of which the student is most sure.

    Example:
        >>> target = torch.tensor([0, 0, 0])
        >>> alone = Predictions(torch.eye(2)[[0, 1, 1]], target)
        >>> disagreements({"baseline": alone, "student": Predictions(torch.eye(2)[[1, 0, 1]], target)})
        [0, 1]
    """
    chosen = {role: choices(own) for role, own in predictions.items()}
    student, target = chosen["student"], predictions["student"].target
    others = [values for role, values in chosen.items() if role != "student"]
    differs = torch.zeros_like(target, dtype=torch.bool)
    for values in others:
        differs |= values != student
    sure = predictions["student"].logits.softmax(dim=1).amax(dim=1)
    wrong, right = student != target, student == target
    others_right = torch.stack([values == target for values in others]).any(dim=0) if others else right
    rank = torch.where(wrong & others_right, 2.0, torch.where(right, 1.0, 0.0))
    order = (rank + sure / 2).argsort(descending=True, stable=True)
    rows: list[int] = order[differs[order]][:most].tolist()
    return rows


def spread_by_certainty(teacher: Predictions, count: int = SOFTENED) -> list[int]:
    """Rows from the one of which the teacher is least sure to the one of which it is surest, evenly spread."""
    order = teacher.logits.softmax(dim=1).amax(dim=1).argsort()
    places = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()
    rows: list[int] = order[places].tolist()
    return rows


def find_inputs(data: pl.LightningDataModule, rows: Sequence[int], own: Predictions) -> dict[int, Any]:
    """The inputs of test samples by row; empty if the loader's samples are not those of the predictions.

    Args:
        data: The data module; its test loader is walked as far as needed.
        rows: Which ones.
        own: Answers, to see that rows and samples belong together.
    """
    data = by_hand(data)  # all samples, not one process's share
    found: dict[int, Any] = {}
    start, last = 0, max(rows, default=-1)
    for loaded in data.test_dataloader() if rows else ():
        batch = as_batch(loaded)
        size = batch_size_of(batch.inputs)
        targets = own.target[start : start + size]
        if batch.target is None or not batch.target.cpu()[: len(targets)].equal(targets):
            return {}
        found |= {row: _sample(batch.inputs, row - start) for row in rows if start <= row < start + size}
        start += size
        if start > last:
            break
    return found


def _sample(inputs: Any, row: int) -> Any:
    return {name: values[row] for name, values in inputs.items()} if isinstance(inputs, Mapping) else inputs[row]


def as_image(sample: Any, data: pl.LightningDataModule) -> Tensor | None:
    """A sample as ``[H, W]`` or ``[H, W, 3]`` in [0, 1]; ``None`` if it is no image.

    Example:
        >>> as_image(torch.zeros(3, 8, 8), pl.LightningDataModule()).shape
        torch.Size([8, 8, 3])
    """
    if not isinstance(sample, Tensor) or sample.ndim != 3 or sample.shape[0] not in (1, 3):
        return None
    image = sample.cpu().float() / 255 if sample.dtype == torch.uint8 else sample.cpu().float()
    mean, std = getattr(data, "mean", None), getattr(data, "std", None)
    if sample.dtype != torch.uint8 and mean is not None and std is not None:
        image = image * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    if image.min() < -0.01 or image.max() > 1.01:  # normalised in a way that nothing tells: use the whole range
        image = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-8)
    image = image.clamp(0, 1)
    return image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)


def image_png(image: Tensor) -> bytes:
    """A PNG of ``[H, W]`` or ``[H, W, 3]``."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, image.numpy(), format="png", cmap="gray", vmin=0, vmax=1)
    return file.getvalue()


def in_words(sample: Any, most: int = 120) -> str:
    """A sample that is no image, as the beginning of its values."""
    if isinstance(sample, Mapping):
        return "; ".join(f"{name}: {in_words(values, most // len(sample))}" for name, values in sample.items())
    values = sample.flatten().tolist() if isinstance(sample, Tensor) else [sample]
    text = ", ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values[:most])
    return text if len(text) <= most else f"{text[: most - 4]} ..."
