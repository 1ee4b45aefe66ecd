"""Turn downloads into verified data sets."""

from i2net_bundle.prepare.cityscapes import prepare_cityscapes
from i2net_bundle.prepare.glas import prepare_glas
from i2net_bundle.prepare.synapse import prepare_synapse

__all__ = ["prepare_cityscapes", "prepare_glas", "prepare_synapse"]
