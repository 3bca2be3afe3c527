"""Lightning data modules that declare ``num_classes`` and ``example_input`` and yield ``Batch``."""

from lightning_distill.data.arrays import ArrayDataModule
from lightning_distill.data.balance import BalancedDraw, class_weights
from lightning_distill.data.cifar import CIFAR10DataModule, CIFAR100DataModule
from lightning_distill.data.dataset import InMemoryDataset, keep_batch
from lightning_distill.data.digits import DigitsDataModule
from lightning_distill.data.fake import FakeDataModule
from lightning_distill.data.hub_images import HuggingFaceImageDataModule
from lightning_distill.data.hub_text import HuggingFaceTextDataModule
from lightning_distill.data.image_folder import ImageFolderDataModule
from lightning_distill.data.image_module import ImageDataModule
from lightning_distill.data.labels import NO_LABEL
from lightning_distill.data.mixing import Mixing
from lightning_distill.data.mnist import FashionMNISTDataModule, MNISTDataModule
from lightning_distill.data.module import BaseDataModule
from lightning_distill.data.prepare import Augment, Prepare, PreparedDataset
from lightning_distill.data.sampler import EpochSampler
from lightning_distill.data.shapes import ShapesDataModule
from lightning_distill.data.split import stratified_choice
from lightning_distill.data.tensors import TensorDataModule
from lightning_distill.data.text import PythonDocsDataModule

__all__ = [
    "Augment",
    "ArrayDataModule",
    "BalancedDraw",
    "BaseDataModule",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "DigitsDataModule",
    "EpochSampler",
    "FakeDataModule",
    "FashionMNISTDataModule",
    "HuggingFaceImageDataModule",
    "HuggingFaceTextDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "InMemoryDataset",
    "MNISTDataModule",
    "Mixing",
    "NO_LABEL",
    "Prepare",
    "PreparedDataset",
    "PythonDocsDataModule",
    "ShapesDataModule",
    "TensorDataModule",
    "class_weights",
    "keep_batch",
    "stratified_choice",
]
