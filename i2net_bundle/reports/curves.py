"""Training curves, from ``training.csv``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from i2net_bundle.figures.style import REFERENCE, Picture, plot_series

_TITLES = {
    "loss": "total loss",
    "segmentation": "segmentation loss",
    "auxiliary": "auxiliary loss",
    "gate_instance_sharpening": "gate instance sharpening",
    "gate_expectation_smoothing": "gate expectation smoothing",
    "learner_orthogonalization": "learner orthogonalization",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "seconds": "seconds per epoch",
    "val_mean_dice": "validation: mean Dice",
    "val_mean_iou": "validation: mIoU",
}
_NOT_LOSSES = ("epoch", "steps", "seconds", "learning_rate", "learner_cosine", "gate_entropy", "gradient_norm")
_COLUMNS = 3

Training = Mapping[str, np.ndarray]


def training_pictures(training: Training) -> list[Picture]:
    """Figures of the loss terms, of learners and gates, and of the optimisation; figures without data are left out.

    Args:
        training: columns of ``training.csv``, one value per epoch.
    """
    epochs = training["epoch"]
    recorded = [name for name, values in training.items() if np.isfinite(values).any()]
    validation = [name for name in recorded if name.startswith("val_")]
    of_gates = [
        name for name in recorded if name in ("learner_cosine", "gate_entropy") or name.startswith("mean_gate_")
    ]
    terms = [name for name in recorded if name not in (*_NOT_LOSSES, *validation, *of_gates)]
    pictures = []
    if terms or validation:
        pictures.append(
            Picture(
                "losses",
                _panels(epochs, training, [*terms, *validation]),
                f"Curves over epochs of {', '.join(_title(name) for name in [*terms, *validation])}.",
                "Mean of each loss term over the epoch, before weighting, and validation scores if the run was "
                "validated.",
            )
        )
    if of_gates:
        pictures.append(
            Picture(
                "learners",
                _learners(epochs, training),
                "Curves over epochs of the cosine between the learners' gradients, the mean gate of each learner and "
                "the mean gate entropy.",
                "Learners have specialised when their gradients are orthogonal (cosine near 0), all learners are used "
                "(mean gates near the dotted 1/K) and the gates are decisive (entropy far below the dotted ln K).",
            )
        )
    others = [name for name in ("learning_rate", "gradient_norm", "seconds") if name in recorded]
    if others:
        pictures.append(
            Picture(
                "optimisation",
                _panels(epochs, training, others),
                f"Curves over epochs of {', '.join(_title(name) for name in others)}.",
                "Learning rate at the start of each epoch, mean norm of the gradient of all parameters, and time per "
                "epoch.",
            )
        )
    return pictures


def _panels(epochs: np.ndarray, training: Training, names: Sequence[str]) -> Figure:
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(12, 2.9 * rows), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axis, name in zip(axes, names, strict=False):
        defined = np.isfinite(training[name])
        plot_series(axis, int(name.startswith("val_")), epochs[defined], training[name][defined])
        _finish(axis, _title(name), epochs)
    for axis in axes[len(names) :]:
        axis.remove()
    return figure


def _learners(epochs: np.ndarray, training: Training) -> Figure:
    gates = [name for name in training if name.startswith("mean_gate_")]
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    cosine, mean, entropy = figure.subplots(1, 3)
    for axis, name, title in ((cosine, "learner_cosine", "mean |cosine| of gradients"), (entropy, "gate_entropy", "")):
        values = training.get(name, np.full(len(epochs), np.nan))
        defined = np.isfinite(values)
        plot_series(axis, 0, epochs[defined], values[defined])
        _finish(axis, title or "mean gate entropy", epochs)
        if not defined.any():
            axis.text(0.5, 0.5, "not recorded: one learner", transform=axis.transAxes, ha="center", color=REFERENCE)
    cosine.set_ylim(bottom=0)
    for number, name in enumerate(gates):
        plot_series(mean, number, epochs, training[name], f"learner {number}")
    _finish(mean, "mean gate of each learner", epochs)
    if gates:
        mean.axhline(1 / len(gates), color=REFERENCE, linestyle=":", linewidth=1.2, label="1/K")
        mean.set_ylim(0, max(0.02 + max(training[name].max() for name in gates), 1.6 / len(gates)))
        mean.legend(ncols=2, fontsize=8, loc="lower right")
    if len(gates) > 1:
        entropy.axhline(math.log(len(gates)), color=REFERENCE, linestyle=":", linewidth=1.2, label="ln K")
        entropy.legend(fontsize=8, loc="center right")
    entropy.set_ylim(bottom=0)
    return figure


def _finish(axis: Axes, title: str, epochs: np.ndarray) -> None:
    axis.set_title(title)
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("val_", "validation: ").replace("_", " "))
