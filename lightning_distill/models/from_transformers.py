"""Classifiers of images and of text from transformers (https://huggingface.co/docs/transformers); needs ``hf``."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from lightning_distill.checks import check_choice
from lightning_distill.models.pretrained import (
    check_head,
    check_name,
    explained_download,
    hub_folder,
    preprocessing_for,
)

TASKS = ("auto", "image", "text")


def transformers_model(
    model_name: str,
    *,
    num_labels: int | None = None,
    num_channels: int | None = None,
    image_size: int | None = None,
    vocab_size: int | None = None,
    pretrained: bool = False,
    new_head: bool = True,
    task: str = "auto",
    **arguments: Any,
) -> nn.Module:
    """A classifier of images or of sequences, as transformers builds it: it gives ``.logits`` ``[B, num_labels]``.

    Args:
        model_name: With ``pretrained``, a folder written by ``save_pretrained`` or a name on the hub. Without, the type
            of network, such as ``vit``, ``bert`` or ``distilbert``: its weights are random.
        num_labels: Number of logits; ``None`` for as many as it has by itself.
        num_channels: Channels of the images, where the network looks at images.
        image_size: Height and width, where the network is built for one size; a pretrained one keeps its own.
        vocab_size: Number of tokens, where the network reads text; a pretrained one keeps its own.
        pretrained: Whether to load weights. What they expect of images is then in ``model.preprocessing``.
        new_head: Whether pretrained weights may get a random classifier for another number of classes.
        task: ``"image"``, ``"text"``, or ``"auto"`` for what this type of network does.
        arguments: Entries of its configuration: ``hidden_size=64``, ``num_hidden_layers=2``.

    Raises:
        ValueError: If there is no such type, its configuration has no such entry, or the classifier does not fit.
        FileNotFoundError: If the weights cannot be fetched.

    Example:
        >>> small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        >>> model = transformers_model("bert", num_labels=3, vocab_size=50, max_position_embeddings=8, **small)
        >>> type(model).__name__, sum(p.numel() for p in model.parameters())
        ('BertForSequenceClassification', 3011)
    """
    check_choice("task", task, TASKS)
    if "trust_remote_code" in arguments:
        raise ValueError(
            "Expected no `trust_remote_code`, since code that comes with weights is never run here, but got "
            f"{arguments['trust_remote_code']!r}. Install that code as a package, and name its class as `_target_`."
        )
    sizes = {"num_channels": num_channels, "image_size": image_size, "vocab_size": vocab_size}
    facts = {name: value for name, value in sizes.items() if value is not None}
    labels = {} if num_labels is None else {"num_labels": num_labels}
    if pretrained:
        return _from_weights(model_name, labels, facts, new_head, task, arguments)
    config = _config(model_name, arguments)
    for name, value in facts.items():
        if hasattr(config, name):
            setattr(config, name, value)
    for name, value in labels.items():
        setattr(config, name, value)
    try:
        model: nn.Module = _auto_class(config, task).from_config(config)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Could not build a {model_name} of {arguments}: {error}") from error
    return model


def _config(model_name: str, arguments: dict[str, Any]) -> Any:
    """A configuration of random weights, every entry of which is one that it has."""
    from transformers import CONFIG_MAPPING, AutoConfig

    check_name(model_name, sorted(CONFIG_MAPPING.keys()), "transformers")
    default = AutoConfig.for_model(model_name)
    known = [*vars(default), *default.attribute_map]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3)
        hint = f" Near it: {', '.join(near)}." if near else ""
        raise ValueError(f"Expected an entry of the configuration of {model_name}, but got `{unknown[0]}`.{hint}")
    return AutoConfig.for_model(model_name, **arguments)


def _auto_class(config: Any, task: str) -> Any:
    import transformers
    from transformers.models.auto import modeling_auto

    classes = {
        "image": (transformers.AutoModelForImageClassification, modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING),
        "text": (
            transformers.AutoModelForSequenceClassification,
            modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        ),
    }
    for name, (auto, mapping) in classes.items():
        if task in ("auto", name) and type(config) in mapping:
            return auto
    what = {"auto": "images or text", "image": "images", "text": "text"}[task]
    raise ValueError(
        f"Expected a network that classifies {what}, but transformers has none of type {config.model_type!r}."
    )


def _from_weights(
    model_name: str,
    labels: dict[str, int],
    facts: dict[str, int],
    new_head: bool,
    task: str,
    arguments: dict[str, Any],
) -> nn.Module:
    from transformers import AutoConfig

    looked_in = model_name if Path(model_name).is_dir() else hub_folder()
    with explained_download(model_name, looked_in):
        config = AutoConfig.from_pretrained(model_name)
    num_labels = labels.get("num_labels")
    check_head(model_name, config.num_labels, num_labels, new_head)
    channels = facts.get("num_channels", getattr(config, "num_channels", 3))
    if channels != getattr(config, "num_channels", channels):
        raise ValueError(
            f"Expected `num_channels` to be {config.num_channels}, as the pretrained weights of {model_name} have it, "
            f"but got {channels}. Repeat the channels of the images, or set pretrained=false."
        )
    auto = _auto_class(config, task)
    replaces = num_labels is not None and num_labels != config.num_labels
    with explained_download(model_name, looked_in), _quiet(replaces):
        model: nn.Module = auto.from_pretrained(
            model_name, ignore_mismatched_sizes=replaces, use_safetensors=None, **labels, **arguments
        )
    own = _image_processor(model_name)
    if own is not None:
        model.preprocessing = own
    return model


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """No report of the classifier that is replaced on purpose."""
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR if quiet else level)
    try:
        yield
    finally:
        logger.setLevel(level)


def _image_processor(model_name: str) -> Any:
    """Mean, standard deviation and size out of ``preprocessor_config.json``; ``None`` where there is none."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        values, _ = ImageProcessingMixin.get_image_processor_dict(model_name)
    except OSError:
        return None
    if not values.get("image_mean") or not values.get("image_std"):
        return None
    size = values.get("crop_size") if values.get("do_center_crop") else values.get("size")
    mean, std = values["image_mean"], values["image_std"]
    return preprocessing_for(mean, std, _height_and_width(size), len(mean))


def _height_and_width(size: Any) -> tuple[int, int] | None:
    """The forms in which image processors write a size."""
    if isinstance(size, int):
        return size, size
    if not isinstance(size, dict):
        return None
    edge = size.get("shortest_edge")
    height, width = size.get("height", edge), size.get("width", edge)
    return None if height is None or width is None else (height, width)
