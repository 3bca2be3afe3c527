"""One optimizer step by torchdistill, by timm's task and by ours, on the same work: ``python -m benchmarks.peers``."""

from __future__ import annotations

import argparse
import copy
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.interleave import interleaved
from benchmarks.table import write
from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.data import TensorDataModule
from lightning_distill.losses import KLDistillationLoss
from lightning_distill.models import ConvNet, SmallConvNet
from lightning_distill.teachers import CachedTeacher, remember
from lightning_distill.types import Batch

BATCH, SIZE, CLASSES, TEMPERATURE, ALPHA = 128, 28, 10, 4.0, 0.1
ADAMW = partial(torch.optim.AdamW, lr=1e-3)
Step = Callable[[], Tensor]


def networks() -> tuple[nn.Module, nn.Module]:
    """A student and a trained-looking teacher: its BatchNorm statistics are not the initial ones."""
    torch.manual_seed(0)
    student, teacher = SmallConvNet(CLASSES, 1, width=25), ConvNet(CLASSES, 1, width=32)
    with torch.no_grad():
        for _ in range(5):
            teacher(torch.randn(BATCH, 1, SIZE, SIZE))
    return student, teacher.eval().requires_grad_(False)


def mega_macs(network: nn.Module) -> float:
    """Millions of multiplications per sample, in convolutions and linear layers."""
    total = 0

    def count(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight: Any = module.weight
        total += weight[0].numel() * output[0].numel()

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    handles = [module.register_forward_hook(count) for module in layers]
    with torch.no_grad():
        copy.deepcopy(network).eval()(torch.zeros(1, 1, SIZE, SIZE))
        total = 0
        network(torch.zeros(1, 1, SIZE, SIZE))
    for handle in handles:
        handle.remove()
    return total / 1e6


def optimized(parameters: Any, loss: Callable[[], Tensor]) -> Step:
    optimizer = ADAMW(parameters)

    def step() -> Tensor:
        value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return value.detach()

    return step


def by_hand(student: nn.Module, teacher: nn.Module, batch: Batch) -> Step:
    def loss() -> Tensor:
        with torch.no_grad():
            said = F.log_softmax(teacher(batch.inputs) / TEMPERATURE, 1)
        logits = student(batch.inputs)
        soft = F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), said, reduction="batchmean", log_target=True)
        return ALPHA * F.cross_entropy(logits, labels(batch)) + (1 - ALPHA) * TEMPERATURE**2 * soft

    return optimized(student.parameters(), loss)


def by_torchdistill(student: nn.Module, teacher: nn.Module, batch: Batch) -> Step:
    from torchdistill.core.distillation import DistillationBox

    path = {"student_module_path": ".", "teacher_module_path": "."}
    side = {"student_module_io": "output", "teacher_module_io": "output"}
    kd = {"key": "KDLoss", "kwargs": {**path, **side, "temperature": TEMPERATURE, "alpha": ALPHA}}
    config = {
        "num_epochs": 1,
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "AdamW", "kwargs": dict(ADAMW.keywords)},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}}},
    }
    box = DistillationBox(teacher, student, {}, config, torch.device("cpu"), None, False, 1)

    def step() -> Tensor:
        loss = box.forward_process(batch.inputs, labels(batch), None)
        box.post_forward_process(loss)
        return loss.detach()  # type: ignore[no-any-return]

    return step


def by_timm(student: nn.Module, teacher: nn.Module, batch: Batch) -> Step:
    from timm.task.distillation import LogitDistillationTask

    for network in (student, teacher):
        # What timm's own networks have.
        network.pretrained_cfg, network.num_classes, network.in_chans = {"mean": (0.0,), "std": (1.0,)}, CLASSES, 1
    task = LogitDistillationTask(
        student,
        teacher,
        criterion=nn.CrossEntropyLoss(),
        task_loss_weight=ALPHA,
        distill_loss_weight=1 - ALPHA,
        temperature=TEMPERATURE,
        verbose=False,
    )
    return optimized(student.parameters(), lambda: task(batch.inputs, labels(batch))["loss"])


