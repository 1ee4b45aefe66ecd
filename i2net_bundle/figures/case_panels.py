"""Pictures of a case: image, truth, prediction, and where they differ, as in the paper's Fig. 3."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from i2net_bundle.figures.style import wrapped
from i2net_bundle.io.formats import image_stem
from i2net_bundle.labels import LabelClass, classes_of
from i2net_bundle.transforms.preprocessing import IMAGENET_MEAN, IMAGENET_STD

Classes = Sequence[LabelClass | str]
"""Background first; names alone get the colours of the label tables."""
_LONGEST_SIDE = 1024  # pixels of a picture without truth
_TALLEST = 10  # times its width, of an image there: a strip's own shape would take a GiB to draw
_OVERSHOOT = 0.2  # what cubic interpolation may add to an image of [0, 1]
FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS = "#ff0000", "#0050ff", "#ffb000"


class ComparisonPictures:
    """Handler that draws every evaluated case into ``<output_dir>/<case>.png``.

    Args:
        output_dir: folder of the pictures.
        classes: background first.
        max_cases: how many cases to draw.
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
            figure = compare(image, label[0], pred[0], self.classes, title=name)
            self.output_dir.mkdir(parents=True, exist_ok=True)
            figure.savefig(self.output_dir / f"{name}.png", dpi=110)


def with_colors(classes: Classes) -> tuple[LabelClass, ...]:
    """Classes of names, with the colours of the label tables; classes stay as they are."""
    known = tuple(item for item in classes if isinstance(item, LabelClass))
    if len(known) == len(classes):
        return known
    return classes_of([item.name if isinstance(item, LabelClass) else item for item in classes])


