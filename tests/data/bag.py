"""A network for text."""

from __future__ import annotations

from torch import Tensor, nn


class BagOfWords(nn.Module):
    """The mean of the words' embeddings, classified."""

    def __init__(self, num_classes: int, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1)
        logits: Tensor = self.fc((self.embedding(input_ids) * mask).sum(dim=1) / mask.sum(dim=1))
        return logits
