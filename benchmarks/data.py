"""What it takes to load and augment a batch of 128 images, as CPU time of one thread: ``python -m benchmarks.data``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import v2

from benchmarks.interleave import interleaved
from benchmarks.table import write
from lightning_distill.data import Mixing, TensorDataModule
from lightning_distill.data.augment import BatchAugmentation, Keyed, deit, randaugment, standard
from lightning_distill.types import Batch

BATCH = 128
BATCHES = 10  # of an epoch that is timed
LOADING = "1 x 28 x 28, uint8"
SIZES = {"1 x 28 x 28": (1, 28), "3 x 32 x 32": (3, 32)}


def candidates(channels: int, size: int) -> dict[str, Callable[[], object]]:
    """Crop from 4 padded pixels and flip, in the ways it is usually done, and further recipes; by name."""
    images = torch.rand(BATCH, channels, size, size)
    ids = torch.arange(BATCH)
    transform = v2.Compose([v2.RandomCrop(size, padding=4), v2.RandomHorizontalFlip()])
    mixing = Mixing()
    batch = Batch(images, ids % 10)
    return {
        "crop and flip, whole batch (standard)": partial(standard(), images, ids, 0),
        "crop and flip by torchvision, image by image, seeded for each": partial(
            BatchAugmentation([Keyed(transform)]), images, ids, 0
        ),
        "crop and flip by torchvision, image by image, not seeded": lambda: one_by_one(transform, images),
        "randaugment": partial(randaugment(), images, ids, 0),
        "deit": partial(deit(), images, ids, 0),
        "mixup or CutMix, with labels": lambda: mixing(batch, num_classes=10, epoch=0, index=0),
    }


def loading() -> dict[str, Callable[[], object]]:
    """An epoch of Fashion-MNIST's shape, to normalised batches: whole batches, and as torchvision's examples do it."""
    images = torch.randint(256, (BATCH * BATCHES, 28, 28), dtype=torch.uint8)
    target = torch.arange(len(images)) % 10
    samples = (images.unsqueeze(1), target)
    ours = TensorDataModule(samples, samples, num_classes=10, batch_size=BATCH, mean=[0.286], std=[0.353])
    to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.286], [0.353])]
    theirs = FashionMNIST.__new__(FashionMNIST)  # the class reads its files when it is made: here they are in memory
    theirs.data, theirs.targets, theirs.transform, theirs.target_transform = images, target, v2.Compose(to_tensor), None
    loaders = {
        "load, whole batch (TensorDataModule)": ours.train_dataloader(),
        "load by torchvision's FashionMNIST and DataLoader, image by image": DataLoader(theirs, BATCH, shuffle=True),
    }
    return {name: partial(run_through, loader) for name, loader in loaders.items()}


def run_through(loader: DataLoader[object]) -> None:
    for _ in loader:
        pass


def one_by_one(transform: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.stack([transform(image) for image in images])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--print", action="store_true", help="write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, results = [], []
    groups = {LOADING: (loading(), BATCHES)} | {name: (candidates(*size), 1) for name, size in SIZES.items()}
    for name, (steps, batches) in groups.items():
        for what, timing in interleaved(steps, options.rounds, clock=time.process_time).items():
            seconds = timing.seconds / batches
            spread = f"{timing.ratio:.2f} ({timing.low:.2f} to {timing.high:.2f})"
            rows.append([what, name, f"{1e3 * seconds:.2f}", spread])
            results.append({"what": what, "size": name, **timing._asdict(), "seconds": seconds})
    columns = ["what", "size", f"CPU ms per batch of {BATCH}", "time, over the first row of its size (quartiles)"]
    if options.print:
        print("\n".join(" | ".join(row) for row in rows))
    else:
        write("data", "python -m benchmarks.data", columns, rows, {"data": results})


if __name__ == "__main__":
    main()
