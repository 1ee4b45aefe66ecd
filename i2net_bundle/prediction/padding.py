"""Run networks that need sides of a multiple on images of any size: replicate-pad, run, crop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.inferers import Inferer
from torch import Tensor
from torch.nn import functional as F


def require_divisor(divisor: int) -> int:
    """Check a divisor.

    Raises:
        ValueError: it is not a positive integer.
    """
    if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
        raise ValueError(f"divisor must be a positive integer such as 16, got {divisor!r}.")
    return divisor


def padded(network: Callable[..., Any], divisor: int) -> Callable[..., Any]:
    """Wrap a network that needs sides divisible by ``divisor``, so that it takes images of any size.

    Images (B, C, H, W) are replicate-padded at the bottom and on the right. Logits (B, O, H, W) are cropped back. Gates
    (B, K, h, w) have a coarser grid; the cells that cover the image are kept.

    Args:
        network: maps images to logits, or to a tuple of logits, gates (which may be None) and further logits.
        divisor: 1 leaves images unchanged.
    """

    def run(images: Tensor, *args: Any, **kwargs: Any) -> Any:
        height, width = images.shape[2:]
        missing = (0, -width % divisor, 0, -height % divisor)
        if not any(missing):
            return network(images, *args, **kwargs)
        images = F.pad(images, missing, mode="replicate")
        output = network(images, *args, **kwargs)
        if isinstance(output, tuple):
            logits, gates, *others = output
            cropped = [further[..., :height, :width] for further in (logits, *others)]
            return cropped[0], _covering(gates, images, height, width), *cropped[1:]
        return output[..., :height, :width]

    return run


class PaddedInferer(Inferer):
    """Inferer for training that pads images of any size, see `padded`.

    Args:
        divisor: the network needs sides divisible by it.
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
