"""A small BERT teaches a smaller one to tell which package a sentence of Python's documentation is about.

python examples/bert.py
"""

from __future__ import annotations

from functools import partial

import pytorch_lightning as pl
import torch

from lightning_distill import Distiller
from lightning_distill.data import PythonDocsDataModule
from lightning_distill.distillers import Term
from lightning_distill.losses import KLDistillationLoss, MiniLMLoss
from lightning_distill.models import transformers_model


def attention(layer: int) -> list[str]:
    """The three projections of a layer's attention, by their paths in the network."""
    return [f"bert.encoder.layer.{layer}.attention.self.{name}" for name in ("query", "key", "value")]


def main(max_epochs: int = 8, train_samples: int | None = None) -> float:
    """The distilled student's accuracy on the test sentences."""
    pl.seed_everything(0, verbose=False)
    data = PythonDocsDataModule(max_length=24, train_samples=train_samples)
    trainer = partial(pl.Trainer, max_epochs=max_epochs, logger=False, enable_checkpointing=False, accelerator="cpu")
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    # Of a folder or the hub: transformers_model("bert-base-uncased", pretrained=True, num_labels=...)
    facts = {"num_labels": 6, "vocab_size": data.vocab_size, "max_position_embeddings": data.max_length}
    bert = partial(transformers_model, "bert", num_attention_heads=4, **facts)

    teacher = bert(hidden_size=64, num_hidden_layers=2, intermediate_size=128)
    trainer().fit(Distiller(teacher, optimizer=optimizer, example_input=data.example_input), data)

    student = bert(hidden_size=32, num_hidden_layers=1, intermediate_size=64)
    distiller = Distiller(
        student,
        teacher,
        distillation_loss=KLDistillationLoss(temperature=2.0),
        terms={"minilm": Term(MiniLMLoss(heads=4), weight=0.1, student=attention(0), teacher=attention(1))},
        optimizer=optimizer,
        example_input=data.example_input,
    )
    trainer().fit(distiller, data)
    return float(trainer().test(distiller, data, verbose=False)[0]["test/accuracy"])


if __name__ == "__main__":
    print(f"accuracy {main():.1%}")
