"""What a large teacher adds to start-up and checkpoints: nothing, to the byte."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torchvision
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import Distiller
from lightning_distill.models import SmallConvNet

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def distiller(teacher: nn.Module | None) -> Distiller:
    torch.manual_seed(0)
    return Distiller(SmallConvNet(10, 3), teacher, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9))


def size_of(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


@pytest.fixture
def resnet50() -> nn.Module:
    network = torchvision.models.resnet50(num_classes=10)
    assert size_of(network) > 94e6
    return network


def checkpoint_of(module: Distiller, path: Path) -> dict[str, Any]:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = pl.Trainer(accelerator="cpu", max_steps=1, **quiet)  # type: ignore[arg-type]
    trainer.fit(module, DataLoader(TensorDataset(IMAGES, torch.tensor([0, 1])), batch_size=2))
    trainer.save_checkpoint(path)
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


def bytes_in(value: Any) -> int:
    """Of all tensors in a checkpoint."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    children = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(bytes_in, children))


def test_checkpoint__is_as_large_as_with_a_small_teacher(resnet50: nn.Module, tmp_path: Path) -> None:
    large = checkpoint_of(distiller(resnet50), tmp_path / "large.ckpt")
    small = checkpoint_of(distiller(SmallConvNet(10, 3)), tmp_path / "small.ckpt")
    assert large["state_dict"].keys() == small["state_dict"].keys()
    assert bytes_in(large["state_dict"]) == size_of(SmallConvNet(10, 3))
    assert bytes_in(large) == bytes_in(small)
    assert (tmp_path / "large.ckpt").stat().st_size < 100_000


def test_ddp__broadcasts_the_student_alone(
    resnet50: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    broadcast = dist._broadcast_coalesced

    def counted(group: Any, tensors: list[Tensor], *args: Any) -> Any:
        sent.extend(t.numel() * t.element_size() for t in tensors)
        return broadcast(group, tensors, *args)

    monkeypatch.setattr(dist, "_broadcast_coalesced", counted)
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        module = distiller(resnet50)
        wrapped = DistributedDataParallel(module)
        assert sum(sent) == size_of(module.student)
        sent.clear()
        wrapped(IMAGES)
        assert sum(sent) <= sum(b.numel() * b.element_size() for b in module.student.buffers())
    finally:
        dist.destroy_process_group()
