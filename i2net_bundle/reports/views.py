"""Views: image, truth, prediction and gates, if any, of a slice or an image at the network's input size."""

from __future__ import annotations

import copy
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from i2net_bundle.figures.case_panels import displayed
from i2net_bundle.figures.side_letters import NO_LETTERS
from i2net_bundle.io.writing import written_whole
from i2net_bundle.networks.contract import logits_and_gates, split_separation
from i2net_bundle.prediction.padding import padded
from i2net_bundle.transforms.resizing import resize_images, resize_labels

WHOLE_IMAGE = -1


@dataclass(frozen=True)
class View:
    """One slice of a volume, or an image.

    Attributes:
        image: grey (h, w) or RGB (h, w, 3), as displayed, uint8.
        truth: true class indices (h, w), uint8.
        prediction: predicted class indices (h, w), uint8.
        gates: (K, gh, gw), float16; they sum to 1 over K. K is 0 for a network without gates.
        spacing: height and width of a pixel of ``image``.
        index: index of the slice, or `WHOLE_IMAGE`.
        letters: letters at its left and its right edge, see `side_letters`.
    """

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    gates: np.ndarray
    spacing: tuple[float, float]
    index: int = WHOLE_IMAGE
    letters: tuple[str, str] = NO_LETTERS

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width."""
        return self.spacing[0] / self.spacing[1]

    def entropy(self) -> np.ndarray:
        """Entropy of the gate at every point (gh, gw), between 0 and ln K."""
        gates = np.clip(self.gates.astype(np.float32), 1e-12, 1)
        return -(gates * np.log(gates)).sum(axis=0)


class Forward(NamedTuple):
    """Inputs and outputs of the network for N slices, or for one image, without padding.

    Attributes:
        inputs: (N, C, h, w).
        logits: of the classes, (N, O, h, w).
        gates: (N, K, gh, gw); K is 0 for a network without gates.
    """

    inputs: Tensor
    logits: Tensor
    gates: Tensor

    def take(self, numbers: Sequence[int]) -> Forward:
        """Subset of the slices, by position among the N."""
        return Forward(*(tensor[list(numbers)] for tensor in self))


class _Watched:
    """Wraps a network and records its inputs and outputs while an inferer applies it.

    Only the first ``count`` images are recorded: an inferer that averages over flips passes the unflipped image first.
    """

    def __init__(self, network: nn.Module, count: int, divisor: int, separates: bool) -> None:
        self.forward = padded(lambda images: logits_and_gates(network, images), divisor)
        self.count, self.separates = count, separates
        self.kept: list[Forward] = []

    def __call__(self, images: Tensor) -> Tensor:
        logits, gates = self.forward(images)
        if sum(len(part.inputs) for part in self.kept) < self.count:
            of_classes, _ = split_separation(logits, self.separates)
            self.kept.append(
                Forward(images, of_classes, logits.new_empty(len(logits), 0, 1, 1) if gates is None else gates)
            )
        return logits


def watch(network: nn.Module, inferer: Callable[..., Tensor], image: Tensor, slices: Sequence[int] | None) -> Forward:
    """Apply a network through an inferer, in evaluation mode and without gradients, and record inputs and outputs.

    Args:
        network: network on the device of ``image``.
        inferer: inferer of `i2net_bundle.prediction`, which resizes the slices to the network's input size.
        image: preprocessed image (C, H, W) or volume (C, H, W, D).
        slices: indices of the slices of a volume; None for an image.
    """
    own: Any = copy.copy(inferer)
    divisor = getattr(own, "divisor", 1)
    if divisor > 1:  # pad here instead, so that the records are cropped
        own.divisor = 1
    if getattr(own, "window", None) is not None:  # the records are of one pass
        own.window = None
    watched = _Watched(network, 1 if slices is None else len(slices), divisor, getattr(own, "separates", False))
    part = image if slices is None else image[..., list(slices)]
    with eval_mode(network):
        own(part[None], watched)
    return Forward(*(torch.cat(tensors) for tensors in zip(*watched.kept, strict=True)))


def sliced(labels: Tensor, slices: Sequence[int] | None, size: Sequence[int]) -> Tensor:
    """Slices of a label map (1, H, W, D), or a label map (1, H, W), resized by nearest neighbour to (N, 1, h, w)."""
    plain = torch.as_tensor(labels).as_subclass(Tensor)
    stacked = plain[None] if slices is None else plain[..., list(slices)].permute(3, 0, 1, 2)
    return resize_labels(stacked, size)


def make_views(
    forward: Forward,
    truth: Tensor,
    prediction: Tensor,
    slices: Sequence[int] | None,
    spacing: Sequence[float] = (1.0, 1.0),
    max_side: int = 1024,
    letters: tuple[str, str] = NO_LETTERS,
) -> list[View]:
    """Build the views of slices, or of an image.

    Args:
        forward: inputs and outputs of the network for these slices.
        truth: true class indices (1, H, W, D) or (1, H, W), on the grid of the case.
        prediction: predicted class indices, same shape.
        slices: indices of the slices; None for an image.
        spacing: height and width of a pixel of that grid.
        max_side: longer sides are reduced to this length.
        letters: letters at the left and the right edge of slices, see `side_letters`.
    """
    inputs = forward.inputs
    shrink = min(1.0, max_side / max(inputs.shape[2:]))
    size = [max(1, round(side * shrink)) for side in inputs.shape[2:]]
    inputs = resize_images(inputs, size, antialias=True)
    maps = [sliced(labels, slices, size)[:, 0].to(torch.uint8).cpu().numpy() for labels in (truth, prediction)]
    height, width = (step * side / new for step, side, new in zip(spacing, truth.shape[1:3], size, strict=True))
    views = []
    for number, item in enumerate(inputs.float().cpu().numpy()):
        rgb = np.rint(255 * displayed(item, rgb=slices is None and len(item) == 3)).astype(np.uint8)
        views.append(
            View(
                image=rgb if slices is None and len(item) == 3 else rgb[..., 0],
                truth=maps[0][number],
                prediction=maps[1][number],
                gates=forward.gates[number].half().cpu().numpy(),
                spacing=(float(height), float(width)),
                index=WHOLE_IMAGE if slices is None else slices[number],
                letters=letters,
            )
        )
    return views


def pixel_spacing(image: Tensor) -> tuple[float, float]:
    """Height and width of a pixel of an image, or of a volume's slices; (1, 1) if they are not recorded."""
    height, width = (float(step) for step in getattr(image, "pixdim", (1.0, 1.0))[:2])
    return height, width


