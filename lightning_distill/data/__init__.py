"""Lightning data modules that declare ``num_classes`` and ``example_input`` and yield ``Batch``."""

from lightning_distill.data.dataset import InMemoryDataset, keep_batch
from lightning_distill.data.digits import DigitsDataModule
from lightning_distill.data.sampler import EpochSampler
from lightning_distill.data.split import stratified_choice
from lightning_distill.data.tensors import TensorDataModule

__all__ = [
    "DigitsDataModule",
    "EpochSampler",
    "InMemoryDataset",
    "TensorDataModule",
    "keep_batch",
    "stratified_choice",
]
