"""FSDP on a CPU: what differs from a run on GPUs is where the parameters are."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    FullyShardedDataParallel,
    StateDictType,
)
from torch.optim import Optimizer


class CpuFSDP(FSDPStrategy):
    """Lightning's own refuses CPUs, as torch does unless it is told that one is meant."""

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return FullyShardedDataParallel(
            model,
            device_id=torch.device("cpu"),
            cpu_offload=self.cpu_offload,
            mixed_precision=self.mixed_precision_config,
            sharding_strategy=self.sharding_strategy,
            **self.kwargs,
        )

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        # torch's move to the CPU is no copy here, and would leave every moment in one and the same buffer.
        weights = FullStateDictConfig(offload_to_cpu=False, rank0_only=True)
        moments = FullOptimStateDictConfig(offload_to_cpu=False, rank0_only=True)
        whole = StateDictType.FULL_STATE_DICT
        with FullyShardedDataParallel.state_dict_type(self.model, whole, weights, moments):
            state: dict[str, Any] = FullyShardedDataParallel.optim_state_dict(self.model, optimizer)
        return state if self.global_rank == 0 else {}
