"""The losses of a batch without our LightningModules, and samples without a label."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import Distillation, Distiller
from lightning_distill.distillers import Term
from lightning_distill.distillers.labels import student_loss
from lightning_distill.distillers.means import EpochMeans
from lightning_distill.losses import DKDLoss, HintLoss, KLDistillationLoss
from lightning_distill.schedules import LinearWarmup
from lightning_distill.types import Batch

IMAGES = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
LABELS = IMAGES[:, :3].argmax(1)
HALF = torch.where(torch.arange(12) % 2 == 0, LABELS, -100)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), nn.Sequential(nn.Linear(4, 7), nn.Linear(7, 3))


def hinted(student: nn.Module, teacher: nn.Module, **kwargs: Any) -> Distillation:
    term = Term(HintLoss(), weight=2.0, student="0", teacher="0", adapter="linear")
    return Distillation(student, teacher, terms={"hint": term}, example_input=IMAGES[:2], **kwargs)


def test_losses__are_named_and_weighed_as_in_a_distiller() -> None:
    student, teacher = networks()
    distillation = hinted(student, teacher, alpha=0.3)
    losses = distillation((IMAGES, LABELS))
    torch.testing.assert_close(losses["student_loss"], F.cross_entropy(student(IMAGES), LABELS))
    torch.testing.assert_close(losses["distillation_loss"], KLDistillationLoss(3.0)(student(IMAGES), teacher(IMAGES)))
    expected = 0.3 * losses["student_loss"] + 0.7 * losses["distillation_loss"] + 2 * losses["hint"]
    torch.testing.assert_close(distillation.total(losses), expected)


def test_registered__is_only_what_it_adds() -> None:
    student, teacher = networks()
    distillation = hinted(student, teacher)
    assert all(name.startswith("terms.adapters.hint") for name, _ in distillation.named_parameters())
    assert [list(p.shape) for p in distillation.parameters()] == [[7, 5], [7]]
    assert all(name.startswith("terms.") for name in distillation.state_dict())
    assert distillation.double().teacher.model[0].weight.dtype == torch.float64
    assert student[0].weight.dtype == torch.float32


def test_plain_loop__trains_student_and_adapter_alone() -> None:
    student, teacher = networks()
    distillation = hinted(student, teacher)
    before = copy.deepcopy([teacher.state_dict(), student.state_dict(), distillation.state_dict()])
    optimizer = torch.optim.SGD([*student.parameters(), *distillation.parameters()], lr=0.1)
    totals = []
    for _ in range(20):
        optimizer.zero_grad()
        total = distillation.total(distillation((IMAGES, LABELS)))
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0]
    after = [teacher.state_dict(), student.state_dict(), distillation.state_dict()]
    same = [all(torch.equal(b[name], a[name]) for name in b) for b, a in zip(before, after, strict=True)]
    assert same == [True, False, False]


class Existing(pl.LightningModule):
    """Someone's own module, with its own names."""

    def __init__(self, model: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.distillation = Distillation(model, teacher, alpha=LinearWarmup(0.0, 1.0, warmup=1.0))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        progress = self.global_step / 3
        losses = self.distillation(batch, progress=progress, epoch=self.current_epoch)
        self.log_dict(dict(losses))
        return self.distillation.total(losses, progress)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_composed_into_a_module__leaves_its_checkpoint_as_it_was() -> None:
    student, teacher = networks()
    module = Existing(student, teacher)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4))
    assert set(module.state_dict()) == {f"model.{name}" for name in student.state_dict()}
    twin = copy.deepcopy(module)
    assert twin.distillation.student is twin.model
    assert twin.distillation.teacher is module.distillation.teacher
    assert module.distillation.weights_at(0.5) == {"student_loss": 0.5, "distillation_loss": 0.5}


def test_two_heads__labels_see_the_first_and_the_teacher_the_second() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), self.b(x)

    student, (_, teacher) = Pair(), networks()
    losses = Distillation(student, teacher, two_heads=True)((IMAGES, LABELS))
    torch.testing.assert_close(losses["student_loss"], F.cross_entropy(student.a(IMAGES), LABELS))
    torch.testing.assert_close(losses["distillation_loss"], KLDistillationLoss(3.0)(student.b(IMAGES), teacher(IMAGES)))


