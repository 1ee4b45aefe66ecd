"""Apply MONAI's metrics to label maps one class at a time: same values, without one-hot tensors of whole volumes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.metrics import Metric
from monai.handlers import from_engine
from monai.metrics import CumulativeIterationMetric
from torch import Tensor


def classwise(
    metric: Callable[..., Any], y_pred: Tensor, y: Tensor, num_classes: int, spacing: Sequence[float] | None = None
) -> Tensor:
    """Apply a metric of binary masks to each class except background.

    Args:
        metric: a MONAI metric of one-hot tensors (1, 1, ...), such as ``DiceMetric()``.
        y_pred: predicted class indices (1, ...).
        y: true class indices (1, ...).
        num_classes: including background.
        spacing: voxel size in mm, for distance metrics.

    Returns:
        (num_classes - 1,), float32; NaN if the metric is undefined.
    """
    arguments = {} if spacing is None else {"spacing": list(spacing)}
    values = []
    for index in range(1, num_classes):
        pair = [(labels == index)[None].float() for labels in (y_pred, y)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI warns of an empty "class 0", which may be any class here
            values.append(torch.as_tensor(metric(*pair, **arguments)).float().flatten()[0])
    return torch.stack(values)


class ClasswiseMetric(Metric):
    """Ignite adapter that computes a MONAI metric for every case and class, and the mean of the defined values.

    ``engine.state.metric_details`` contains all values as (cases, classes). With several processes, each scores its
    share of a ``DistributedSampler`` without shuffling, and all have the values of all cases, in their order.

    Args:
        metric: a MONAI metric, such as ``DiceMetric`` or ``HausdorffDistanceMetric``.
        num_classes: including background.
        use_spacing: pass the image's spacing to the metric. Distances are then in mm, or in pixels or voxels if the
            spacing is unknown.
        ignore_index: value of the truth where no class is counted as predicted.
    """

    def __init__(
        self,
        metric: CumulativeIterationMetric,
        num_classes: int,
        use_spacing: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        self.metric = metric
        self.num_classes = num_classes
        self.use_spacing = use_spacing
        self.ignore_index = ignore_index
        super().__init__(output_transform=from_engine(["pred", "label"]))

    def reset(self) -> None:
        """Remove all cases."""
        self.values: list[Tensor] = []
        self.count: int | None = None
        self.metric.reset()

    def update(self, output: Sequence[Sequence[Tensor]]) -> None:
        """Add the cases of a batch, as lists of predicted and true label maps (1, ...)."""
        for y_pred, y in zip(*output, strict=True):
            spacing = [float(size) for size in y.pixdim[: y.ndim - 1]] if self.use_spacing else None
            if self.ignore_index is not None:
                y_pred = y_pred.where(y != self.ignore_index, 0)
            self.values.append(classwise(self.metric, y_pred, y, self.num_classes, spacing).cpu())

    def compute(self) -> float:
        """Mean of the defined values over the classes of each case, then over the cases; NaN without any."""
        return float(self._all_values().nanmean(dim=1).nanmean())

    def completed(self, engine: Any, name: str) -> None:
        """Store the mean in ``metrics`` and all values in ``metric_details``."""
        if idist.get_world_size() > 1:
            self.count = len(engine.data_loader.dataset)
        super().completed(engine, name)
        engine.state.metric_details[name] = self._all_values()

    def _all_values(self) -> Tensor:
        """Values of all cases, (cases, classes).

        Process r of n scores the cases r, r + n, r + 2n, …. The sampler repeats cases to make the shares equal; these
        come last.
        """
        own = torch.stack(self.values)
        if idist.get_world_size() == 1:
            return own
        gathered: Any = idist.all_gather(own.to(idist.device()))  # (processes * share, classes)
        shares = gathered.cpu().unflatten(0, (idist.get_world_size(), len(own)))
        return shares.transpose(0, 1).flatten(0, 1)[: self.count]
