"""DeepSpeed on a CPU, which it can train on where ``DS_ACCELERATOR=cpu``; Lightning asks for CUDA devices."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytorch_lightning.strategies.deepspeed as module
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import DeepSpeedStrategy


class CpuDeepSpeed(DeepSpeedStrategy):
    """With the checks for CUDA left out, and the one device that a CPU is."""

    def setup_environment(self) -> None:
        with (
            patch.object(module, "CUDAAccelerator", CPUAccelerator),
            patch.object(module, "_validate_device_index_selection"),
        ):
            super().setup_environment()

    def init_deepspeed(self) -> None:
        def first(device_rank: Any) -> Namespace:
            return Namespace(device_rank=0)

        with patch.object(module, "argparse", SimpleNamespace(Namespace=first)):
            super().init_deepspeed()
