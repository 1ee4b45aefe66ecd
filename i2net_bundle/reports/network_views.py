"""The handler that keeps what the report needs of the network's inside, so that the report needs no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from torch import Tensor, nn

from i2net_bundle.figures.case_panels import telling_slices
from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.writing import written_whole
from i2net_bundle.reports.calibration import Calibration
from i2net_bundle.reports.run_results import CALIBRATION_NAME, VIEWS_NAME
from i2net_bundle.reports.views import make_views, pixel_spacing, save_views, sliced, spread_slices, watch


class NetworkViews:
    """Keep views of every evaluated case and the network's calibration, for `i2net report`.

    ``views/<case>.npz`` holds the slice with most classes and the one with most errors, or the image; see `View`.
    ``calibration.json`` holds reliability at the network's own size: of images whole, of volumes on evenly spaced
    slices and those two, labels brought there by nearest neighbour. The network runs on these slices once more.

    Args:
        output_dir: folder of both.
        network: the evaluator's.
        inferer: the evaluator's; what the network sees is what it shows it. Where it averages over flips, calibration
            and gates are those of the image itself.
        class_names: background first.
        calibration_slices: evenly spaced slices of a volume.
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
        """Attach to an evaluator, whose postprocessing leaves "image", "label" and "pred" on one grid."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.calibration, self.cases, self.volumes = Calibration(len(self.class_names)), 0, False

    def _keep(self, engine: Engine) -> None:
        state: Any = engine.state
        for batch, output in zip(state.batch, state.output, strict=True):
            image, truth, prediction = (output[key] for key in ("image", "label", "pred"))
            telling = slices = None
            if image.ndim == 4:
                telling = telling_slices(*(np.asarray(labels.cpu())[0] for labels in (truth, prediction)))
                slices = sorted({*telling, *spread_slices(image.shape[3], self.calibration_slices)})
            forward = watch(self.network, self.inferer, image, slices)
            self.calibration.add(forward.logits, sliced(truth, slices, forward.logits.shape[2:]))
            if telling is not None and slices is not None:
                forward = forward.take([slices.index(index) for index in telling])
            views = make_views(forward, truth, prediction, telling, pixel_spacing(image))
            name = batch.get("case") or image_stem(batch["image"].meta["filename_or_obj"])
            save_views(self.output_dir / VIEWS_NAME / f"{name}.npz", views)
            self.cases += 1
            self.volumes |= telling is not None

    def _write(self, engine: Engine) -> None:
        where = (
            f"{self.calibration_slices} evenly spaced slices of each volume (all, where it has fewer), the slice with "
            "most classes and the one with most errors"
            if self.volumes
            else "whole images"
        )
        classes = zip(self.class_names, self.calibration.classes, strict=True)
        content = {
            "cases": self.cases,
            "where": f"{where}, at the network's own size, labels by nearest neighbour",
            "all": self.calibration.all.summary(),
            "foreground": self.calibration.foreground.summary(),
            "classes": {name: reliability.summary() for name, reliability in classes},
        }
        with written_whole(self.output_dir / CALIBRATION_NAME) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
