"""Augmentation whose views are functions of (seed, epoch, sample id)."""

from lightning_distill.data.augment.batch import Augmentation, BatchAugmentation, Operation
from lightning_distill.data.augment.erase import Cutout, RandomErasing
from lightning_distill.data.augment.geometry import Geometry, RandomCrop, RandomFlip
from lightning_distill.data.augment.keyed import Keyed
from lightning_distill.data.augment.keys import Draws
from lightning_distill.data.augment.recipes import deit, randaugment, standard

__all__ = [
    "Augmentation",
    "BatchAugmentation",
    "Cutout",
    "Draws",
    "Geometry",
    "Keyed",
    "Operation",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "deit",
    "randaugment",
    "standard",
]
