"""Networks of the bundled experiments, any network of timm, torchvision and transformers, and the two heads of DeiT."""

from lightning_distill.models.cifar import cifar_model
from lightning_distill.models.conv_net import ConvNet, SmallConvNet
from lightning_distill.models.freezing import freeze
from lightning_distill.models.from_timm import timm_model
from lightning_distill.models.from_torchvision import torchvision_model
from lightning_distill.models.from_transformers import transformers_model
from lightning_distill.models.heads import Heads, read_heads
from lightning_distill.models.initialize import init_from_teacher
from lightning_distill.models.mlp import MLP
from lightning_distill.models.pretrained import Preprocessing
from lightning_distill.models.segmentation import SegmentationNet
from lightning_distill.models.two_head import TwoHeadStudent
from lightning_distill.models.two_head_vit import TwoHeadViT

__all__ = [
    "MLP",
    "ConvNet",
    "Heads",
    "Preprocessing",
    "SegmentationNet",
    "SmallConvNet",
    "TwoHeadStudent",
    "TwoHeadViT",
    "cifar_model",
    "freeze",
    "init_from_teacher",
    "read_heads",
    "timm_model",
    "torchvision_model",
    "transformers_model",
]
