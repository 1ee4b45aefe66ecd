"""Segment images with a trained network."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Invertd

from i2net_bundle.checks.histology import TRAINING_UM_PER_PX, magnification_findings
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.figures.side_letters import letters_of
from i2net_bundle.hardware import slices_at_a_time
from i2net_bundle.io.findings import Finding, enforce
from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.images import image_um_per_px, open_image
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.privacy import shown_path
from i2net_bundle.io.tiff import TiledTiff, is_tiled_tiff
from i2net_bundle.prediction.case_prediction import Prediction, image_prediction, volume_prediction
from i2net_bundle.prediction.ensemble import AveragedNetwork, Readout
from i2net_bundle.prediction.gland_shapes import Read
from i2net_bundle.prediction.inferers import in_bfloat16
from i2net_bundle.prediction.memory import (
    image_bytes,
    memory_advice,
    report_memory,
    uniform_memory_errors,
    volume_bytes,
)
from i2net_bundle.prediction.tiles import CORE, TILED_ABOVE_PX, infer_tiles, thumbnail, thumbnail_step
from i2net_bundle.prediction.trained_network import load_trained_network
from i2net_bundle.transforms.preprocessing import IMAGE, LENGTH_UNIT

STORED = "stored"

logger = logging.getLogger("i2net.prediction")

Image = str | Path | Sequence[str | Path]
"""A file, one file per channel, or the folder of a DICOM series."""


class Predictor:
    """A trained network that segments images.

    Args:
        weights: one or more weights files; several are averaged. Default is the bundle's ``models/model.pt``.
        task: "ct", "mr" or "histology"; required only for weights without ``settings.json`` beside them.
        bundle: folder of a packaged bundle; its own ``configs/inference.json`` is used.
        overlays: further configurations, for networks that are not built from a record.
        overrides: new values for ids of the configuration, such as ``{"image_size": [512, 512]}``.
        reading: fields of `VolumeOptions` or `HistologyOptions`, for files that leave a choice.
        label_table: name of a built-in label table, or path of a table file: colors, codes and volumes of the classes.
        device: device of the network; default is a GPU if there is one.
        flips: average over the image's flips.
        uncertainty: also return the entropy, and the variance over flips and weights if there are several.
        probabilities: also return the probability of every class.

    Raises:
        FileNotFoundError: the weights, the bundle or an overlay do not exist.
        ValueError: the weights do not fit the network, were trained with other settings, or the device does not exist.
    """

    def __init__(
        self,
        weights: str | Path | Sequence[str | Path] | None = None,
        task: str | None = None,
        *,
        bundle: str | Path | None = None,
        overlays: Sequence[str | Path] = (),
        overrides: Mapping[str, Any] | None = None,
        reading: Mapping[str, Any] | None = None,
        label_table: str | Path | None = None,
        device: str | torch.device | None = None,
        flips: bool = False,
        uncertainty: bool = False,
        probabilities: bool = False,
    ) -> None:
        trained = load_trained_network(
            weights,
            task,
            bundle=bundle,
            overlays=overlays,
            overrides=overrides,
            reading=reading,
            label_table=label_table,
            device=device,
        )
        self.trained = trained
        self.device, self.options, self.description = trained.device, trained.options, trained.description
        self.preprocessing, self.inferer = trained.preprocessing, trained.inferer
        self.class_names = self.description.class_names
        several = flips or len(trained.networks) > 1
        separates = trained.separator is not None
        self.network = AveragedNetwork(trained.networks, flips, uncertainty and several, separates).eval()
        self.readout = Readout(len(self.class_names), uncertainty, self.network.variance, probabilities, separates)
        self.inferer.readout = self.readout
        trained.report_training_data()

    def predict(self, image: Image, case: str | None = None) -> Prediction:
        """Segment one image; on the CPU if its smallest part does not fit into the memory of the GPU.

        Args:
            image: a path, one path per channel, or the folder of a DICOM series.
            case: name of the case; default is the file's name.

        Raises:
            DataError: the file cannot be used; names it, the fault and the remedy.
            torch.OutOfMemoryError: the image does not fit into the computer's memory; gives advice.
        """
        chosen = self.device
        try:
            with uniform_memory_errors():
                return self._predict(image, case)
        except torch.OutOfMemoryError as fault:
            reason = _first_line(fault)
            if chosen.type == "cpu":
                raise torch.OutOfMemoryError(_too_large(image, reason)) from fault
            logger.warning(f"{chosen}: {reason} This image is segmented on the CPU.")
        # outside the except block, whose traceback holds the tensors
        self._move_to(torch.device("cpu"))
        try:
            with uniform_memory_errors():
                return self._predict(image, case)
        except torch.OutOfMemoryError as fault:
            raise torch.OutOfMemoryError(_too_large(image, _first_line(fault))) from fault
        finally:
            self._move_back_to(chosen)

    def _move_back_to(self, device: torch.device) -> None:
        try:
            self._move_to(device)
        except torch.OutOfMemoryError:
            self._move_to(torch.device("cpu"))
            logger.warning(
                f"{device}: the network no longer fits into its memory. The remaining images are segmented on the CPU."
            )

    def _move_to(self, device: torch.device) -> None:
        self.device, self.network.max_batch = device, None
        self.network.to(device)

    def _predict(self, image: Image, case: str | None) -> Prediction:
        path = Path(image_paths({IMAGE: image})[0])
        name = case or image_stem(path)
        if isinstance(self.options, HistologyOptions) and is_tiled_tiff(path):
            with TiledTiff(path) as slide:
                if math.prod(slide.size) > TILED_ABOVE_PX:
                    findings = magnification_findings(path, slide.um_per_px, self.options)
                    enforce(findings)
                    return self._predict_tiles(slide.read, slide.size, slide.um_per_px, path, name, findings)
        read, findings = self.preprocessing.read({IMAGE: image, "case": name})
        enforce(findings)
        if not self.reads_volumes:
            pixels = np.moveaxis(np.asarray(read[IMAGE]), 0, -1)
            um_per_px = image_um_per_px(open_image(path))

            def read_pixels(rows: slice, cols: slice) -> np.ndarray:
                return pixels[rows, cols]

            if pixels[..., 0].size > TILED_ABOVE_PX:
                return self._predict_tiles(read_pixels, pixels.shape[:2], um_per_px, path, name, findings)
            report_memory(name, image_bytes(pixels[..., 0].size, pixels[..., 0].size, self._map_bytes))
            ready = self.preprocessing.scale(read)
            try:
                maps = self._infer(ready)
            except torch.OutOfMemoryError:
                maps = None
            if maps is None:  # here the traceback no longer holds the tensors
                core = CORE // 2
                logger.warning(f"{name}: the image does not fit into memory in one pass: continuing with tiles")
                return self._predict_tiles(read_pixels, pixels.shape[:2], um_per_px, path, name, findings, core)
            seen = np.asarray(ready[IMAGE])
            return self._of_image(np.asarray(maps), seen, read_pixels, um_per_px, path, name, findings)
        stored = read[IMAGE].clone()
        slices = self.inferer.batch_size or slices_at_a_time(self.device)
        report_memory(name, volume_bytes(stored.shape, slices * math.prod(self.inferer.size), self._map_bytes))
        ready = self.preprocessing.scale(read)
        maps = self._infer(ready)
        picture = np.asarray(ready[IMAGE]), np.asarray(maps[0]).astype(np.uint8)
        back = Invertd(["pred", STORED], self.preprocessing, orig_keys=IMAGE, nearest_interp=True)(
            {**ready, "pred": maps, STORED: stored}
        )
        return self._of_volume(back, picture, findings)

    def _infer(self, ready: Mapping[str, Any]) -> Any:
        """Compute the maps (M, ...) of a preprocessed image, and move them to the CPU."""
        with torch.inference_mode(), uniform_memory_errors():
            return self.inferer(ready[IMAGE][None].to(self.device), self.network)[0].cpu()

    def _predict_tiles(
        self,
        read: Read,
        size: tuple[int, int],
        um_per_px: float | None,
        path: Path,
        name: str,
        findings: list[Finding],
        core: int = CORE,
    ) -> Prediction:
        """Segment an image that is too large for one pass."""
        assert isinstance(self.options, HistologyOptions)
        scale = 1.0
        if self.options.resample:
            known = self.options.um_per_px or um_per_px
            assert known is not None  # otherwise the image was refused
            scale = known / TRAINING_UM_PER_PX
        window = (core + 2 * self.inferer.tile_margin) ** 2
        report_memory(name, image_bytes(math.prod(size), window, self._map_bytes))

        def normalize(pixels: torch.Tensor) -> torch.Tensor:
            seen: torch.Tensor = self.trained.intensity({IMAGE: pixels})[IMAGE]
            return seen

        network = in_bfloat16(self.network) if self.inferer.amp else self.network
        maps = infer_tiles(
            read,
            size,
            network,
            self.readout,
            normalize=normalize,
            margin=self.inferer.tile_margin,
            divisor=self.inferer.divisor,
            scale=scale,
            core=core,
            device=self.device,
        )
        step = thumbnail_step(size)
        small = torch.from_numpy(np.moveaxis(thumbnail(read, size, step), -1, 0))
        return self._of_image(maps, np.asarray(normalize(small)), read, um_per_px, path, name, findings, step)

    @property
    def reads_volumes(self) -> bool:
        """Whether the task has volumes; otherwise 2D images."""
        return isinstance(self.options, VolumeOptions)

    def describe(self) -> dict[str, Any]:
        """Describe task, weights and settings for the record."""
        views = {"maps": self.readout.names, "views": len(self.network.views), "device": self.device.type}
        return self.trained.describe() | views

    @property
    def _map_bytes(self) -> int:
        """Bytes per pixel of the maps that are kept of the network's output, and of the instances."""
        of_instances = 4 if self.readout.separates else 0
        return 1 if len(self.readout.names) == 1 else 2 * len(self.readout.names) + of_instances

    def _prediction(self, case: str, path: Path, mask: np.ndarray, findings: list[Finding], **known: Any) -> Prediction:
        classes, trained_on = self.description.classes, self.trained.training_data
        affine = known.pop("affine", None)
        return Prediction(case, path, mask, affine, classes, findings=findings, trained_on=trained_on, **known)

    def _of_volume(self, item: Any, picture: tuple[np.ndarray, np.ndarray], findings: list[Finding]) -> Prediction:
        assert isinstance(self.options, VolumeOptions)
        maps = np.asarray(item["pred"])
        base = self._prediction(
            item["case"],
            Path(item[IMAGE].meta["filename_or_obj"]),
            maps[0].astype(np.uint8),
            findings,
            affine=np.asarray(item["pred"].affine, np.float64),
            picture=picture,
            series=self.options.series,
            letters=letters_of(item[IMAGE]),
        )
        has_geometry = item[IMAGE].meta.get(LENGTH_UNIT, "mm") == "mm"
        stored, channels = np.asarray(item[STORED]), self.options.channels
        return volume_prediction(base, maps, self.readout.names, stored, channels, has_geometry)

    def _of_image(
        self,
        maps: np.ndarray,
        seen: np.ndarray,
        read_pixels: Read,
        um_per_px: float | None,
        path: Path,
        name: str,
        findings: list[Finding],
        step: int = 1,
    ) -> Prediction:
        assert isinstance(self.options, HistologyOptions)
        mask = maps[0].astype(np.uint8, copy=False)
        base = self._prediction(name, path, mask, findings, picture=(seen, mask[::step, ::step]))
        known = self.options.um_per_px or um_per_px
        return image_prediction(base, maps, self.readout.names, read_pixels, known, self.trained.separator)


def _too_large(image: Image, reason: str) -> str:
    path = shown_path(image_paths({IMAGE: image})[0])
    return f"{path}: does not fit into memory, even in small parts ({reason}). {memory_advice('cpu')}"


def _first_line(fault: BaseException) -> str:
    return str(fault).partition("\n")[0]