def compare(image: np.ndarray, label: np.ndarray, pred: np.ndarray, classes: Classes, title: str) -> Figure:
    """Draw a case.

    Args:
        image: preprocessed (C, H, W), or a volume (C, H, W, D), of which the slice with most classes and the slice with
            most errors are drawn.
        label: true class indices (H, W) or (H, W, D).
        pred: predicted class indices, likewise.
        classes: background first.
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
        shown = displayed(image[(slice(None), *part)], rgb=index is None and len(image) == 3)
        draw_comparison(row, shown, label[part], pred[part], classes)
        row[0].set_title("image" if index is None else f"image, slice {index}")
    figure.suptitle(title, parse_math=False)
    add_legend(figure, classes)
    return figure


def show_prediction(
    image: np.ndarray,
    pred: np.ndarray,
    classes: Classes,
    title: str,
    warnings: Sequence[str] = (),
    note: str | None = None,
) -> Figure:
    """Draw what was predicted for a case whose truth is not known.

    Args:
        image: preprocessed (C, H, W), or a volume (C, H, W, D), of which the slice with most classes is drawn.
        pred: predicted class indices (H, W) or (H, W, D).
        classes: background first.
        title: written above.

    Returns:
        a figure: the image, and the prediction over it.
    """
    where, classes = "image", with_colors(classes)
    rgb = pred.ndim == 2 and len(image) == 3
    if pred.ndim == 3:
        depth = _richest_slice(pred) if pred.any() else pred.shape[2] // 2
        image, pred, where = image[..., depth], pred[..., depth], f"image, slice {depth}"
    step = max(1, max(pred.shape) // _LONGEST_SIDE)
    shown, labels = displayed(image[:, ::step, ::step], rgb), pred[::step, ::step]
    height = 4.4 * min(_TALLEST, labels.shape[0] / labels.shape[1])
    figure = Figure(figsize=(9, 0.9 + height), layout="constrained")
    panels = {where: shown, "prediction": _painted(shown, labels, classes)}
    for axis, (name, panel) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        axis.imshow(panel)
        axis.set_title(name)
        axis.axis("off")
    figure.suptitle(title, parse_math=False)
    held = [classes[index] for index in np.unique(labels[labels > 0])]
    if held:
        _draw_legend(figure, [Patch(color=item.color, label=item.name) for item in held])
    return figure


def add_legend(figure: Figure, classes: Classes, shown: Collection[int] | None = None) -> None:
    """Add a legend of a comparison's colours below a figure.

    Args:
        figure: with a constrained layout.
        classes: background first.
        shown: class indices to list; default is all.
    """
    classes = with_colors(classes)
    several = len(classes) > 2
    listed = [item for index, item in enumerate(classes) if index and several and (shown is None or index in shown)]
    handles = [
        *(Patch(color=item.color, label=wrapped(item.name)) for item in listed),
        Patch(color=FALSE_POSITIVE, label="false positive"),
        Patch(color=FALSE_NEGATIVE, label="false negative"),
        *([Patch(color=WRONG_CLASS, label="wrong class")] if several else []),
    ]
    _draw_legend(figure, handles, _legend_columns(classes))


def _draw_legend(figure: Figure, handles: Sequence[Patch], columns: int = 6) -> None:
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def legend_height(classes: Classes, shown: Collection[int]) -> float:
    """Height in inches of the legend of a comparison; arguments as in `add_legend`."""
    columns = _legend_columns(classes)
    return 0.28 * -(-(len(shown) + 3) // columns) + (0 if columns == 6 else 0.3)


def _legend_columns(classes: Classes) -> int:
    """Columns of a legend that fit beside each other; long names are wrapped."""
    return 6 if max(len(item if isinstance(item, str) else item.name) for item in classes) <= 14 else 4


def draw_comparison(
    axes: Sequence[Axes],
    image: np.ndarray,
    label: np.ndarray,
    pred: np.ndarray,
    classes: Classes,
    aspect: float = 1.0,
) -> None:
    """Draw image, truth, prediction and errors.

    Args:
        axes: four.
        image: RGB in [0, 1], (H, W, 3).
        label: true class indices (H, W).
        pred: predicted class indices (H, W).
        classes: background first.
        aspect: height of a pixel over its width.
    """
    classes = with_colors(classes)
    errors = image.copy() * 0.7 + 0.3
    foreground = (label > 0) & (label < len(classes))  # an ignored id is no error
    errors[(pred > 0) & (label == 0)] = to_rgb(FALSE_POSITIVE)
    errors[(pred == 0) & foreground] = to_rgb(FALSE_NEGATIVE)
    errors[(pred > 0) & foreground & (pred != label)] = to_rgb(WRONG_CLASS)
    truth, prediction = (_painted(image, labels, classes) for labels in (label, pred))
    panels = {"image": image, "truth": truth, "prediction": prediction, "errors": errors}
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        axis.imshow(panel, aspect=aspect)
        axis.set_title(name)
        axis.axis("off")


def _painted(image: np.ndarray, labels: np.ndarray, classes: Sequence[LabelClass], opacity: float = 0.55) -> np.ndarray:
    """Labels over an image; an id that is no class, such as an ignored one, stays unpainted."""
    painted = image.copy()
    for index in np.unique(labels[labels > 0]):
        if index < len(classes):
            inside = labels == index
            painted[inside] = (1 - opacity) * image[inside] + opacity * np.array(to_rgb(classes[index].color))
    return painted


def displayed(image: np.ndarray, rgb: bool | None = None) -> np.ndarray:
    """A preprocessed image as RGB in [0, 1].

    Args:
        image: (C, H, W).
        rgb: whether the channels are colours, normalised as ImageNet's; default is where there are three. Otherwise the
            first channel is shown in grey, stretched to its percentiles where it is not in [0, 1] already.

    Returns:
        (H, W, 3).
    """
    if rgb or (rgb is None and len(image) == 3):
        return np.clip(np.moveaxis(image, 0, -1) * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN), 0, 1)
    grey = image[0].astype(np.float32)
    if grey.min() < -_OVERSHOOT or grey.max() > 1 + _OVERSHOOT:
        grey = stretched(grey)
    return np.clip(np.repeat(grey[..., None], 3, axis=-1), 0, 1)


def stretched(grey: np.ndarray) -> np.ndarray:
    """Values of any range, (H, W), to [0, 1] between their percentiles 0.5 and 99.5."""
    low, high = np.percentile(grey, (0.5, 99.5))
    return np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1)


def telling_slices(label: np.ndarray, pred: np.ndarray) -> list[int]:
    """The slice with most classes and the one with most errors of label maps (H, W, D)."""
    return sorted({_richest_slice(label), int(np.argmax((label != pred).sum(axis=(0, 1))))})


def _richest_slice(label: np.ndarray) -> int:
    """The slice with most classes, and among those with most of them in it."""
    return int(np.argmax([len(np.unique(part)) + (part > 0).mean() for part in np.moveaxis(label, 2, 0)]))