def by_us(student: nn.Module, teacher: nn.Module | None, batch: Batch) -> Step:
    distiller = Distiller(student, teacher, alpha=ALPHA, distillation_loss=KLDistillationLoss(TEMPERATURE))
    return optimized(distiller.student.parameters(), lambda: distiller.training_step(batch, 0)["loss"])


def labels(batch: Batch) -> Tensor:
    assert batch.target is not None
    return batch.target


def fidelity(reference: Tensor, found: Tensor) -> dict[str, float]:
    """How far a teacher's answers are from those of the plain network."""
    soft, exact = (F.log_softmax(logits.double() / 4, 1) for logits in (found, reference))
    return {
        "largest_deviation": float((found - reference).abs().max()),
        "kl_at_4": float(F.kl_div(soft, exact, reduction="batchmean", log_target=True) * 16),
        "agreement": float((found.argmax(1) == reference.argmax(1)).float().mean()),
    }


def candidates(folder: Path) -> tuple[dict[str, Step], dict[str, dict[str, float]]]:
    """Every way to do the step, each with its own copy of the student, and how faithful ours are to the teacher."""
    student, teacher = networks()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 1, SIZE, SIZE, generator=generator)
    samples = images, torch.randint(CLASSES, (BATCH,), generator=generator)
    data = TensorDataModule(samples, samples, num_classes=CLASSES, batch_size=BATCH)
    batch = Batch(*samples, torch.arange(BATCH))
    exact = FrozenTeacher(copy.deepcopy(teacher))
    cached = CachedTeacher(exact, remember(exact, data, folder, view="clean", progress=False))
    steps = {
        "a loop by hand": by_hand(copy.deepcopy(student), teacher, batch),
        f"torchdistill {version('torchdistill')}": by_torchdistill(copy.deepcopy(student), teacher, batch),
        f"timm {version('timm')}, LogitDistillationTask": by_timm(copy.deepcopy(student), teacher, batch),
        "ours": by_us(copy.deepcopy(student), exact, batch),
        "ours, cached": by_us(copy.deepcopy(student), cached, batch),
        "ours, no teacher": by_us(copy.deepcopy(student), None, batch),
    }
    said = teacher(images)
    faithful = {"ours": fidelity(said, exact.answer(batch)), "ours, cached": fidelity(said, cached.answer(batch, 0))}
    return steps, faithful


def check(steps: dict[str, Step]) -> None:
    """Raise unless all compute the same loss in their first step."""
    values = {name: float(step()) for name, step in steps.items() if "no teacher" not in name}
    first = next(iter(values.values()))
    if any(abs(value - first) > 1e-3 * abs(first) for value in values.values()):
        raise ValueError(f"Expected all to compute the same loss, but got {values}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="how often each is timed")
    parser.add_argument("--print", action="store_true", help="write nothing")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        steps, faithful = candidates(Path(folder))
        check(steps)
        timings = interleaved(steps, options.rounds)
    student, teacher = networks()
    columns = ["step", "time / loop by hand (quartiles)", "ms", "largest logit deviation", "KL at T=4", "same class"]
    rows, results = [], []
    for name, timing in timings.items():
        near = faithful.get(name)
        cells = ["", "", ""]
        if near is not None:
            cells = [f"{near['largest_deviation']:.1e}", f"{near['kl_at_4']:.1e}", f"{near['agreement']:.2%}"]
        ratio = f"{timing.ratio:.2f} ({timing.low:.2f} to {timing.high:.2f})"
        rows.append([name, ratio, f"{timing.seconds * 1e3:.2f}", *cells])
        results.append({"step": name, **timing._asdict(), "fidelity": near})
    data = {"mega_macs": {"student": mega_macs(student), "teacher": mega_macs(teacher)}, "batch": BATCH}
    if options.print:
        print(data, *map(" | ".join, rows), sep="\n")
    else:
        write("peers", "python -m benchmarks.peers", columns, rows, {**data, "peers": results})


if __name__ == "__main__":
    main()
