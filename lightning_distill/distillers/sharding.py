"""FSDP2 for distillers: the student in shards, the teacher whole on every device."""

from __future__ import annotations

import copy
from types import MethodType
from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from lightning_distill.engine import pl
from lightning_distill.teachers.frozen import FrozenTeacher

LAYER_PARAMETERS = 1_000_000
# Strategies that leave the network they trained in pieces, or in another precision.
SHARDING = (pl.strategies.ModelParallelStrategy, pl.strategies.FSDPStrategy, pl.strategies.DeepSpeedStrategy)


class ShardedStudent(pl.strategies.ModelParallelStrategy):
    """``Trainer(strategy=ShardedStudent())``: every process keeps a part of the student and of its optimizer's state.

    The student is sharded as a whole, and every element of its ``ModuleList`` and ``Sequential`` containers that has a
    million parameters or more also on its own, so that one of these at a time is gathered. What else a distiller
    trains (adapters, losses with weights) stays outside, so it is refused. The teacher is no part of this.

    Runs on CUDA devices, and on CPUs for trying out.

    Args:
        save_distributed_checkpoint: Write checkpoints as folders of shards, which
            :func:`~lightning_distill.sharded.consolidate` turns into files, instead of ordinary files.
        options: As of Lightning's ``ModelParallelStrategy``.

    Raises:
        ValueError: When training starts, if something beside the student is trained.
    """

    def __init__(self, save_distributed_checkpoint: bool = False, **options: Any) -> None:
        super().__init__(save_distributed_checkpoint=save_distributed_checkpoint, **options)

    def setup_environment(self) -> None:
        # Lightning's own "auto" splits over the processes of a node what only tensor parallelism can split.
        if self._tensor_parallel_size == "auto":
            self._tensor_parallel_size = 1
        if self._data_parallel_size == "auto":
            self._data_parallel_size = self.num_nodes * self.num_processes // self._tensor_parallel_size
        super().setup_environment()

    def connect(self, model: pl.LightningModule) -> None:
        super().connect(model)
        # Lightning calls this hook where it wants a model to be sharded; a method of every distiller would make it
        # warn in runs that do not shard.
        model.configure_model = MethodType(shard_student, model)  # type: ignore[method-assign]


def check_shards(module: Any, trainer: pl.Trainer) -> None:
    """Raise if ``trainer`` puts a distiller's student in shards, and something needs it whole.

    Raises:
        ValueError: For a callback that averages weights (it keeps a copy of the network, which torch does not allow of
            one in shards), with :class:`ShardedStudent` for weights beside the student's that are trained, and for
            DeepSpeed's stage 3.
    """
    strategy = trainer.strategy
    if isinstance(strategy, pl.strategies.DeepSpeedStrategy) and strategy.zero_stage_3:
        raise ValueError(
            "Expected DeepSpeed's stage 1 or 2, whose checkpoints hold whole weights, but got 3. Use trainer=fsdp2 to "
            "have the weights in shards."
        )
    if isinstance(strategy, SHARDING):
        for callback in getattr(trainer, "callbacks", []):
            if isinstance(callback, pl.callbacks.WeightAveraging):
                raise ValueError(
                    f"Expected no callback that averages weights where the student is in shards, but got "
                    f"{type(callback).__name__}. Leave it out, or train with whole students: trainer=ddp"
                )
    if isinstance(strategy, pl.strategies.ModelParallelStrategy):
        others = [name for name, p in module.named_parameters() if p.requires_grad and not name.startswith("student.")]
        if others:
            raise ValueError(
                f"Expected the student alone to be trained where it is sharded, but {', '.join(others[:3])} would be, "
                "too. Use strategy='ddp' with losses and terms that have weights."
            )


def shard_student(module: Any) -> None:
    """Put the student of a distiller in shards over the data-parallel processes; nothing happens the second time."""
    check_shards(module, module.trainer)
    if isinstance(module.student, (FSDPModule, FrozenTeacher)):  # the second: a teacher that is only tested
        return
    mesh = module.device_mesh["data_parallel"]
    for container in module.student.modules():
        if isinstance(container, (nn.ModuleList, nn.Sequential)) and container is not module.student:
            for layer in container:
                if sum(p.numel() for p in layer.parameters()) >= LAYER_PARAMETERS:
                    fully_shard(layer, mesh=mesh)
    # Also the root: torch would keep it whole after a validation, when no backward pass comes.
    fully_shard(module.student, mesh=mesh, reshard_after_forward=True)


def to_shard(module: Any, trainer: pl.Trainer) -> Any:
    """What ``trainer`` fits or tests: a copy of a distiller where it would leave its parameters in shards.

    What was trained in the copy is in its checkpoints. With any other strategy it is the distiller itself.

    Args:
        module: A distiller.
        trainer: With its strategy.
    """
    return copy.deepcopy(module) if isinstance(trainer.strategy, SHARDING) else module
