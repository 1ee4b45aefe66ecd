"""Average several networks and flips of an image, and choose which maps to keep of the output."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2net_bundle.networks.contract import split_separation
from i2net_bundle.prediction.inferers import classify
from i2net_bundle.prediction.memory import uniform_memory_errors

logger = logging.getLogger("i2net.prediction")

_FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
_TINY = 1e-7
SEPARATION = "separation"
"""Name of the map that separates glands."""


class AveragedNetwork(nn.Module):
    """Mean probability of several networks over the views of an image, as logits.

    A single network and view give that network's own logits, bit for bit. A batch that does not fit into memory is
    halved, and later batches keep the smaller size.

    Args:
        networks: networks with the same output channels.
        flips: also use the image's three flips, which takes four times as long.
        variance: append the variance of the probabilities over networks and views, averaged over the classes.
        separates: the last channel separates glands; it is averaged by itself and stays behind the classes.
    """

    def __init__(
        self, networks: Sequence[nn.Module], flips: bool = False, variance: bool = False, separates: bool = False
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.views = _FLIPS if flips else _FLIPS[:1]
        self.variance, self.separates = variance, separates
        self.max_batch: int | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, O, H, W), with the variance (N, O + 1, H, W).

        Raises:
            torch.OutOfMemoryError: a single image does not fit into memory.
        """
        parts = images.split(self.max_batch) if self.max_batch else (images,)
        try:
            with uniform_memory_errors():
                return torch.cat([self._forward(part) for part in parts])
        except torch.OutOfMemoryError:
            largest = max(len(part) for part in parts)
            if largest == 1:
                raise
            self.max_batch = largest // 2
        logger.warning(f"{largest} images at a time do not fit into memory: continuing with {self.max_batch}")
        if images.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.forward(images)

    def _forward(self, images: Tensor) -> Tensor:
        if len(self.networks) * len(self.views) == 1:
            logits = self.networks[0](images)
            return torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1) if self.variance else logits
        outputs = [net(images.flip(axes)).flip(axes) for net in self.networks for axes in self.views]
        of_classes, of_separation = zip(*(split_separation(output, self.separates) for output in outputs), strict=True)
        views = torch.stack([probabilities(logits) for logits in of_classes])
        parts = [_logits(views.mean(dim=0))]
        if self.separates:
            parts.append(_logits(torch.stack([logit.sigmoid() for logit in of_separation]).mean(dim=0)))
        if self.variance:
            parts.append(views.var(dim=0, correction=0).mean(dim=1, keepdim=True))
        return torch.cat(parts, dim=1)


class Readout:
    """Maps to keep of the logits: the class index, and on request the uncertainty and the probabilities.

    Args:
        num_classes: including background; logits have as many channels, or one channel for two classes.
        uncertainty: keep the entropy of the probabilities, divided by its maximum: 0 to 1.
        variance: the logits carry the variance over views in an extra channel; keep it.
        probabilities: keep the probability of every class, including background.
        separates: the channel after the classes is the logits of a separation map; keep its sigmoid.

    Attributes:
        names: names of the maps; the first is "class", the second "separation" if there is one.
    """

    def __init__(
        self,
        num_classes: int,
        uncertainty: bool = False,
        variance: bool = False,
        probabilities: bool = False,
        separates: bool = False,
    ) -> None:
        self.num_classes, self.uncertainty, self.variance = num_classes, uncertainty, variance
        self.probabilities, self.separates = probabilities, separates
        self.names = ["class", *[SEPARATION] * separates, *["entropy"] * uncertainty, *["variance"] * variance]
        self.names += [f"probability_{index}" for index in range(num_classes)] if probabilities else []

    def __call__(self, output: Tensor) -> Tensor:
        """Map logits (N, O, H, W), with one channel more each for separation and variance, to maps (N, M, H, W).

        Returns:
            float16; uint8 if the class index is the only map.

        Raises:
            ValueError: O is not the number of classes, nor 1 for two classes.
        """
        out_channels = output.shape[1] - self.separates - self.variance
        if out_channels != self.num_classes and not (out_channels == 1 and self.num_classes == 2):
            raise ValueError(
                f"The network returns {out_channels} channels of logits for {self.num_classes} classes, including "
                "background. Set out_channels of network_def to the number of classes."
            )
        logits = output[:, :out_channels]
        labels = classify(logits)
        if len(self.names) == 1:
            return labels
        maps = [labels]
        if self.separates:
            maps.append(output[:, out_channels : out_channels + 1].float().sigmoid())
        foreground = probabilities(logits.float())
        every = torch.cat([1 - foreground, foreground], dim=1) if out_channels == 1 else foreground
        if self.uncertainty:
            entropy = torch.special.entr(every).sum(dim=1, keepdim=True)
            maps.append(entropy / math.log(every.shape[1]))
        if self.variance:
            maps.append(output[:, -1:])
        if self.probabilities:
            maps.append(every)
        return torch.cat([part.half() for part in maps], dim=1)


def _logits(mean: Tensor) -> Tensor:
    """Logits of mean probabilities (N, O, H, W)."""
    mean = mean.clamp(_TINY, 1 - _TINY)
    return mean.logit() if mean.shape[1] == 1 else mean.log()


def probabilities(logits: Tensor) -> Tensor:
    """Softmax of logits (N, O, H, W) over the classes, or sigmoid of the foreground if O is 1."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
