"""Pictures of a case: image, truth, prediction and errors, as in the paper's Fig. 3."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ignite.engine import Engine, Events
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from i2net_bundle.figures.side_letters import NO_LETTERS, draw_side_letters, letters_of
from i2net_bundle.figures.style import wrapped
from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.printable import printable
from i2net_bundle.labels import LabelClass, classes_of
from i2net_bundle.transforms.preprocessing import IMAGENET_MEAN, IMAGENET_STD

Classes = Sequence[LabelClass | str]
"""Classes or their names, background first. A name alone takes its colour from the label tables."""
_Place = Literal["outside lower left", "outside lower center", "outside lower right"]
_LONGEST_SIDE = 1024
"""Longest side of a picture without truth, in pixels."""
_TALLEST = 10
"""Largest ratio of height to width of a picture without truth; a long strip would take 1 GiB to draw."""
_OVERSHOOT = 0.2
"""How far cubic interpolation may exceed an image in [0, 1]."""
_LINE = 105  # characters of a line below the title
_ALARM = "#b00020"
FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS = "#ff0000", "#0050ff", "#80ff00"


class ComparisonPictures:
    """Handler that draws evaluated cases into ``<output_dir>/<case>.png``.

    Args:
        output_dir: folder of the pictures.
        classes: classes or their names, background first.
        max_cases: number of cases to draw.
    """

    def __init__(self, output_dir: str | Path, classes: Classes, max_cases: int = 20) -> None:
        self.output_dir, self.classes, self.max_cases = Path(output_dir), with_colors(classes), max_cases

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
            letters = letters_of(output["image"])
            figure = compare(image, label[0], pred[0], self.classes, name, letters)
            self.output_dir.mkdir(parents=True, exist_ok=True)
            figure.savefig(self.output_dir / f"{name}.png", dpi=110)


def with_colors(classes: Classes) -> tuple[LabelClass, ...]:
    """Turn names into classes with the colours of the label tables; classes are returned unchanged."""
    known = tuple(item for item in classes if isinstance(item, LabelClass))
    if len(known) == len(classes):
        return known
    return classes_of([item.name if isinstance(item, LabelClass) else item for item in classes])


def compare(
    image: np.ndarray,
    label: np.ndarray,
    pred: np.ndarray,
    classes: Classes,
    title: str,
    letters: tuple[str, str] = NO_LETTERS,
) -> Figure:
    """Draw a case.

    Args:
        image: preprocessed image (C, H, W) or volume (C, H, W, D); of a volume, the slice with the most classes and the
            slice with the most errors are drawn.
        label: true class indices (H, W) or (H, W, D).
        pred: predicted class indices, same shape.
        classes: classes or their names, background first.
        title: title of the figure.
        letters: letters at the left and the right edge of slices, see `side_letters`.

    Returns:
        a figure with one row per slice and four columns.
    """
    slices = key_slices(label, pred) if label.ndim == 3 else [None]
    height, width = label.shape[:2]
    figure = Figure(figsize=(13, 0.9 + len(slices) * 3.1 * height / width), layout="constrained")
    axes = figure.subplots(len(slices), 4, squeeze=False)
    for row, index in zip(axes, slices, strict=True):
        part = (slice(None),) * 2 if index is None else (slice(None), slice(None), index)
        shown = displayed(image[(slice(None), *part)], rgb=index is None and len(image) == 3)
        draw_comparison(row, shown, label[part], pred[part], classes, letters=letters)
        row[0].set_title("image" if index is None else f"image, slice {index}")
    figure.suptitle(printable(title), parse_math=False)
    add_legend(figure, classes)
    return figure


def show_prediction(
    image: np.ndarray,
    pred: np.ndarray,
    classes: Classes,
    title: str,
    letters: tuple[str, str] = NO_LETTERS,
    warnings: Sequence[str] = (),
    note: str | None = None,
) -> Figure:
    """Draw the prediction for a case without a label.

    Args:
        image: preprocessed image (C, H, W) or volume (C, H, W, D); of a volume, the slice with the most classes is
            drawn.
        pred: predicted class indices (H, W) or (H, W, D).
        classes: classes or their names, background first.
        title: title of the figure.
        letters: letters at the left and the right edge of a slice, see `side_letters`.
        warnings: reasons to distrust the prediction; with any, the title is red.
        note: remark below the title.

    Returns:
        a figure with the image, and the image with the prediction over it.
    """
    where, classes = "image", with_colors(classes)
    rgb = pred.ndim == 2 and len(image) == 3
    if pred.ndim == 3:
        depth = _richest_slice(pred) if pred.any() else pred.shape[2] // 2
        image, pred, where = image[..., depth], pred[..., depth], f"image, slice {depth}"
    step = max(1, max(pred.shape) // _LONGEST_SIDE)
    shown, labels = displayed(image[:, ::step, ::step], rgb), pred[::step, ::step]
    height = 4.4 * min(_TALLEST, labels.shape[0] / labels.shape[1])
    lines = [line for text in (*([note] if note else []), *warnings) for line in textwrap.wrap(text, _LINE)]
    figure = Figure(figsize=(9, 0.9 + height + 0.17 * len(lines)), layout="constrained")
    panels = {where: shown, "prediction": _painted(shown, labels, classes)}
    for axis, (name, panel) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        axis.imshow(panel)
        axis.set_title(name)
        axis.axis("off")
        draw_side_letters(axis, letters)
    figure.suptitle("\n".join([printable(title), *lines]), parse_math=False, fontsize=10 if lines else None)
    if warnings:
        figure.suptitle(figure.get_suptitle(), color=_ALARM)
    found = [classes[index] for index in np.unique(labels[labels > 0])]
    if found:
        _draw_legend(figure, [Patch(color=item.color, label=item.name) for item in found], "outside lower center", 6)
    return figure


def add_legend(figure: Figure, classes: Classes, shown: Collection[int] | None = None) -> None:
    """Add the legends of a comparison below a figure: the classes on the left, the errors on the right.

    They are separate, because a class may have the same colour as an error.

    Args:
        figure: figure with a constrained layout.
        classes: classes or their names, background first.
        shown: class indices to list; default is all.
    """
    classes = with_colors(classes)
    several = len(classes) > 2
    listed = [item for index, item in enumerate(classes) if index and several and (shown is None or index in shown)]
    errors = [
        Patch(color=FALSE_POSITIVE, label="false positive"),
        Patch(color=FALSE_NEGATIVE, label="false negative"),
    ]
    if not several:
        _draw_legend(figure, errors, "outside lower center", len(errors))
        return
    handles = [Patch(color=item.color, label=wrapped(item.name)) for item in listed]
    if handles:
        _draw_legend(figure, handles, "outside lower left", _legend_columns(classes), "truth and prediction")
    _draw_legend(figure, [*errors, Patch(color=WRONG_CLASS, label="wrong class")], "outside lower right", 1, "errors")


def _draw_legend(
    figure: Figure, handles: Sequence[Patch], place: _Place, columns: int, title: str | None = None
) -> None:
    legend = figure.legend(
        handles=handles,
        loc=place,
        ncols=columns,
        frameon=False,
        title=title,
        alignment="left",
        title_fontproperties={"weight": "bold"},
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def legend_height(classes: Classes, shown: Collection[int]) -> float:
    """Height in inches of the legends of a comparison; arguments as in `add_legend`."""
    if len(classes) <= 2:
        return 0.28
    columns = _legend_columns(classes)
    return 0.28 * max(3, -(-len(shown) // columns)) + (0.3 if columns == 5 else 0.6)


def _legend_columns(classes: Classes) -> int:
    """Number of columns of the classes; long names, which are wrapped, need wider columns."""
    return 5 if max(len(item if isinstance(item, str) else item.name) for item in classes) <= 14 else 3


def draw_comparison(
    axes: Sequence[Axes],
    image: np.ndarray,
    label: np.ndarray,
    pred: np.ndarray,
    classes: Classes,
    aspect: float = 1.0,
    letters: tuple[str, str] = NO_LETTERS,
) -> None:
    """Draw image, truth, prediction and errors.

    Args:
        axes: four axes.
        image: RGB image in [0, 1], (H, W, 3).
        label: true class indices (H, W).
        pred: predicted class indices (H, W).
        classes: classes or their names, background first.
        aspect: height of a pixel over its width.
        letters: letters at the left and the right edge, see `side_letters`.
    """
    classes = with_colors(classes)
    errors = image.copy() * 0.7 + 0.3
    foreground = (label > 0) & (label < len(classes))  # ignored pixels are not errors
    errors[(pred > 0) & (label == 0)] = to_rgb(FALSE_POSITIVE)
    errors[(pred == 0) & foreground] = to_rgb(FALSE_NEGATIVE)
    errors[(pred > 0) & foreground & (pred != label)] = to_rgb(WRONG_CLASS)
    truth, prediction = (_painted(image, labels, classes) for labels in (label, pred))
    panels = {"image": image, "truth": truth, "prediction": prediction, "errors": errors}
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        axis.imshow(panel, aspect=aspect)
        axis.set_title(name)
        axis.axis("off")
        draw_side_letters(axis, letters)


def _painted(image: np.ndarray, labels: np.ndarray, classes: Sequence[LabelClass], opacity: float = 0.55) -> np.ndarray:
    """Image with the labels painted over it. Ids beyond the classes, such as the ignored id, are not painted."""
    painted = image.copy()
    for index in np.unique(labels[labels > 0]):
        if index < len(classes):
            inside = labels == index
            painted[inside] = (1 - opacity) * image[inside] + opacity * np.array(to_rgb(classes[index].color))
    return painted


def displayed(image: np.ndarray, rgb: bool | None = None) -> np.ndarray:
    """Convert a preprocessed image to RGB in [0, 1].

    Args:
        image: preprocessed image (C, H, W).
        rgb: whether the channels are colours with ImageNet's normalisation; by default, images of three channels are.
            Otherwise the first channel is shown in grey, rescaled between its percentiles unless it is in [0, 1].

    Returns:
        RGB image (H, W, 3).
    """
    if rgb or (rgb is None and len(image) == 3):
        return np.clip(np.moveaxis(image, 0, -1) * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN), 0, 1)
    grey = image[0].astype(np.float32)
    if grey.min() < -_OVERSHOOT or grey.max() > 1 + _OVERSHOOT:
        grey = stretched(grey)
    return np.clip(np.repeat(grey[..., None], 3, axis=-1), 0, 1)


def stretched(grey: np.ndarray) -> np.ndarray:
    """Rescale grey values (H, W) from their percentiles 0.5 and 99.5 to [0, 1], and clip them."""
    low, high = np.percentile(grey, (0.5, 99.5))
    return np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1)


def key_slices(label: np.ndarray, pred: np.ndarray) -> list[int]:
    """Indices of the slice with the most classes and the slice with the most errors of label maps (H, W, D)."""
    return sorted({_richest_slice(label), int(np.argmax((label != pred).sum(axis=(0, 1))))})


def _richest_slice(label: np.ndarray) -> int:
    """Index of the slice with the most classes; among equals, the one with the most foreground."""
    return int(np.argmax([len(np.unique(part)) + (part > 0).mean() for part in np.moveaxis(label, 2, 0)]))
