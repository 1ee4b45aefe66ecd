"""Images of any size for networks that need sides of a multiple: replicate-pad, run the network, crop its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.inferers import Inferer
from torch import Tensor
from torch.nn import functional as F


def require_divisor(divisor: int) -> int:
    """Check a divisor.

    Raises:
        ValueError: it is no whole number from 1.
    """
    if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
        raise ValueError(f"divisor must be a whole number from 1, such as 16, got {divisor!r}.")
    return divisor


def padded(network: Callable[..., Any], divisor: int) -> Callable[..., Any]:
    """A network that takes images of any size, from one that needs sides that ``divisor`` divides.

    Images (B, C, H, W) are replicate-padded below and to the right; logits (B, O, H, W) are cropped back. Of gates
    (B, K, h, w), which lie on a coarser grid, the cells that cover the image are kept.

    Args:
        network: images to logits, or to a tuple of logits and gates; gates may be None.
        divisor: 1 leaves images as they are.
    """

    def run(images: Tensor, *args: Any, **kwargs: Any) -> Any:
        height, width = images.shape[2:]
        missing = (0, -width % divisor, 0, -height % divisor)
        if not any(missing):
            return network(images, *args, **kwargs)
        images = F.pad(images, missing, mode="replicate")
        output = network(images, *args, **kwargs)
        if isinstance(output, tuple):
            logits, gates = output
            return logits[..., :height, :width], _covering(gates, images, height, width)
        return output[..., :height, :width]

    return run


class PaddedInferer(Inferer):
    """Run a network on images of any size, see `padded`; for training.

    Args:
        divisor: what the network needs to divide the sides of its input.
    """

    def __init__(self, divisor: int = 1) -> None:
        super().__init__()
        self.divisor = require_divisor(divisor)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run ``network`` on images (B, C, H, W)."""
        return padded(network, self.divisor)(inputs, *args, **kwargs)


def _covering(gates: Tensor | None, images: Tensor, height: int, width: int) -> Tensor | None:
    if gates is None:
        return None
    rows = -(-height * gates.shape[2] // images.shape[2])
    cols = -(-width * gates.shape[3] // images.shape[3])
    return gates[:, :, :rows, :cols]
