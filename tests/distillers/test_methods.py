"""Whole trainings with several terms, on networks as people have them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import DeiTDistiller, Distiller
from lightning_distill.distillers import Term
from lightning_distill.losses import (
    ATLoss,
    CRDLoss,
    MiniLMLoss,
    ReviewKDLoss,
    RKDLoss,
    TokenLoss,
    VIDLoss,
    ViTKDLoss,
)

SAMPLES = 12


class Numbered(TensorDataset):
    """``(inputs, target, sample_ids)``."""

    def __init__(self, size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(SAMPLES, 3, size, size, generator=generator)
        super().__init__(images, torch.arange(SAMPLES) % 3, torch.arange(SAMPLES))


def loader(size: int = 32) -> DataLoader[Any]:
    return DataLoader(Numbered(size), batch_size=4)


def trainer(**options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return pl.Trainer(accelerator="cpu", enable_checkpointing=False, **(quiet | options))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def check_everything_learned(distiller: pl.LightningModule, before: dict[str, Tensor]) -> None:
    after = snapshot(distiller)
    assert after.keys() == before.keys()
    stuck = [name for name, _ in distiller.named_parameters() if torch.equal(before[name], after[name])]
    assert not stuck, f"no step moved {stuck}"
    assert all(bool(value.isfinite().all()) for value in after.values() if value.is_floating_point())


def test_three_terms__on_torchvision_cnns() -> None:
    from torchvision import models

    torch.manual_seed(0)
    terms = {
        "vid": Term(VIDLoss, 1.0, "layer3", "layer3"),
        "at": Term(ATLoss(), 1000.0, ["layer2", "layer3"], ["layer2", "layer3"]),
        "crd": Term(partial(CRDLoss, negatives=5), 0.8, "avgpool", "avgpool", dataset_size=SAMPLES),
    }
    images = loader().dataset[:2][0].to(memory_format=torch.channels_last)
    student = models.mobilenet_v3_small(num_classes=3)
    terms["vid"] = Term(VIDLoss, 1.0, "features.8", "layer3")
    terms["at"] = Term(ATLoss(), 1000.0, ["features.3", "features.8"], ["layer2", "layer3"])
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    teacher = models.resnet18(num_classes=3)
    distiller = Distiller(student, teacher, terms=terms, optimizer=optimizer, example_input=images)
    before = snapshot(distiller)
    trainer(max_epochs=1).fit(distiller, loader())
    check_everything_learned(distiller, before)


def test_three_terms__on_timm_vits() -> None:
    import timm

    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "num_classes": 3, "depth": 3}
    student = timm.create_model("vit_tiny_patch16_224", **options)
    teacher = timm.create_model("vit_small_patch16_224", **options)
    blocks = ["blocks.0", "blocks.1", "blocks.2"]
    terms = {
        "minilm": Term(MiniLMLoss(heads=6), 1.0, "blocks.2.attn.qkv", "blocks.2.attn.qkv"),
        "vitkd": Term(ViTKDLoss, 1.0, blocks, blocks),
        "tokens": Term(TokenLoss, 1.0, "norm", "norm"),
    }
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    images = loader().dataset[:2][0]
    distiller = Distiller(student, teacher, terms=terms, optimizer=optimizer, example_input=images)
    before = snapshot(distiller)
    trainer(max_epochs=1).fit(distiller, loader())
    check_everything_learned(distiller, before)


def test_three_terms__on_a_two_head_student() -> None:
    from lightning_distill.models import ConvNet, TwoHeadStudent

    torch.manual_seed(0)
    images = loader(8).dataset[:2][0]
    student = TwoHeadStudent(ConvNet(3, in_channels=3, width=4), num_classes=3, example_input=images)
    terms = {
        "review": Term(ReviewKDLoss, 1.0, ["backbone.layer2", "backbone.layer3"], ["layer2", "layer3"]),
        "rkd": Term(RKDLoss(), 1.0, "backbone.pool", "pool"),
        "vid": Term(VIDLoss, 1.0, "backbone.layer2", "layer2"),
    }
    teacher = ConvNet(3, in_channels=3, width=8)
    optimizer = partial(torch.optim.SGD, lr=1e-2)
    distiller = DeiTDistiller(student, teacher, terms=terms, optimizer=optimizer, example_input=images)
    before = snapshot(distiller)
    trainer(max_epochs=1).fit(distiller, loader(8))
    check_everything_learned(distiller, before)


def with_memory() -> Distiller:
    from lightning_distill.models import ConvNet

    torch.manual_seed(0)
    terms = {
        "crd": Term(partial(CRDLoss, negatives=7), 1.0, "pool", "pool", dataset_size=SAMPLES),
        "vid": Term(VIDLoss, 1.0, "layer2", "layer3"),
    }
    return Distiller(
        ConvNet(3, in_channels=3, width=2),
        ConvNet(3, in_channels=3, width=4),
        terms=terms,
        optimizer=partial(torch.optim.AdamW, lr=1e-2),
        example_input=loader(8).dataset[:2][0],
    )


def test_resume__memory_and_variance_bit_for_bit(tmp_path: Path) -> None:
    whole, half, rest = with_memory(), with_memory(), with_memory()
    trainer(max_epochs=4).fit(whole, loader(8))
    first = trainer(max_epochs=2)
    first.fit(half, loader(8))
    first.save_checkpoint(tmp_path / "half.ckpt")
    trainer(max_epochs=4).fit(rest, loader(8), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    expected, found = snapshot(whole), snapshot(rest)
    for name in (
        "terms.losses.crd.student_memory",
        "terms.losses.crd.log_normalizers",
        "terms.losses.vid.raw_variance",
    ):
        assert not torch.equal(expected[name], snapshot(half)[name]) or name.endswith("normalizers")
    assert expected.keys() == found.keys()
    different = [name for name, value in expected.items() if not torch.equal(value, found[name])]
    assert not different


def test_crd__an_id_outside_the_memory_names_the_term() -> None:
    distiller = with_memory()
    images, labels, _ = loader(8).dataset[:2]
    with pytest.raises(ValueError, match=r"term 'crd': Expected `sample_ids` to be from 0 to 11, but got 12"):
        distiller.compute_losses((images, labels, torch.tensor([3, 12])))


def test_crd__without_a_size_says_how_to_give_it() -> None:
    from lightning_distill.models import ConvNet

    with pytest.raises(ValueError, match=r"term 'crd': .*lacks `dataset_size`.*Term\(\.\.\., dataset_size=50000\)"):
        Distiller(
            ConvNet(3, in_channels=3),
            ConvNet(3, in_channels=3),
            terms={"crd": Term(CRDLoss, 1.0, "pool", "pool")},
            example_input=torch.zeros(2, 3, 8, 8),
        )


class Numbers(pl.LightningDataModule):
    dataset_size = SAMPLES + 1

    def train_dataloader(self) -> DataLoader[Any]:
        return loader(8)


def test_crd__with_too_little_room_says_so_before_the_first_step() -> None:
    distiller = with_memory()
    with pytest.raises(ValueError, match=r"term 'crd': Expected `dataset_size` to be at least 13, .* but got 12"):
        trainer(max_epochs=1).fit(distiller, datamodule=Numbers())


def test_a_term_named_like_a_metric__is_refused() -> None:
    with pytest.raises(ValueError, match="no metric's, but got 'accuracy'"):
        Distiller(nn.Linear(2, 2), nn.Linear(2, 2), terms={"accuracy": Term(RKDLoss())}, example_input=torch.ones(2, 2))
    pair = nn.Linear(2, 2), nn.Linear(2, 2)
    Distiller(*pair, terms={"accuracy": Term(RKDLoss())}, metrics={}, example_input=torch.ones(2, 2))
