"""Any classifier or segmentation network of torchvision; needs the extra ``vision``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lightning_distill.models.pretrained import (
    check_head,
    check_name,
    explained_download,
    preprocessing_for,
    spread_channels,
    torch_folder,
)


def torchvision_model(
    model_name: str,
    *,
    num_classes: int | None = None,
    in_chans: int = 3,
    img_size: int | None = None,
    pretrained: bool = False,
    new_head: bool = True,
    **arguments: Any,
) -> nn.Module:
    """A network of torchvision by its name, for images of any number of channels.

    Args:
        model_name: As in ``torchvision.models.list_models()``: a classifier, or a segmentation network such as
            ``lraspp_mobilenet_v3_large``.
        num_classes: Number of logits; ``None`` for as many as the network has by itself.
        in_chans: Channels of the images. For another number than 3 the first convolution is replaced; pretrained
            weights are summed or spread over the channels.
        img_size: Height and width; passed on to vision transformers, and without effect for others. ``None`` for the
            network's own.
        pretrained: Whether to load its default weights, which are downloaded once. What they expect of the images is
            then in ``model.preprocessing``.
        new_head: Whether pretrained weights may get a random classifier for another number of classes.
        arguments: Whatever else the network takes: ``dropout=0.2``.

    Raises:
        ValueError: If there is no such network, it takes no such argument, or the classifier does not fit.
        FileNotFoundError: If the weights cannot be fetched.

    Example:
        >>> sum(p.numel() for p in torchvision_model("squeezenet1_1", num_classes=10, in_chans=1).parameters())
        726474
    """
    from torchvision import models

    known = models.list_models(module=models) + models.list_models(module=models.segmentation)
    check_name(model_name, known, "torchvision")
    weights = models.get_model_weights(model_name).DEFAULT if pretrained else None
    if weights is not None:
        check_head(model_name, len(weights.meta["categories"]), num_classes, new_head)
    if img_size is not None and model_name.startswith("vit_"):
        arguments["image_size"] = img_size
    if num_classes is None and weights is not None:
        num_classes = len(weights.meta["categories"])
    arguments |= {} if num_classes is None else {"num_classes": num_classes}
    model = _create(model_name, arguments)
    if in_chans != 3:
        _replace_first_convolution(model_name, model, in_chans)
    if weights is not None:
        _load(model_name, model, weights, in_chans)
        transform = weights.transforms()
        size = (transform.crop_size[0],) * 2 if hasattr(transform, "crop_size") else None
        own = preprocessing_for(transform.mean, transform.std, size, in_chans)
        model.preprocessing = own  # type: ignore[assignment] # a plain value, no module
    return model


def _create(model_name: str, arguments: dict[str, Any]) -> nn.Module:
    from torchvision import models

    # Segmentation networks download a pretrained backbone unless they are told not to; the others warn while they
    # draw weights that they warn about.
    taken = inspect.signature(models.get_model_builder(model_name)).parameters
    given: dict[str, Any] = {"weights_backbone": None} if "weights_backbone" in taken else {}
    if model_name in ("googlenet", "inception_v3"):
        given |= {"init_weights": True, "aux_logits": False}
    try:
        model: nn.Module = models.get_model(model_name, weights=None, **(given | arguments))
    except (TypeError, AssertionError, ValueError) as error:
        names = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ValueError(f"Expected torchvision's {model_name} to take {names}, but it raised: {error}") from error
    return model


def _replace_first_convolution(model_name: str, model: nn.Module, in_chans: int) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != 3 or module.groups != 1:
                break
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, _like(module, in_chans))
            return
    raise ValueError(
        f"Expected `in_chans` to be 3 for {model_name}, whose first layer cannot be replaced, but got {in_chans}. "
        "Choose another network, or repeat the channels of the images."
    )


def _like(conv: nn.Conv2d, in_chans: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_chans,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )


def _load(model_name: str, model: nn.Module, weights: Any, in_chans: int) -> None:
    """Put pretrained weights into a network that may have another classifier, image size and number of channels."""
    with explained_download(model_name, torch_folder()):
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    adapt(model_name, model, state, in_chans)


def adapt(model_name: str, model: nn.Module, weights: Mapping[str, Tensor], in_chans: int) -> None:
    """Load ``weights``, made for three channels and for other classes, as far as they fit ``model``.

    Raises:
        ValueError: If something else than the classifier and the first convolution does not fit.
    """
    wanted = model.state_dict()
    state = {name: value for name, value in weights.items() if not name.startswith(("aux", "AuxLogits"))}
    first = next(name for name, value in wanted.items() if value.ndim == 4)
    if in_chans != 3:
        state[first] = spread_channels(state[first], in_chans)
    if "encoder.pos_embedding" in wanted:
        state = _resized(model, state)
    other = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    # A classifier has as many rows as there are classes; all else has to fit.
    misfit = [name for name in other if state[name].shape[1:] != wanted[name].shape[1:]]
    if misfit:
        raise ValueError(
            f"Expected the pretrained weights of {model_name} to fit, but these differ: {', '.join(misfit[:3])}. Leave "
            "out the arguments that change its layers, or set pretrained=false."
        )
    model.load_state_dict({name: value for name, value in state.items() if name not in other}, strict=not other)


def _resized(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    from torchvision.models.vision_transformer import interpolate_embeddings

    resized = interpolate_embeddings(model.image_size, model.patch_size, state)
    return {str(name): value for name, value in resized.items()}
