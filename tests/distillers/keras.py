"""The Keras original's networks and reference values, for the parity tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

GOLDEN = Path(__file__).parents[1] / "golden" / "keras_distiller.npz"


@cache
def arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return {name: file[name] for name in file.files}


def reference(name: str) -> Tensor:
    return torch.from_numpy(np.asarray(arrays()[name], dtype=np.float64))


class OneHead(nn.Module):
    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, hidden), nn.Linear(hidden, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x).relu())


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.head, self.dist_head = nn.Linear(8, 16), nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.fc1(x).relu()
        return self.head(features), self.dist_head(features)


class NormalizedTeacher(nn.Module):
    """With BatchNorm and dropout, which must act in inference mode."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.bn, self.drop, self.fc2 = (
            nn.Linear(8, 16),
            nn.BatchNorm1d(16, 1e-3),
            nn.Dropout(),
            nn.Linear(16, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.drop(self.bn(self.fc1(x)).relu()))


RENAMED = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def weights(prefix: str) -> dict[str, Tensor]:
    """Weights under ``prefix`` with torch's names and layout: Keras kernels are (in, out)."""
    found = {}
    for name in arrays():
        if name.startswith(f"{prefix}/"):
            layer, kind = name.removeprefix(f"{prefix}/").split("/")
            found[f"{layer}.{'weight' if kind == 'kernel' else RENAMED.get(kind, kind)}"] = (
                reference(name).T.contiguous() if kind == "kernel" else reference(name)
            )
    return found


def load(network: nn.Module, prefix: str) -> nn.Module:
    network.double().load_state_dict(weights(prefix), strict=False)
    return network


def train_loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(reference("train/x").flatten(0, 1), _labels("train/y").flatten()), batch_size=8)


def test_loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(reference("train/x_test"), _labels("train/y_test")), batch_size=16)


def _labels(name: str) -> Tensor:
    return torch.from_numpy(arrays()[name])
