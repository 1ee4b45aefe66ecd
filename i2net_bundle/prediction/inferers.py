"""Run a network on a preprocessed volume or image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import Tensor
from tqdm import tqdm

from i2net_bundle.hardware import bfloat16, slices_at_a_time
from i2net_bundle.networks.contract import split_separation
from i2net_bundle.prediction.padding import padded, require_divisor
from i2net_bundle.transforms.preprocessing import SCALE
from i2net_bundle.transforms.resizing import resize_images, resize_labels


class SlicewiseInferer(Inferer):
    """Segment a volume slice by slice, as in TransUNet's test code.

    Each slice is resized to the network's size. The class indices are resized back by nearest neighbor.

    Args:
        size: rows and columns of the network's input.
        batch_size: slices per forward pass; default `slices_at_a_time` for the device.
        progress: show a progress bar over the slices if the output is a terminal.
        amp: run the network in bfloat16 on devices that support it.
        divisor: slices are padded to multiples of it, see `padded`.

    Attributes:
        readout: maps the network's output (N, O, h, w) to the maps to keep (N, M, h, w); default is the class index.

    Raises:
        ValueError: ``size`` is not two numbers, or ``divisor`` is not a positive integer.
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
        """Segment volumes.

        Args:
            inputs: (B, C, H, W, D); the last axis is the slice axis.
            network: maps slices (N, C, h, w) to logits (N, classes, h, w).
            args: passed to the network.
            kwargs: passed to the network.

        Returns:
            class indices (B, 1, H, W, D), uint8, or the maps of ``readout``; with the metadata of ``inputs``, if any.
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
    """Segment an image of any size, in one pass or in windows; resize it to the training scale if its ``meta`` says so.

    Args:
        average_flips: average the logits over the image and its three flips, which takes four times as long.
        amp: run the network in bfloat16 on devices that support it.
        divisor: images are padded to multiples of it, see `padded`.
        tile_margin: pixels read around each tile of a large image, see `i2net_bundle.prediction.tiles`. Tiles equal
            one pass if the margin covers the network's receptive field.
        window: rows and columns of a sliding window. The logits of overlapping windows are averaged. Default: one pass.
        overlap: share of a window's side that neighbours have in common.
        separates: the last channel of the logits separates glands, see `i2net_bundle.networks.contract`.

    Attributes:
        readout: maps the network's output (N, O, h, w) to the maps to keep (N, M, h, w); default is the class index, or
            `classify_and_separate`.

    Raises:
        ValueError: ``divisor`` is not a positive integer, ``tile_margin`` is negative, or ``window`` is not two
            positive numbers.
    """

    def __init__(
        self,
        average_flips: bool = False,
        amp: bool = False,
        divisor: int = 1,
        tile_margin: int = 256,
        window: Sequence[int] | None = None,
        overlap: float = 1 / 3,
        separates: bool = False,
    ) -> None:
        super().__init__()
        if tile_margin < 0:
            raise ValueError(f"tile_margin must be 0 pixels or more, got {tile_margin}.")
        if window is not None and (not isinstance(window, Sequence) or len(window) != 2 or min(window) < 1):
            raise ValueError(f"window must be two positive numbers, rows and columns such as [769,769]; got {window}.")
        self.window, self.overlap = window, overlap
        self.average_flips, self.divisor, self.tile_margin = average_flips, require_divisor(divisor), tile_margin
        self.separates = separates
        self.readout: Callable[[Tensor], Tensor] = classify_and_separate if separates else classify
        self.amp = amp

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Segment images.

        Args:
            inputs: (B, C, H, W).
            network: maps images to logits (B, classes, H, W).
            args: passed to the network.
            kwargs: passed to the network.

        Returns:
            class indices (B, 1, H, W), uint8, or the maps of ``readout``; with the metadata of ``inputs``, if any.
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
        if self.window is not None:
            predict = in_windows(predict, self.window, self.overlap)
        views = [predict(images.flip(axes), *args, **kwargs).flip(axes) for axes in flips]
        logits = resize_images(torch.stack(views).mean(dim=0), inputs.shape[2:])
        maps = self.readout(logits)
        return convert_to_dst_type(maps, inputs, dtype=maps.dtype)[0]


def in_windows(network: Callable[..., Tensor], window: Sequence[int], overlap: float) -> Callable[..., Tensor]:
    """Wrap a network so that it sees one window (rows, columns) at a time; the logits of windows are averaged.

    Images smaller than a window are replicate-padded to it.
    """
    sliding = SlidingWindowInferer(tuple(window), sw_batch_size=1, overlap=overlap, padding_mode="replicate")

    def predict(images: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        logits: Any = sliding(images, network, *args, **kwargs)
        return logits

    return predict


def in_bfloat16(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Wrap a network in bfloat16 autocast if the device supports it, see `bfloat16`; its logits are float32."""

    def predict(images: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with bfloat16(images.device.type, enabled=True):
            return network(images, *args, **kwargs).float()

    return predict


def classify(logits: Tensor) -> Tensor:
    """Map logits (B, C, ...) to class indices (B, 1, ...), uint8: arg-max, or probability above 0.5 if C is 1."""
    if logits.shape[1] == 1:
        return (logits > 0).to(torch.uint8)
    return logits.max(dim=1, keepdim=True).indices.to(torch.uint8)


def classify_and_separate(logits: Tensor) -> Tensor:
    """Map logits (B, C + 1, ...) to class indices and the sigmoid of the last channel (B, 2, ...), float16."""
    of_classes, of_separation = split_separation(logits, separates=True)
    assert of_separation is not None
    return torch.cat([classify(of_classes).half(), of_separation.float().sigmoid().half()], dim=1)
