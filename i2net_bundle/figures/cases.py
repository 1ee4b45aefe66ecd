"""Pictures of a case: image, truth, prediction, and where they differ, as in the paper's Fig. 3."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from i2net_bundle.figures.style import wrapped
from i2net_bundle.io.formats import image_stem
from i2net_bundle.labels import label_table
from i2net_bundle.transforms.preprocessing import IMAGENET_MEAN, IMAGENET_STD

CLASS_COLORS = tuple(item.color for item in label_table("synapse").classes[1:])
"""Okabe and Ito's palette, told apart by colour-blind readers, its grey replaced by wine; one colour per class."""
_LONGEST_SIDE = 1024  # pixels of a picture without truth
_TALLEST = 10  # times its width, of an image there: a strip's own shape would take a GiB to draw
FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS = "#ff0000", "#0050ff", "#ffb000"


class ComparisonPictures:
    """Handler that draws every evaluated case into ``<output_dir>/<case>.png``.

    Args:
        output_dir: folder of the pictures.
        class_names: background first.
        max_cases: how many cases to draw.
    """

    def __init__(self, output_dir: str | Path, class_names: Sequence[str], max_cases: int = 20) -> None:
        self.output_dir, self.class_names, self.max_cases = Path(output_dir), list(class_names), max_cases

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _start(self, engine: Engine) -> None:
        self.drawn = 0

    def _draw(self, engine: Engine) -> None:
        state: Any = engine.state
        for batch, output in zip(state.batch, state.output, strict=True):
            if self.drawn == self.max_cases:
                return
            self.drawn += 1
            image, label, pred = (np.asarray(output[key].cpu()) for key in ("image", "label", "pred"))
            name = batch.get("case") or image_stem(batch["image"].meta["filename_or_obj"])
            figure = compare(image, label[0], pred[0], self.class_names, title=name)
            self.output_dir.mkdir(parents=True, exist_ok=True)
            figure.savefig(self.output_dir / f"{name}.png", dpi=110)