def spread_slices(depth: int, count: int) -> list[int]:
    """Indices of at most ``count`` evenly spaced slices of ``depth``.

    >>> spread_slices(8, 4), spread_slices(2, 4)
    ([1, 3, 5, 7], [0, 1])
    """
    count = min(count, depth)
    return [math.floor((2 * i + 1) * depth / (2 * count)) for i in range(count)]


def save_views(path: Path, views: Sequence[View]) -> None:
    """Write the views of a case, which share one size, as a compressed ``.npz``."""
    with written_whole(path) as temporary:
        np.savez_compressed(
            temporary,
            image=np.stack([view.image for view in views]),
            truth=np.stack([view.truth for view in views]),
            prediction=np.stack([view.prediction for view in views]),
            gates=np.stack([view.gates for view in views]),
            spacing=np.array([view.spacing for view in views]),
            index=np.array([view.index for view in views]),
            letters=np.array([view.letters for view in views], dtype="U1"),
        )


def load_views(path: Path) -> list[View]:
    """Read views that `save_views` wrote.

    Raises:
        ValueError: the file is damaged, or is not a file of views.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = [file[name] for name in ("image", "truth", "prediction", "gates", "spacing", "index")]
            count = len(columns[0])
            letters = file["letters"] if "letters" in file else [NO_LETTERS] * count  # files of version 0.1 have none
            return [
                View(
                    image, truth, prediction, gates, (float(height), float(width)), int(index), (str(left), str(right))
                )
                for image, truth, prediction, gates, (height, width), index, (left, right) in zip(
                    *columns, letters, strict=True
                )
            ]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as cause:
        remedy = "Evaluate again with --overwrite true."
        raise ValueError(f"{path} is damaged or contains no views ({cause}). {remedy}") from cause
