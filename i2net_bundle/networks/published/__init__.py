"""Networks of other papers, which Table 2 compares with I²Net: those that MONAI does not have, or has for one size."""

from i2net_bundle.networks.published.cenet import CENet
from i2net_bundle.networks.published.hugging_face import segformer_b2, upernet_swin
from i2net_bundle.networks.published.multiresunet import MultiResUNet
from i2net_bundle.networks.published.r50_attention_unet import R50AttentionUNet
from i2net_bundle.networks.published.setr import SETRPUP
from i2net_bundle.networks.published.transunet import TransUNet
from i2net_bundle.networks.published.unet_plus_plus import UNetPlusPlus
from i2net_bundle.networks.published.unetr import UNETR

__all__ = [
    "SETRPUP",
    "UNETR",
    "CENet",
    "MultiResUNet",
    "R50AttentionUNet",
    "TransUNet",
    "UNetPlusPlus",
    "segformer_b2",
    "upernet_swin",
]
