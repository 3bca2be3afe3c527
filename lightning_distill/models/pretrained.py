"""What networks from other libraries have in common: near matches, missing downloads, heads, and their own inputs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

SHOWN = 5


class Preprocessing(NamedTuple):
    """What pretrained weights expect of images in [0, 1]; kept as ``model.preprocessing``.

    Attributes:
        mean: Subtracted from each channel.
        std: Divided by, after that.
        size: Height and width of the images that the weights were trained on; ``None`` if unknown.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] | None = None


def preprocessing_for(
    mean: Iterable[float], std: Iterable[float], size: tuple[int, int] | None, channels: int
) -> Preprocessing:
    """The same for another number of channels, whose weights were summed or spread: the average of all.

    Example:
        >>> preprocessing_for((0.25, 0.5, 0.75), (0.25, 0.25, 0.25), (224, 224), channels=1)
        Preprocessing(mean=(0.5,), std=(0.25,), size=(224, 224))
    """
    means, stds = tuple(float(value) for value in mean), tuple(float(value) for value in std)
    if channels != len(means):
        means, stds = ((sum(values) / len(values),) * channels for values in (means, stds))
    return Preprocessing(means, stds, size)


def check_name(value: str, known: Iterable[str], library: str) -> None:
    """Raise unless ``value`` is among the networks of ``library``, naming the nearest.

    Raises:
        ValueError: If it is not.

    Example:
        >>> check_name("resnet81", ["resnet18", "vgg11"], "torchvision")
        Traceback (most recent call last):
        ...
        ValueError: Expected `model_name` to be a network of torchvision, but got 'resnet81'. Near it: resnet18.
    """
    names = list(known)
    if value in names:
        return
    near = difflib.get_close_matches(str(value), names, n=SHOWN) or [n for n in names if str(value) in n][:SHOWN]
    hint = f" Near it: {', '.join(near)}." if near else f" It has {len(names)}, {', '.join(names[:SHOWN])} among them."
    raise ValueError(f"Expected `model_name` to be a network of {library}, but got {value!r}.{hint}")


def check_head(model_name: str, own: int, num_classes: int | None, new_head: bool) -> None:
    """Raise if a pretrained classifier would be replaced by a random one against the user's will.

    Args:
        model_name: For the message.
        own: Classes of the pretrained weights.
        num_classes: Classes that are asked for; ``None`` for the weights' own.
        new_head: Whether a random classifier is welcome: it is where the network is trained, not where it teaches.

    Raises:
        ValueError: If it is not welcome and needed.
    """
    if num_classes is None or num_classes == own or new_head:
        return
    raise ValueError(
        f"Expected `num_classes` to be {own}, the classes of the pretrained weights of {model_name}, but got "
        f"{num_classes}: its classifier would be random. To map its classes to the data's, set num_classes={own} and "
        "teacher.class_map; to train it or to load a checkpoint with the data's classes, set new_head=true."
    )


@contextmanager
def explained_download(model_name: str, looked_in: str) -> Iterator[None]:
    """Say where weights were looked for when they cannot be fetched.

    Raises:
        FileNotFoundError: In place of what the library raises.
    """
    try:
        yield
    except OSError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise FileNotFoundError(
            f"Expected the pretrained weights of {model_name} in {looked_in}, or a network to download them by, but "
            f"there is neither: {reason}. Copy the file there from a machine that has it, or set pretrained=false and "
            "name a file of weights: teacher.checkpoint=... (of a student: student_checkpoint=...)"
        ) from error


def spread_channels(weight: Tensor, channels: int) -> Tensor:
    """The first convolution's weight ``[O, 3, H, W]`` for images of another number of channels.

    For one channel it is the sum: a grey image gives what the same image in three equal channels gave. For others the
    three are repeated and scaled, which keeps the size of the output.

    Example:
        >>> spread_channels(torch.ones(1, 3, 1, 1), 1).item(), spread_channels(torch.ones(1, 3, 1, 1), 4).sum().item()
        (3.0, 3.0)
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // weight.shape[1]), 1, 1)[:, :channels]
    scaled: Tensor = repeated * (weight.shape[1] / channels)
    return scaled


def hub_folder() -> str:
    """Where the Hugging Face hub keeps what it has downloaded."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return "the cache of the Hugging Face hub"
    return str(HF_HUB_CACHE)


def torch_folder() -> str:
    """Where torchvision keeps what it has downloaded."""
    return f"{torch.hub.get_dir()}/checkpoints"
