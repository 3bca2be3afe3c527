"""One hidden layer."""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Module):
    """Flattens its input, then one hidden layer of rectified units.

    Args:
        in_features: Numbers in one sample.
        num_classes: Number of logits.
        hidden: Units in the hidden layer.

    Example:
        >>> sum(p.numel() for p in MLP(in_features=64, num_classes=10).parameters())
        2410
    """

    def __init__(self, in_features: int, num_classes: int, hidden: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(in_features, hidden), nn.ReLU())
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        logits: Tensor = self.fc(self.features(inputs))
        return logits
