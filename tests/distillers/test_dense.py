"""Dense outputs: every pixel or token is a sample of its own, for the same modules."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill import Distillation, Distiller
from lightning_distill.engine import pl
from lightning_distill.losses import KLDistillationLoss
from lightning_distill.pipeline import run
from tests.configs import planned


class Tokens(nn.Module):
    """Logits ``[B, T, C]`` of token ids ``[B, T]``."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, classes))

    def forward(self, tokens: Tensor) -> Any:
        return {"logits": self.layers(tokens)}


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (4, 7), generator=generator)
    target = torch.randint(5, (4, 7), generator=generator)
    target[:, 5:] = -100
    return tokens, target


def test_sequence__losses_are_those_of_the_tokens_in_a_row(batch: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    student, teacher = Tokens(), Tokens()
    tokens, target = batch
    losses = Distiller(student, teacher, class_dim=-1, example_input=tokens).compute_losses(batch)
    rows, teacher_rows = student.layers(tokens).flatten(0, 1), teacher.layers(tokens).flatten(0, 1)
    torch.testing.assert_close(losses["student_loss"], F.cross_entropy(rows, target.flatten()))
    torch.testing.assert_close(losses["distillation_loss"], KLDistillationLoss(3.0)(rows, teacher_rows))


def test_sequence__in_a_loop_of_ones_own(batch: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    student, teacher = Tokens(), Tokens()
    losses = Distillation(student, teacher, class_dim=2)(batch)
    expected = Distiller(student, teacher, class_dim=-1).compute_losses(batch)
    assert losses.keys() == expected.keys()
    assert all(torch.equal(loss, expected[name]) for name, loss in losses.items())


def test_sequence__measured_token_by_token_and_deployed_as_it_is(batch: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = Tokens()
    optimizer = partial(torch.optim.SGD, lr=0.1)
    distiller = Distiller(student, Tokens(), class_dim=-1, optimizer=optimizer, teacher_agreement=True)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch), batch_size=2)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.fit(distiller, loader, loader)
    tokens, target = batch
    right = student.layers(tokens).argmax(dim=-1) == target
    assert float(trainer.callback_metrics["val/accuracy"]) == pytest.approx(float(right[target != -100].float().mean()))
    assert 0 <= trainer.callback_metrics["val/teacher_agreement"] <= 1
    assert distiller(tokens).shape == (4, 7, 5)
    distiller.eval().save(tmp_path / "a.pt2", tokens)
    program = torch.export.load(tmp_path / "a.pt2").module()
    torch.testing.assert_close(program(tokens), student.layers(tokens))


def test_sequence__classes_that_differ_are_counted_at_their_dimension(batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"the same number of classes, but got 6 and 5"):
        Distiller(Tokens(), Tokens(6), class_dim=-1, example_input=batch[0])


@pytest.mark.parametrize("value", [0, True, "last"])
def test_class_dim__of_another_kind(value: Any) -> None:
    with pytest.raises(ValueError, match="Expected `class_dim` to be a dimension after the batch's"):
        Distiller(Tokens(), class_dim=value)


def test_maps__losses_are_those_of_the_pixels_in_a_row() -> None:
    torch.manual_seed(0)
    student, teacher = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    images, target = torch.randn(2, 3, 5, 6), torch.randint(4, (2, 5, 6))
    target[:, 0] = -100
    losses = Distiller(student, teacher, example_input=images).compute_losses((images, target))
    rows, teacher_rows = (net(images).movedim(1, -1).flatten(0, 2) for net in (student, teacher))
    torch.testing.assert_close(losses["student_loss"], F.cross_entropy(rows, target.flatten()))
    torch.testing.assert_close(losses["distillation_loss"], KLDistillationLoss(3.0)(rows, teacher_rows))


def test_config__takes_class_dim(tmp_path: Path) -> None:
    plan = planned(tmp_path, "+distiller.class_dim=-1")
    assert plan.stage.distiller(plan.student(), None).class_dim == -1


@pytest.mark.slow
def test_segmentation__student_learns(tmp_path: Path) -> None:
    """Twelve epochs of the teacher and as many steps of the student: far above the 58 % that are background."""
    options = ("trainer=cpu", "callbacks.progress_bar=null", "teacher_cache=null", "baseline=false", "export=null")
    run(planned(tmp_path, "experiment=segmentation", *options))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["teacher"]["test/iou"] > 0.85
    assert metrics["student"]["test/accuracy"] > 0.9
    assert metrics["student"]["test/iou"] > 0.6