@pytest.mark.parametrize("kwargs", [{}, {"weight": torch.tensor([1.0, 2.0, 3.0])}, {"label_smoothing": 0.1}])
def test_student_loss__is_the_mean_over_the_labelled(kwargs: dict[str, Any]) -> None:
    logits, loss = torch.randn(12, 3, generator=torch.Generator().manual_seed(1)), nn.CrossEntropyLoss(**kwargs)
    labelled = HALF != -100
    torch.testing.assert_close(student_loss(loss, logits, HALF), loss(logits[labelled], HALF[labelled]))
    torch.testing.assert_close(student_loss(loss, logits, LABELS), loss(logits, LABELS))
    soft = F.one_hot(LABELS, 3).float()
    torch.testing.assert_close(student_loss(loss, logits, soft), loss(logits, soft))


def test_no_labels_at_all__gives_zero_loss_and_zero_gradient() -> None:
    student, teacher = networks()
    losses = Distillation(student, teacher)((IMAGES, torch.full((12,), -100)))
    assert float(losses["student_loss"].detach()) == 0.0
    losses["student_loss"].backward()
    assert all(float(p.grad.abs().sum()) == 0.0 for p in student.parameters() if p.grad is not None)


def test_unlabelled__count_in_the_distillation_loss_alone() -> None:
    student, teacher = networks()
    losses = Distillation(student, teacher)((IMAGES, HALF))
    labelled = HALF != -100
    torch.testing.assert_close(losses["student_loss"], F.cross_entropy(student(IMAGES[labelled]), HALF[labelled]))
    torch.testing.assert_close(losses["distillation_loss"], KLDistillationLoss(3.0)(student(IMAGES), teacher(IMAGES)))


def test_unlabelled__are_not_shown_to_a_loss_that_reads_labels() -> None:
    student, teacher = networks()
    distillation = Distillation(
        student, teacher, distillation_loss=DKDLoss(), terms={"dkd": Term(DKDLoss())}, example_input=IMAGES[:2]
    )
    losses, labelled = distillation((IMAGES, HALF)), HALF != -100
    expected = DKDLoss()(student(IMAGES[labelled]), teacher(IMAGES[labelled]), target=HALF[labelled])
    torch.testing.assert_close(losses["distillation_loss"], expected)
    torch.testing.assert_close(losses["dkd"], expected)
    none = distillation((IMAGES, torch.full((12,), -100)))
    assert (none["distillation_loss"].item(), none["dkd"].item()) == (0.0, 0.0)


def test_unlabelled__epoch_means_and_accuracy_are_over_what_counts() -> None:
    """Batches of 3 and 1 labels: the mean of the means would be another."""
    student, teacher = networks()
    target = LABELS.clone()
    target[[3, 5, 6, 7]] = -100
    distiller = Distiller(student, teacher, optimizer=partial(torch.optim.SGD, lr=0.0))
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(IMAGES[:8], target[:8]), batch_size=4)
    trainer.fit(distiller, loader, loader)
    keep = target[:8] != -100
    logits = student(IMAGES[:8])
    loss = float(F.cross_entropy(logits[keep], target[:8][keep]).detach())
    accuracy = float((logits.argmax(1)[keep] == target[:8][keep]).float().mean())
    for stage in ("train", "val"):
        assert float(trainer.logged_metrics[f"{stage}/student_loss"]) == pytest.approx(loss)
        assert float(trainer.logged_metrics[f"{stage}/accuracy"]) == pytest.approx(accuracy)


def test_teacher_input__is_what_the_teacher_sees() -> None:
    student, _ = networks()
    teacher = nn.Linear(8, 3)
    wide = torch.randn(12, 8, generator=torch.Generator().manual_seed(2))
    losses = Distillation(student, teacher)(Batch(IMAGES, LABELS, None, wide))
    torch.testing.assert_close(losses["distillation_loss"], KLDistillationLoss(3.0)(student(IMAGES), teacher(wide)))
    as_mapping = Distillation(student, teacher)({"image": IMAGES, "label": LABELS, "teacher_input": wide})
    assert torch.equal(as_mapping["distillation_loss"], losses["distillation_loss"])


def test_means__go_on_from_a_checkpoint() -> None:
    means, others = EpochMeans(), EpochMeans()
    means.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)}, torch.tensor(3))
    others.load_state_dict(means.state_dict(), torch.device("cpu"))
    for each in (means, others):
        each.add({"a": torch.tensor(2.0), "b": torch.tensor(1.0)}, 1)
    assert means.read() == others.read() == {"a": torch.tensor(1.25), "b": torch.tensor(4.0)}
    assert not means
