"""The modules follow the Lightning package that a process has imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIT = """
import importlib, sys
sys.path.insert(0, ".")
names = {names!r}
for name in names:
    pl = importlib.import_module(name)
from functools import partial
import torch
from lightning_distill import DeiTDistiller, Distiller
from lightning_distill.data import TensorDataModule
from lightning_distill.models import MLP, TwoHeadStudent

trainer = partial(
    pl.Trainer, max_epochs=1, limit_train_batches=2, limit_val_batches=1, logger=False, accelerator="cpu",
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)
samples = (torch.randn(12, 4), torch.arange(12) % 3)
data = TensorDataModule(samples, samples, num_classes=3, batch_size=4)
example, sgd = samples[0][:2], partial(torch.optim.SGD, lr=0.1)
for distiller in (
    Distiller(MLP(4, 3), MLP(4, 3), optimizer=sgd, example_input=example),
    DeiTDistiller(TwoHeadStudent(MLP(4, 3), 3, example), MLP(4, 3), optimizer=sgd, example_input=example),
):
    fitted = trainer()
    fitted.fit(distiller, datamodule=data)
    assert fitted.global_step == 2 and "val/accuracy" in fitted.callback_metrics
print([c.__module__ for c in type(distiller).__mro__ if c.__name__ == "LightningModule"][0])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "followed"),
    [
        (["pytorch_lightning"], "pytorch_lightning.core.module"),
        (["lightning.pytorch"], "lightning.pytorch.core.module"),
        (["lightning"], "lightning.pytorch.core.module"),
        (["lightning", "pytorch_lightning"], "pytorch_lightning.core.module"),
    ],
)
def test_trainer__of_either_package_accepts_the_modules(names: list[str], followed: str) -> None:
    done = subprocess.run([sys.executable, "-c", FIT.format(names=names)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == followed
