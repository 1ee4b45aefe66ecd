"""The Ignite trainer, its data, its record and its checkpoints."""

from i2net_bundle.training.auxiliary_head import AuxiliaryHead
from i2net_bundle.training.checkpoints import RunCheckpoint
from i2net_bundle.training.initial_weights import InitialWeights
from i2net_bundle.training.iteration_seed import IterationSeed
from i2net_bundle.training.learning_rates import parameter_groups
from i2net_bundle.training.publishing import publish_weights
from i2net_bundle.training.record import LossProgressBar, TrainingRecord, record_handler
from i2net_bundle.training.same_buffers import SameBuffers
from i2net_bundle.training.slices import EpochBatches, EpochSampler, SliceDataset
from i2net_bundle.training.trainer import SegmentationTrainer, TrainingNetwork
from i2net_bundle.training.weight_average import UpdateAverage, WeightAverage

__all__ = [
    "AuxiliaryHead",
    "EpochBatches",
    "EpochSampler",
    "InitialWeights",
    "IterationSeed",
    "LossProgressBar",
    "RunCheckpoint",
    "SameBuffers",
    "SegmentationTrainer",
    "SliceDataset",
    "TrainingNetwork",
    "TrainingRecord",
    "UpdateAverage",
    "WeightAverage",
    "parameter_groups",
    "publish_weights",
    "record_handler",
]
