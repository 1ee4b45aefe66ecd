"""The Ignite trainer and what hangs on it."""

from i2net_bundle.training.averaging import UpdateAverage, WeightAverage
from i2net_bundle.training.checkpoints import RunCheckpoint
from i2net_bundle.training.encoder_weights import LoadEncoderWeights
from i2net_bundle.training.parameter_groups import parameter_groups
from i2net_bundle.training.publishing import publish_weights
from i2net_bundle.training.record import LossProgressBar, TrainingRecord
from i2net_bundle.training.trainer import GatedNetwork, I2NetTrainer

__all__ = [
    "GatedNetwork",
    "I2NetTrainer",
    "LoadEncoderWeights",
    "LossProgressBar",
    "RunCheckpoint",
    "TrainingRecord",
    "UpdateAverage",
    "WeightAverage",
    "parameter_groups",
    "publish_weights",
]
