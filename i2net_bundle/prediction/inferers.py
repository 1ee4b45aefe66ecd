"""How a network runs on a preprocessed volume or image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import Tensor
from tqdm import tqdm

from i2net_bundle.hardware import bfloat16, slices_at_a_time
from i2net_bundle.prediction.padding import padded, require_divisor
from i2net_bundle.transforms.preprocessing import SCALE
from i2net_bundle.transforms.resizing import resize_images, resize_labels


class SlicewiseInferer(Inferer):
    """Label a volume slice by slice, as TransUNet tests: resize to the network's size, arg-max, back by nearest.

    Args:
        size: rows and columns of the network's input.
        batch_size: slices per forward pass; default is `slices_at_a_time` of the device.
        progress: whether to show a bar over the slices (never where the output is no terminal).
        amp: whether the network runs in bfloat16, on devices that have it.
        divisor: slices of ``size`` are padded to sides that it divides, see `padded`.

    Attributes:
        readout: what is kept of the network's output (N, O, h, w), maps (N, M, h, w); the class by default.

    Raises:
        ValueError: ``size`` is not two numbers, or ``divisor`` no whole number from 1.
    """

    def __init__(
        self,
        size: Sequence[int] = (224, 224),
        batch_size: int | None = None,
        progress: bool = False,
        amp: bool = False,
        divisor: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(size, Sequence) or len(size) != 2:
            raise ValueError(f"image_size must be two numbers, rows and columns such as [224,224]; got {size}.")
        self.amp, self.divisor = amp, require_divisor(divisor)
        self.size, self.batch_size, self.progress = tuple(size), batch_size, progress
        self.readout: Callable[[Tensor], Tensor] = classify

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Label volumes.

        Args:
            inputs: (B, C, H, W, D), D the slice axis.
            network: (N, C, h, w) to logits (N, classes, h, w).
            args: passed to the network.
            kwargs: passed to the network.

        Returns:
            class indices (B, 1, H, W, D), uint8, or the maps of ``readout``; where ``inputs`` carry their geometry, so
            do these.
        """
        batch, _, height, width, depth = inputs.shape
        volumes = convert_to_tensor(inputs, track_meta=False)
        maps: Tensor | None = None
        batch_size = self.batch_size or slices_at_a_time(inputs.device)
        starts = range(0, depth, batch_size)
        predict = padded(in_bfloat16(network) if self.amp else network, self.divisor)
        for index, volume in enumerate(volumes):
            for start in tqdm(starts, desc="slices", disable=None if self.progress else True, leave=False):
                chunk = volume[..., start : start + batch_size].permute(3, 0, 1, 2)  # (N, C, H, W)
                logits = predict(resize_images(chunk, self.size), *args, **kwargs)
                back = resize_labels(self.readout(logits), (height, width))  # (N, M, H, W)
                if maps is None:
                    maps = back.new_empty((batch, back.shape[1], height, width, depth))
                maps[index, ..., start : start + batch_size] = back.permute(1, 2, 3, 0)
        assert maps is not None
        return convert_to_dst_type(maps, inputs, dtype=maps.dtype)[0]


class WholeImageInferer(Inferer):
    """Label an image of any size in one pass, resized to the training scale where its ``meta`` asks for that.

    Args:
        average_flips: average the logits over the image and its three flips; four times the work.
        amp: whether the network runs in bfloat16, on devices that have it.
        divisor: images are padded to sides that it divides, see `padded`.
        tile_margin: pixels that are read around a tile of a large image, see `i2net_bundle.prediction.tiles`; at least
            as many as the network sees to one side, so that tiles equal one pass.

    Attributes:
        readout: what is kept of the network's output (N, O, h, w), maps (N, M, h, w); the class by default.

    Raises:
        ValueError: ``divisor`` is no whole number from 1, or ``tile_margin`` is negative.
    """

    def __init__(
        self, average_flips: bool = False, amp: bool = False, divisor: int = 1, tile_margin: int = 256
    ) -> None:
        super().__init__()
        if tile_margin < 0:
            raise ValueError(f"tile_margin must be a number of pixels from 0, got {tile_margin}.")
        self.average_flips, self.divisor, self.tile_margin = average_flips, require_divisor(divisor), tile_margin
        self.readout: Callable[[Tensor], Tensor] = classify
        self.amp = amp

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Label images.

        Args:
            inputs: (B, C, H, W).
            network: images to logits (B, classes, H, W).
            args: passed to the network.
            kwargs: passed to the network.

        Returns:
            class indices (B, 1, H, W), uint8, or the maps of ``readout``; where ``inputs`` carry their file's name, so
            do these.
        """
        images = convert_to_tensor(inputs, track_meta=False)
        scales = torch.as_tensor(getattr(inputs, "meta", {}).get(SCALE, 1.0)).unique()
        if len(scales) > 1:
            raise ValueError("Images of different scales cannot be resized in one batch. Use a batch size of 1.")
        scale = float(scales)
        size = [max(1, round(side * scale)) for side in images.shape[2:]]
        images = resize_images(images, size, antialias=True)
        flips: list[list[int]] = [[], [2], [3], [2, 3]] if self.average_flips else [[]]
        predict = padded(in_bfloat16(network) if self.amp else network, self.divisor)
        views = [predict(images.flip(axes), *args, **kwargs).flip(axes) for axes in flips]
        logits = resize_images(torch.stack(views).mean(dim=0), inputs.shape[2:])
        maps = self.readout(logits)
        return convert_to_dst_type(maps, inputs, dtype=maps.dtype)[0]


def in_bfloat16(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The network under bfloat16 autocast where the device has it, see `bfloat16`; its logits in float32."""

    def predict(images: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with bfloat16(images.device.type, enabled=True):
            return network(images, *args, **kwargs).float()

    return predict


def classify(logits: Tensor) -> Tensor:
    """Class indices of logits (B, C, ...) as (B, 1, ...), uint8: arg-max, or probability above 0.5 where C is 1."""
    if logits.shape[1] == 1:
        return (logits > 0).to(torch.uint8)
    return logits.max(dim=1, keepdim=True).indices.to(torch.uint8)
