"""Networks of the bundled experiments, and the two heads of a DeiT student for any backbone."""

from lightning_distill.models.conv_net import ConvNet, SmallConvNet
from lightning_distill.models.heads import Heads, read_heads
from lightning_distill.models.mlp import MLP
from lightning_distill.models.two_head import TwoHeadStudent
from lightning_distill.models.two_head_vit import TwoHeadViT

__all__ = ["MLP", "ConvNet", "Heads", "SmallConvNet", "TwoHeadStudent", "TwoHeadViT", "read_heads"]
