"""Inception's random crop (https://arxiv.org/abs/1409.4842), resized to whatever size the image has."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.transforms import v2


class OwnSizeCrop(nn.Module):
    """``torchvision.transforms.v2.RandomResizedCrop``, bicubic, to the image's own height and width.

    Args:
        scale: Least and most share of the area.

    Raises:
        ValueError: If ``scale`` is not two rising numbers in (0, 1].
    """

    def __init__(self, scale: tuple[float, ...] = (0.08, 1.0)) -> None:
        super().__init__()
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(
                f"Expected `crop` to be the least and the most share of the area, in (0, 1], but got {scale}."
            )
        self.scale = scale

    def forward(self, image: Tensor) -> Tensor:
        """``[C, H, W]`` to ``[C, H, W]``."""
        size = (image.shape[-2], image.shape[-1])
        crop = v2.RandomResizedCrop(size, self.scale, interpolation=v2.InterpolationMode.BICUBIC)
        view: Tensor = crop(image)
        return view
