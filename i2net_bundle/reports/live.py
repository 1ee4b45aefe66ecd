"""Handlers that show the progress of training: pictures of every validation and, on request, an MLflow record."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from i2net_bundle.figures.case_panels import key_slices
from i2net_bundle.figures.side_letters import letters_of
from i2net_bundle.reports.gallery import draw_gates, draw_overlay
from i2net_bundle.reports.run_results import read_training
from i2net_bundle.reports.views import View, make_views, pixel_spacing, watch
from i2net_bundle.workflow.run_settings import SETTINGS_NAME


class ValidationImages:
    """Draw the first validation case at every validation: image, truth, prediction and errors, and the gates, if any.

    TensorBoard receives the figures under ``tensorboard/validation``. The validator's ``state.pictures`` contains the
    latest ones. A volume is always shown by the same slice, the one with the most classes in the truth.

    Args:
        output_dir: folder of the run.
        validator: evaluator of the trainer that this handler is attached to.
        network: network of the validator.
        inferer: inferer of the validator.
        class_names: names of the classes, background first.
    """

    def __init__(
        self,
        output_dir: str | Path,
        validator: Engine,
        network: nn.Module,
        inferer: Callable[..., Tensor],
        class_names: Sequence[str],
    ) -> None:
        self.output_dir, self.validator, self.network = Path(output_dir), validator, network
        self.inferer, self.class_names = inferer, list(class_names)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after its validation handler. Only the process of rank 0 draws."""
        if idist.get_rank() > 0:
            return
        self.view: View | None = None
        self.validator.add_event_handler(Events.ITERATION_COMPLETED(once=1), self._look)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._draw)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        # a separate folder, because TensorBoard reads only the newest event file of a folder
        folder = self.output_dir / "tensorboard" / "validation"
        self.writer = SummaryWriter(str(folder), purge_step=engine.state.iteration + 1)

    def _look(self, validator: Engine) -> None:
        state: Any = validator.state
        image, truth, prediction = (state.output[0][key] for key in ("image", "label", "pred"))
        slices = None
        if image.ndim == 4:
            labels = np.asarray(truth.cpu())[0]
            slices = key_slices(labels, labels)[-1:]
        forward = watch(self.network, self.inferer, image, slices)
        self.view = make_views(forward, truth, prediction, slices, pixel_spacing(image), letters=letters_of(image))[0]

    def _draw(self, engine: Engine) -> None:
        if self.view is None:
            return
        title = f"epoch {engine.state.epoch}"
        pictures = {"overlay": draw_overlay(self.view, self.class_names, title)}
        if len(self.view.gates):
            pictures["gates"] = draw_gates(self.view, title)
        self.view = None
        state: Any = self.validator.state
        state.pictures = pictures
        for name, figure in pictures.items():
            self.writer.add_figure(f"validation/{name}", figure, engine.state.iteration)
        self.writer.flush()

    def _finish(self, engine: Engine) -> None:
        self.writer.close()


class MLflowRecord:
    """Log every epoch's row of ``training.csv``, the validation pictures and the settings of a run to MLflow.

    A resumed run continues the MLflow run of the same name, unless MLflow lists that one as finished.

    Args:
        output_dir: folder of the run; its name becomes the name of the MLflow run.
        tracking_uri: address of a tracking server, or ``sqlite:///FILE``.
        experiment_name: MLflow experiment of the run.
        validator: evaluator whose pictures are logged, see `ValidationImages`.

    Raises:
        ImportError: MLflow is not installed.
    """

    def __init__(self, output_dir: str | Path, tracking_uri: str, experiment_name: str, validator: Engine) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise ImportError('mlflow_uri needs MLflow: pip install "i2net-bundle[mlflow]".')
        self.output_dir, self.validator = Path(output_dir), validator
        self.tracking_uri, self.experiment_name = tracking_uri, experiment_name

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after `SettingsRecord`, `TrainingRecord` and `ValidationImages`."""
        if idist.get_rank() > 0:
            return
        self.handler = MLFlowHandler(
            self.tracking_uri,
            iteration_log=False,
            epoch_logger=self._log,
            experiment_name=self.experiment_name,
            run_name=self.output_dir.resolve().name,
            close_on_complete=True,
        )
        self.handler.attach(engine)
        engine.add_event_handler(Events.STARTED, self._log_settings)

    def _log_settings(self, engine: Engine) -> None:
        path = self.output_dir / SETTINGS_NAME
        if path.is_file():
            settings = json.loads(path.read_text(encoding="utf-8"))["training"]
            for name, value in settings.items():
                self.handler.client.log_param(self._run_id, name, value)

    def _log(self, engine: Engine) -> None:
        columns = read_training(self.output_dir / "training.csv")
        for name, values in columns.items():
            if name != "epoch" and np.isfinite(values[-1]):
                self.handler.client.log_metric(self._run_id, name, float(values[-1]), step=engine.state.epoch)
        state: Any = self.validator.state
        if state.epoch == engine.state.epoch:
            for name, figure in getattr(state, "pictures", {}).items():
                file = f"validation/{name}_{engine.state.epoch:04d}.png"
                self.handler.client.log_figure(self._run_id, figure, file)

    @property
    def _run_id(self) -> str:
        run: Any = self.handler.cur_run
        return run.info.run_id
