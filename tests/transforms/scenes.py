"""An image and a label to augment."""

from __future__ import annotations

import torch
from torch import Tensor


def scene(height: int = 60, width: int = 80, channels: int = 1) -> dict[str, Tensor]:
    """A large asymmetrical shape: the image is bright where the label is 1."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    disk = ((y - 0.4 * height) ** 2 + (x - 0.35 * width) ** 2) < (0.3 * height) ** 2
    bar = (x > 0.7 * width) & (y > 0.5 * height)
    label = (disk | bar)[None].to(torch.uint8)
    return {"image": label.float().expand(channels, -1, -1) * 200, "label": label}
