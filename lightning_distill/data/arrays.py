"""A data module over arrays from memory or from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_distill.checks import check_choice
from lightning_distill.data.array_files import read_arrays, splits_of
from lightning_distill.data.labels import NO_LABEL
from lightning_distill.data.module import check_count
from lightning_distill.data.parts import take_parts
from lightning_distill.data.tensors import TensorDataModule

LAYOUTS = ("NCHW", "NHWC", "NHW")


class ArrayDataModule(TensorDataModule):
    """NumPy arrays and torch tensors: ``x_train [N, ...]`` and ``y_train [N]``, and likewise for ``val`` and ``test``.

    A split that is not there is taken from the training samples, each class in its share. uint8 arrays are images; so
    are float arrays with a ``layout``. ``x_transfer`` (or ``x_unlabelled``) holds further training inputs without
    labels. Ids count training samples, then transfer, validation and test samples.

    Args:
        source: A mapping of arrays; or a file ``.npz``, ``.safetensors`` or ``.pt``; or a folder of such files or of
            ``.npy`` files, which are mapped into memory. Nothing is unpickled.
        num_classes: Number of classes; one more than the largest label if not given.
        layout: ``"NHWC"`` or ``"NHW"`` (grey) brings images to ``[N, C, H, W]``; ``None`` does so for uint8 arrays of
            such a shape, and leaves others as they are.
        val_samples: How many training samples become validation samples where there are none: a tenth if not given.
        test_samples: The same for the test.
        split_seed: Decides which.
        options: Of :class:`~lightning_distill.data.module.BaseDataModule`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If arrays are missing or do not fit, with what was found.

    Example:
        >>> arrays = {"x_train": torch.zeros(40, 3), "y_train": torch.arange(40) % 2}
        >>> data = ArrayDataModule(arrays)
        >>> [len(part) for part in (data.train_dataset, data._val, data._test)]
        [33, 3, 4]
    """

    def __init__(
        self,
        source: str | Path | Mapping[str, Any],
        *,
        num_classes: int | None = None,
        layout: str | None = None,
        val_samples: int | None = None,
        test_samples: int | None = None,
        split_seed: int = 0,
        **options: Any,
    ) -> None:
        if layout is not None:
            check_choice("layout", layout, LAYOUTS)
        check_count("split_seed", split_seed, 0)
        path = None if isinstance(source, Mapping) else Path(source).expanduser()
        arrays = read_arrays(path) if path is not None else source
        splits = splits_of(arrays, "`source`" if path is None else str(path))  # type: ignore[arg-type]
        named = {split: _labelled(split, inputs, target, layout) for split, (inputs, target) in splits.items()}
        parts = take_parts(named, {"test": test_samples, "val": val_samples}, split_seed)
        super().__init__(
            parts["train"],
            parts["val"],
            parts["test"],
            num_classes=_count_classes(parts["train"].target) if num_classes is None else num_classes,
            **options,
        )
        self.split_seed = split_seed


def _labelled(split: str, inputs: Tensor, target: Tensor | None, layout: str | None) -> tuple[Tensor, Tensor]:
    if target is None and split in ("val", "test"):
        raise ValueError(f"Expected labels for the `{split}` samples, but got none. Add `y_{split}`.")
    if target is not None and len(target) != len(inputs):
        raise ValueError(
            f"Expected as many labels as inputs for the `{split}` samples, but got {len(target)} and {len(inputs)}."
        )
    if target is None:
        target = torch.full((len(inputs),), NO_LABEL)
    if target.ndim == 2 and target.shape[1] == 1:
        target = target.squeeze(1)  # as Keras stores CIFAR's
    if inputs.dtype == torch.float64:
        inputs = inputs.float()  # NumPy's default, which no network has
    return _as_images(inputs, layout), target


def _as_images(inputs: Tensor, layout: str | None) -> Tensor:
    """Images as ``[N, C, H, W]``; anything else as it is."""
    if layout is None and inputs.dtype == torch.uint8:
        if inputs.ndim == 3:
            layout = "NHW"
        elif inputs.ndim == 4 and inputs.shape[-1] in (1, 3) and inputs.shape[1] not in (1, 3):
            layout = "NHWC"
    dims = {None: inputs.ndim, "NHW": 3}.get(layout, 4)
    if inputs.ndim != dims:
        raise ValueError(f"Expected inputs of {dims} dimensions for `layout` {layout}, but got {list(inputs.shape)}.")
    if layout == "NHW":
        return inputs.unsqueeze(1)
    return inputs.permute(0, 3, 1, 2) if layout == "NHWC" else inputs


def _count_classes(target: Tensor | None) -> int:
    if target is None:
        return 1
    if target.dtype == torch.bool or target.is_floating_point():
        return target.shape[1] if target.ndim > 1 else 1
    return int(target.max()) + 1