def compare(image: np.ndarray, label: np.ndarray, pred: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Draw a case.

    Args:
        image: preprocessed (C, H, W), or a volume (1, H, W, D), of which the slice with most classes and the slice with
            most errors are drawn.
        label: true class indices (H, W) or (H, W, D).
        pred: predicted class indices, likewise.
        class_names: background first.
        title: written above.

    Returns:
        a figure with a row per slice and four columns.
    """
    slices = telling_slices(label, pred) if label.ndim == 3 else [None]
    height, width = label.shape[:2]
    figure = Figure(figsize=(13, 0.9 + len(slices) * 3.1 * height / width), layout="constrained")
    axes = figure.subplots(len(slices), 4, squeeze=False)
    for row, index in zip(axes, slices, strict=True):
        part = (slice(None),) * 2 if index is None else (slice(None), slice(None), index)
        draw_comparison(row, displayed(image[(slice(None), *part)]), label[part], pred[part])
        row[0].set_title("image" if index is None else f"image, slice {index}")
    figure.suptitle(title, parse_math=False)
    add_legend(figure, class_names)
    return figure


def show_prediction(image: np.ndarray, pred: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Draw what was predicted for a case whose truth is not known.

    Args:
        image: preprocessed (C, H, W), or a volume (1, H, W, D), of which the slice with most classes is drawn.
        pred: predicted class indices (H, W) or (H, W, D).
        class_names: background first.
        title: written above.

    Returns:
        a figure: the image, and the prediction over it.
    """
    where = "image"
    if pred.ndim == 3:
        depth = _richest_slice(pred) if pred.any() else pred.shape[2] // 2
        image, pred, where = image[..., depth], pred[..., depth], f"image, slice {depth}"
    step = max(1, max(pred.shape) // _LONGEST_SIDE)
    shown, labels = displayed(image[:, ::step, ::step]), pred[::step, ::step]
    height = 4.4 * min(_TALLEST, labels.shape[0] / labels.shape[1])
    figure = Figure(figsize=(9, 0.9 + height), layout="constrained")
    panels = {where: shown, "prediction": _painted(shown, labels)}
    for axis, (name, panel) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        axis.imshow(panel)
        axis.set_title(name)
        axis.axis("off")
    figure.suptitle(title, parse_math=False)
    handles = [Patch(color=class_color(index), label=class_names[index]) for index in np.unique(labels[labels > 0])]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    return figure


def add_legend(figure: Figure, class_names: Sequence[str], shown: Collection[int] | None = None) -> None:
    """Add a legend of a comparison's colours below a figure.

    Args:
        figure: with a constrained layout.
        class_names: background first.
        shown: class indices to list; default is all.
    """
    names = dict(enumerate(class_names))
    del names[0]
    several = len(names) > 1
    classes = [index for index in names if several and (shown is None or index in shown)]
    handles = [
        *(Patch(color=class_color(index), label=wrapped(names[index])) for index in classes),
        Patch(color=FALSE_POSITIVE, label="false positive"),
        Patch(color=FALSE_NEGATIVE, label="false negative"),
        *([Patch(color=WRONG_CLASS, label="wrong class")] if several else []),
    ]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=_legend_columns(class_names), frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def legend_height(class_names: Sequence[str], shown: Collection[int]) -> float:
    """Height in inches of the legend of a comparison; arguments as in `add_legend`."""
    columns = _legend_columns(class_names)
    return 0.28 * -(-(len(shown) + 3) // columns) + (0 if columns == 6 else 0.3)


def _legend_columns(class_names: Sequence[str]) -> int:
    """Columns of a legend that fit beside each other; long names are wrapped."""
    return 6 if max(map(len, class_names)) <= 14 else 4


def draw_comparison(
    axes: Sequence[Axes], image: np.ndarray, label: np.ndarray, pred: np.ndarray, aspect: float = 1.0
) -> None:
    """Draw image, truth, prediction and errors.

    Args:
        axes: four.
        image: RGB in [0, 1], (H, W, 3).
        label: true class indices (H, W).
        pred: predicted class indices (H, W).
        aspect: height of a pixel over its width.
    """
    errors = image.copy() * 0.7 + 0.3
    errors[(pred > 0) & (label == 0)] = to_rgb(FALSE_POSITIVE)
    errors[(pred == 0) & (label > 0)] = to_rgb(FALSE_NEGATIVE)
    errors[(pred > 0) & (label > 0) & (pred != label)] = to_rgb(WRONG_CLASS)
    panels = {"image": image, "truth": _painted(image, label), "prediction": _painted(image, pred), "errors": errors}
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        axis.imshow(panel, aspect=aspect)
        axis.set_title(name)
        axis.axis("off")


def _painted(image: np.ndarray, labels: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    painted = image.copy()
    for index in np.unique(labels[labels > 0]):
        painted[labels == index] = (1 - opacity) * image[labels == index] + opacity * np.array(
            to_rgb(class_color(index))
        )
    return painted


def class_color(index: int) -> str:
    """Colour of a class, from 1: the palette's, then darker ones, then lighter ones."""
    cycle, number = divmod(int(index) - 1, len(CLASS_COLORS))
    color = np.array(to_rgb(CLASS_COLORS[number]))
    shades = (color, 0.55 * color, 0.45 * color + 0.55)
    red, green, blue = shades[cycle % len(shades)]
    return to_hex((red, green, blue))


def displayed(image: np.ndarray) -> np.ndarray:
    """Preprocessed (C, H, W) as RGB in [0, 1], (H, W, 3)."""
    if len(image) == 1:
        return np.clip(np.repeat(image[0][..., None], 3, axis=-1), 0, 1)
    return np.clip(np.moveaxis(image, 0, -1) * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN), 0, 1)


def telling_slices(label: np.ndarray, pred: np.ndarray) -> list[int]:
    """The slice with most classes and the one with most errors of label maps (H, W, D)."""
    return sorted({_richest_slice(label), int(np.argmax((label != pred).sum(axis=(0, 1))))})


def _richest_slice(label: np.ndarray) -> int:
    """The slice with most classes, and among those with most of them in it."""
    return int(np.argmax([len(np.unique(part)) + (part > 0).mean() for part in np.moveaxis(label, 2, 0)]))
