"""A network of timm learns from another on a folder of images: train/<class>/*, val/<class>/*, test/<class>/*.

python examples/image_folder.py [folder]    # without one, a folder of coloured shapes is made
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from PIL import Image, ImageDraw

from lightning_distill import Distiller
from lightning_distill.data import ImageFolderDataModule
from lightning_distill.models import timm_model


def make_folder(root: Path, count: int = 100) -> Path:
    """Discs and squares of random size, place and colour."""
    generator = torch.Generator().manual_seed(0)
    for split, kind in [(s, k) for s in ("train", "val", "test") for k in ("ellipse", "rectangle")]:
        (root / split / kind).mkdir(parents=True)
        for index in range(count):
            left, top, size, *colour = torch.randint(4, 24, (6,), generator=generator).tolist()
            image = Image.new("RGB", (64, 64), "black")
            box = (left, top, left + 12 + size, top + 12 + size)
            getattr(ImageDraw.Draw(image), kind)(box, fill=tuple(60 + 8 * value for value in colour))
            image.save(root / split / kind / f"{index}.png")
    return root


def main(folder: Path, max_epochs: int = 8) -> float:
    """The distilled student's accuracy on the test images."""
    pl.seed_everything(0, verbose=False)
    data = ImageFolderDataModule(folder, image_size=64, resize=64, batch_size=16, workers=0)
    trainer = partial(pl.Trainer, max_epochs=max_epochs, logger=False, enable_checkpointing=False, accelerator="cpu")

    # With a network: timm_model("resnet50", num_classes=..., pretrained=True), fine-tuned in the same way.
    teacher = timm_model("test_resnet", num_classes=data.num_classes)
    example = data.example_input
    trainer().fit(Distiller(teacher, optimizer=partial(torch.optim.AdamW, lr=2e-3), example_input=example), data)

    student = timm_model("test_efficientnet", num_classes=data.num_classes)
    optimizer = partial(torch.optim.AdamW, lr=1e-2)
    distiller = Distiller(student, teacher, alpha=0.5, optimizer=optimizer, example_input=example)
    trainer().fit(distiller, data)
    distiller.cpu().save("student.pt2")
    return float(trainer().test(distiller, data, verbose=False)[0]["test/accuracy"])


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else make_folder(Path(tempfile.mkdtemp()))
    print(f"accuracy {main(given):.1%}")
