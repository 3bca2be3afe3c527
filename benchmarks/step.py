"""One training step, made in several ways: what ``step_time`` and ``gpu`` run in turns."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.data import TensorDataModule
from lightning_distill.losses import KLDistillationLoss
from lightning_distill.models import ConvNet, SmallConvNet
from lightning_distill.teachers import CachedTeacher, remember
from lightning_distill.teachers.store import Encoding
from lightning_distill.types import Batch

BATCH, CLASSES, TEMPERATURE, ALPHA = 128, 10, 4.0, 0.1
ADAMW = partial(torch.optim.AdamW, lr=1e-3)


class Work(NamedTuple):
    """What every candidate does one step of.

    Attributes:
        teacher: Trained, in eval mode, on the device.
        images: ``[128, 1, 28, 28]``.
        target: ``[128]``.
    """

    teacher: nn.Module
    images: Tensor
    target: Tensor

    @property
    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.images, self.target, torch.arange(len(self.target))


class Candidate(NamedTuple):
    """A way to make the step.

    Attributes:
        step: Makes it.
        answer: The teacher's logits in it, for images.
        student: What it trains.
    """

    step: Callable[[], object]
    answer: Callable[[Tensor], Tensor]
    student: nn.Module


def make_work(device: torch.device, steps: int = 60) -> Work:
    """A teacher with BatchNorm that has learned something, and one batch of what it has learned."""
    torch.manual_seed(0)
    patterns = torch.randn(CLASSES, 1, 28, 28)
    target = torch.randint(CLASSES, (BATCH * 8,))
    images = patterns[target] + 2 * torch.randn(BATCH * 8, 1, 28, 28)
    teacher = ConvNet(CLASSES, in_channels=1, width=32)
    optimizer = ADAMW(teacher.parameters())
    for index in range(steps):
        rows = torch.arange(BATCH) + BATCH * (index % 8)
        loss = F.cross_entropy(teacher(images[rows]), target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    teacher = teacher.eval().requires_grad_(False).to(device)
    return Work(teacher, images[:BATCH].to(device), target[:BATCH].to(device))


def student_like(work: Work) -> nn.Module:
    """A fresh student; the same one every time."""
    torch.manual_seed(1)
    return SmallConvNet(CLASSES, in_channels=1, width=26).to(work.images.device)


def plain(work: Work) -> Candidate:
    """As one writes it: the teacher in eval mode without gradients, the formula as published."""
    student = student_like(work)
    optimizer = ADAMW(student.parameters())

    def step() -> None:
        with torch.no_grad():
            teacher_logits = work.teacher(work.images)
        logits = student(work.images)
        log_probs, probs = F.log_softmax(logits / TEMPERATURE, 1), F.softmax(teacher_logits / TEMPERATURE, 1)
        soft = F.kl_div(log_probs, probs, reduction="batchmean") * TEMPERATURE**2
        loss = ALPHA * F.cross_entropy(logits, work.target) + (1 - ALPHA) * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Candidate(step, work.teacher, student)


def optimised(work: Work) -> Candidate:
    """By hand, with everything that is exact: BatchNorm folded by torch.fx, channels last in both networks."""
    student = student_like(work).to(memory_format=torch.channels_last)
    optimizer = ADAMW(student.parameters())
    teacher = fuse(work.teacher).to(memory_format=torch.channels_last)
    images = work.images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.no_grad():
            teacher_logits = teacher(images)
        logits = student(images)
        log_probs = F.log_softmax(logits / TEMPERATURE, 1)
        teacher_log_probs = F.log_softmax(teacher_logits / TEMPERATURE, 1)
        soft = F.kl_div(log_probs, teacher_log_probs, reduction="batchmean", log_target=True) * TEMPERATURE**2
        loss = ALPHA * F.cross_entropy(logits, work.target) + (1 - ALPHA) * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Candidate(step, teacher, student)


def module(work: Work, dtype: torch.dtype | None = None, **options: Any) -> Candidate:
    """Our ``Distiller``: its ``training_step`` with metrics, then backward and the optimizer; no Trainer.

    Args:
        work: The work.
        dtype: Of autocast around the whole step, as a Trainer with ``bf16-mixed`` has it.
        options: Of ``FrozenTeacher``; ``student`` holds those of the distiller.
    """
    for_student = options.pop("student", {})
    return trained_with(FrozenTeacher(work.teacher, **options), work, dtype, for_student)


def cached(work: Work, encoding: Encoding | None = None) -> Candidate:
    """Our ``Distiller`` with a teacher whose answers are looked up, out of a store of this one batch."""
    live = FrozenTeacher(work.teacher)
    samples = work.images.cpu(), work.target.cpu()
    data = TensorDataModule(samples, samples, num_classes=CLASSES, batch_size=BATCH)
    folder = tempfile.mkdtemp(prefix="answers-")
    atexit.register(shutil.rmtree, folder)
    device = work.images.device
    store = remember(live, data, folder, view="clean", encoding=encoding, device=device, progress=False)
    candidate = trained_with(CachedTeacher(live, store), work)
    ids = work.batch[2]
    return candidate._replace(answer=lambda images: CachedTeacher(live, store).answer(Batch(images, None, ids), 0))


def alone(work: Work) -> Candidate:
    """Our ``Distiller`` without a teacher: the student alone, laid out in the same way."""
    return trained_with(None, work)


def trained_with(
    teacher: FrozenTeacher | None,
    work: Work,
    dtype: torch.dtype | None = None,
    for_student: Mapping[str, Any] = MappingProxyType({}),
) -> Candidate:
    """The ``training_step`` of a ``Distiller``, backward and the optimizer."""
    loss = KLDistillationLoss(TEMPERATURE)
    distiller = Distiller(student_like(work), teacher, alpha=ALPHA, distillation_loss=loss, **for_student)
    distiller.setup("fit")
    if for_student.get("compile"):
        distiller.student.compile()
    optimizer = ADAMW(distiller.student.parameters())
    device = work.images.device.type

    def step() -> None:
        with torch.autocast(device, dtype, enabled=dtype is not None):
            total = distiller.training_step(work.batch, 0)["loss"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return Candidate(step, work.teacher if teacher is None else teacher, distiller.student)


def fidelity(candidate: Candidate, work: Work) -> dict[str, float]:
    """How far the teacher's answers are from the plain one's: largest deviation, KL at the temperature, top-1."""
    with torch.no_grad():
        expected, got = work.teacher(work.images).double(), candidate.answer(work.images).double()
    return {
        "largest_deviation": float((got - expected).abs().max()),
        "kl": float(
            F.kl_div(
                F.log_softmax(got / TEMPERATURE, 1),
                F.log_softmax(expected / TEMPERATURE, 1),
                reduction="batchmean",
                log_target=True,
            )
        ),
        "top1_agreement": float((got.argmax(1) == expected.argmax(1)).double().mean()),
    }


def multiply_adds(model: nn.Module, images: Tensor) -> int:
    """Multiply-adds of the convolutions and linear layers, per image."""
    counts: list[int] = []

    def count(layer: nn.Module, args: Any, output: Tensor) -> None:
        weight: Any = layer.weight
        counts.append(output[0].numel() * weight[0].numel())

    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        model.eval()(images[:1])
    for handle in handles:
        handle.remove()
    return sum(counts)


def row(name: str, data: Mapping[str, Any]) -> list[str]:
    """A line of the table."""
    low, high = data["quartiles"]
    return [
        name,
        f"{data['ratio']:.2f} ({low:.2f} to {high:.2f})",
        f"{data['largest_deviation']:.1e}",
        f"{data['kl']:.1e}",
        f"{data['top1_agreement']:.3f}",
        f"{data['milliseconds']:.1f}",
    ]


COLUMNS = ("step", "time / plain loop (quartiles)", "largest logit deviation", "KL at T=4", "top-1 agreement", "ms")
