"""What only the data knows."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_distill.engine import pl


def data_facts(data: pl.LightningDataModule) -> dict[str, Any]:
    """What ``???`` in a config is filled with, by key: facts that only the data knows.

    Raises:
        TypeError: If the data module does not declare ``num_classes`` and ``example_input``.
    """
    for name in ("num_classes", "example_input"):
        if not hasattr(data, name):
            raise TypeError(f"Expected `data` to declare `{name}`, but {type(data).__name__} does not: add it there.")
    classes = getattr(data, "num_classes")  # noqa: B009 - not declared by the base class
    facts: dict[str, Any] = {"num_classes": classes, "num_labels": classes}
    example = example_of(data)
    for name in ("dataset_size", "vocab_size", "max_length", "pad_token_id"):
        if hasattr(data, name):
            facts[name] = getattr(data, name)
    if hasattr(data, "max_length"):
        facts["max_position_embeddings"] = data.max_length
    weights = getattr(data, "class_weights", None)
    if weights is not None:
        facts["class_weights"] = weights
    if isinstance(example, Tensor):
        facts["in_features"] = example[0].numel()
        if example.ndim == 4:
            channels, size = example.shape[1], example.shape[-1]
            facts |= {"in_channels": channels, "in_chans": channels, "num_channels": channels}
            facts |= {"image_size": size, "img_size": size}
    return facts


def example_of(data: pl.LightningDataModule) -> Any:
    return getattr(data, "example_input")  # noqa: B009 - not declared by the base class
