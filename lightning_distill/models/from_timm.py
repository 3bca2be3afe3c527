"""Any network of timm (https://huggingface.co/docs/timm); needs the extra ``vision``."""

from __future__ import annotations

from typing import Any

from torch import nn

from lightning_distill.models.pretrained import (
    check_head,
    check_name,
    explained_download,
    hub_folder,
    preprocessing_for,
)


def timm_model(
    model_name: str,
    *,
    num_classes: int | None = None,
    in_chans: int = 3,
    img_size: int | None = None,
    pretrained: bool = False,
    new_head: bool = True,
    **arguments: Any,
) -> nn.Module:
    """A network of timm by its name, for images of any size and number of channels.

    Args:
        model_name: As in ``timm.list_models()``, or ``hf-hub:user/name`` or ``local-dir:/path`` for weights in timm's
            format.
        num_classes: Number of logits; ``None`` for as many as the network has by itself.
        in_chans: Channels of the images.
        img_size: Height and width; passed on to networks that are built for one size, as vision transformers are, and
            without effect for others. ``None`` for the network's own.
        pretrained: Whether to load its weights, which are downloaded once. What they expect of the images is then in
            ``model.preprocessing``.
        new_head: Whether pretrained weights may get a random classifier for another number of classes.
        arguments: Whatever else the network takes: ``drop_path_rate=0.1``, ``patch_size=4``.

    Raises:
        ValueError: If there is no such network, it takes no such argument, its patches do not divide the images, or
            the classifier does not fit.
        FileNotFoundError: If the weights cannot be fetched.

    Example:
        >>> sum(p.numel() for p in timm_model("test_vit", num_classes=10, img_size=32).parameters())
        300746
    """
    import timm

    in_registry = ":" not in model_name
    config = None
    if in_registry:
        check_name(model_name.partition(".")[0], timm.list_models(), "timm")
        config = timm.get_pretrained_cfg(model_name)
    if pretrained and config is not None:
        check_head(model_name, config.num_classes, num_classes, new_head)
    if img_size is not None and config is not None and config.fixed_input_size:
        arguments["img_size"] = img_size
    arguments |= {} if num_classes is None else {"num_classes": num_classes}
    model = _create(model_name, pretrained, in_chans, arguments)
    _check_patches(model_name, model, img_size)
    if pretrained:
        own = model.pretrained_cfg
        size = tuple(own["input_size"][-2:])
        model.preprocessing = preprocessing_for(own["mean"], own["std"], size, in_chans)
    network: nn.Module = model
    return network


def _create(model_name: str, pretrained: bool, in_chans: int, arguments: dict[str, Any]) -> Any:
    import timm

    try:
        with explained_download(model_name, hub_folder()):
            return timm.create_model(model_name, pretrained=pretrained, in_chans=in_chans, **arguments)
    except (TypeError, AssertionError, RuntimeError) as error:
        names = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ValueError(f"Expected timm's {model_name} to take {names}, but it raised: {error}") from error


def _check_patches(model_name: str, model: Any, img_size: int | None) -> None:
    """Raise if rows and columns at the images' edge would be cut off without a word."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if img_size is None or not isinstance(patch, tuple) or not any(img_size % side for side in patch):
        return
    raise ValueError(
        f"Expected `img_size` to be a multiple of the patches of {model_name}, {patch[0]}, but got {img_size}. Choose "
        "patches that divide it (+student.patch_size=...), another network, or resize the images."
    )
