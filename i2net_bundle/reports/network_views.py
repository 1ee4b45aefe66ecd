"""A handler that saves gates and calibration during evaluation, so that a report does not need the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from torch import Tensor, nn

from i2net_bundle.figures.case_panels import key_slices
from i2net_bundle.figures.side_letters import letters_of
from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.json_files import write_json
from i2net_bundle.reports.calibration import Calibration
from i2net_bundle.reports.run_results import CALIBRATION_NAME, VIEWS_NAME
from i2net_bundle.reports.views import make_views, pixel_spacing, save_views, sliced, spread_slices, watch


class NetworkViews:
    """Save views of every evaluated case and the network's calibration, for `i2net report`.

    ``views/<case>.npz`` contains an image, or two slices of a volume: the one with the most classes and the one with
    the most errors; see `View`. ``calibration.json`` contains the reliability at the network's input size. It covers
    whole images, or these two slices of a volume and further, evenly spaced ones. Labels are resampled to the input
    size by nearest neighbour. The network is applied to these slices once more.

    Args:
        output_dir: folder for both.
        network: network of the evaluator.
        inferer: inferer of the evaluator; it decides what the network sees. If it averages over flips, calibration and
            gates are those of the unflipped image.
        class_names: names of the classes, background first.
        calibration_slices: number of evenly spaced slices per volume.
    """

    def __init__(
        self,
        output_dir: str | Path,
        network: nn.Module,
        inferer: Callable[..., Tensor],
        class_names: Sequence[str],
        calibration_slices: int = 16,
    ) -> None:
        self.output_dir, self.network, self.inferer = Path(output_dir), network, inferer
        self.class_names, self.calibration_slices = list(class_names), calibration_slices

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose postprocessing returns "image", "label" and "pred" on one grid."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.calibration, self.cases, self.volumes = Calibration(len(self.class_names)), 0, False

    def _keep(self, engine: Engine) -> None:
        state: Any = engine.state
        for batch, output in zip(state.batch, state.output, strict=True):
            image, truth, prediction = (output[key] for key in ("image", "label", "pred"))
            chosen = slices = None
            if image.ndim == 4:
                chosen = key_slices(*(np.asarray(labels.cpu())[0] for labels in (truth, prediction)))
                slices = sorted({*chosen, *spread_slices(image.shape[3], self.calibration_slices)})
            forward = watch(self.network, self.inferer, image, slices)
            self.calibration.add(forward.logits, sliced(truth, slices, forward.logits.shape[2:]))
            if chosen is not None and slices is not None:
                forward = forward.take([slices.index(index) for index in chosen])
            views = make_views(forward, truth, prediction, chosen, pixel_spacing(image), letters=letters_of(image))
            name = batch.get("case") or image_stem(batch["image"].meta["filename_or_obj"])
            save_views(self.output_dir / VIEWS_NAME / f"{name}.npz", views)
            self.cases += 1
            self.volumes |= chosen is not None

    def _write(self, engine: Engine) -> None:
        where = (
            f"{self.calibration_slices} evenly spaced slices of each volume (all slices if it has fewer), the slice "
            "with the most classes and the slice with the most errors"
            if self.volumes
            else "whole images"
        )
        classes = zip(self.class_names, self.calibration.classes, strict=True)
        content = {
            "cases": self.cases,
            "where": f"{where}, at the network's input size, with labels resampled by nearest neighbour",
            "all": self.calibration.all.summary(),
            "foreground": self.calibration.foreground.summary(),
            "classes": {name: reliability.summary() for name, reliability in classes},
        }
        write_json(self.output_dir / CALIBRATION_NAME, content)
