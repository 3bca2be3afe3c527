"""An existing Lightning project: its trained module teaches a smaller network, with its own data and Trainer.

python examples/own_project.py
"""

from __future__ import annotations

from functools import partial

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import Distiller


class Classifier(pl.LightningModule):
    """What the project has: a module with a network inside."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main(max_epochs: int = 20) -> float:
    """The distilled student's accuracy."""
    pl.seed_everything(0, verbose=False)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.images).float() / 16, torch.tensor(digits.target))
    train = DataLoader(torch.utils.data.Subset(data, range(1400)), batch_size=64, shuffle=True)
    test = DataLoader(torch.utils.data.Subset(data, range(1400, len(data))), batch_size=64)
    trainer = partial(pl.Trainer, max_epochs=max_epochs, logger=False, enable_checkpointing=False, accelerator="cpu")

    project = Classifier()
    trainer().fit(project, train)

    # What is new: the network inside is the teacher. It is frozen from here on, dropout switched off.
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    distiller = Distiller(student, project.net, alpha=0.1, optimizer=partial(torch.optim.AdamW, lr=1e-2))
    learning = trainer()
    learning.fit(distiller, train, test)
    distiller.save_weights("student.safetensors")  # under the student's own names
    return float(learning.callback_metrics["val/accuracy"])


if __name__ == "__main__":
    print(f"accuracy {main():.1%}")
