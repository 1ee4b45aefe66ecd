"""From a file to a mask, by the bundle's own inference configuration.

Preprocessing, inferer and intensities are those of ``configs/inference.json`` and its overlays; task, network, classes,
channels and sizes are those that the weights were trained with. So a prediction here equals the one of
``python -m monai.bundle run``, and of MONAI Label.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Invertd

from i2net_bundle.checks.histology import TRAINING_UM_PER_PX, magnification_findings
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.hardware import slices_at_a_time, usable_device
from i2net_bundle.io.findings import Finding, enforce
from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.images import image_um_per_px, open_image
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.tiff import TiledTiff, is_tiled_tiff
from i2net_bundle.io.writing import file_sha256
from i2net_bundle.labels import LabelClass
from i2net_bundle.networks.weights import load_network
from i2net_bundle.prediction.ensemble import AveragedNetwork, Readout
from i2net_bundle.prediction.inferers import in_bfloat16
from i2net_bundle.prediction.memory import image_bytes, tell_memory, volume_bytes
from i2net_bundle.prediction.statistics import class_shares, gland_statistics, organ_statistics
from i2net_bundle.prediction.tiles import CORE, TILED_ABOVE_PX, Read, infer_tiles, thumbnail, thumbnail_step
from i2net_bundle.tasks import TASKS
from i2net_bundle.transforms.preprocessing import IMAGE, LENGTH_UNIT
from i2net_bundle.workflow.config_check import refuse_unknown_keys
from i2net_bundle.workflow.config_files import bundle_root, config_files
from i2net_bundle.workflow.run_folders import WEIGHTS_NAME
from i2net_bundle.workflow.run_records import RunRecord, run_record
from i2net_bundle.workflow.run_settings import require_settings

DEFAULT_TASK = "ct"
STORED = "stored"

logger = logging.getLogger("i2net.prediction")

Image = str | Path | Sequence[str | Path]
"""A file, a file per channel, or the folder of a DICOM series."""


@dataclass
class Prediction:
    """What was predicted for one image, in its file's own grid.

    Attributes:
        case: its name among others.
        image_path: its file, the first where each channel has one, or the folder of its DICOM series.
        mask: class indices, uint8: (X, Y, Z) of a volume, (rows, columns) of an image.
        affine: voxel to mm (4, 4) of a volume.
        classes: with their colours and codes, background first.
        statistics: see `i2net_bundle.prediction.statistics`.
        maps: "entropy" (0 to 1), "variance" and "probability_0", ... where they were asked for, float16, like the mask.
        picture: what the network saw, (C, H, W) or (1, H, W, D), and the mask on that grid.
        findings: warnings of the file's check.
        series: number or UID of the series that was chosen of a DICOM folder.
    """

    case: str
    image_path: Path
    mask: np.ndarray
    affine: np.ndarray | None
    classes: tuple[LabelClass, ...]
    statistics: dict[str, Any]
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    picture: tuple[np.ndarray, np.ndarray] | None = None
    findings: list[Finding] = field(default_factory=list)
    series: int | str | None = None

    @property
    def class_names(self) -> list[str]:
        """Background first."""
        return [item.name for item in self.classes]


class Predictor:
    """A trained network, ready to segment.

    Args:
        weights: files of weights; several are averaged. Default is the bundle's ``models/model.pt``.
        task: "ct", "mr" or "histology"; needed only for weights without ``settings.json`` beside them.
        bundle: folder of a packaged bundle, whose own ``configs/inference.json`` is used.
        overlays: further configurations, for networks that a record cannot name.
        overrides: ids of the configuration to other values, such as ``{"image_size": [512, 512]}``.
        reading: fields of `VolumeOptions` or `HistologyOptions`: how to read files that leave a choice.
        label_table: name of a label table, or path of your own: colours, codes and volumes of the classes.
        device: default is a GPU where there is one.
        flips: average over the image's flips too.
        uncertainty: also give the entropy, and the variance over flips and weights where there are several.
        probabilities: also give every class's probability.

    Raises:
        FileNotFoundError: there are no weights, no such bundle or no such overlay.
        ValueError: weights do not fit the network, or were trained with other settings; there is no such device.
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
        root = Path(bundle) if bundle is not None else bundle_root()
        self.weights = _paths(weights) or [default_weights(bundle)]
        record = run_record(self.weights[0])
        files: list[str | Path] = [root / "configs" / "inference.json"]
        if bundle is None:
            files += config_files(*TASKS[task_of(self.weights[0], task)].overlays)
        config = _configuration(files, overlays, record)
        settings = {"bundle_root": str(root), **(overrides or {})}
        settings |= {f"reading_options::{name}": value for name, value in (reading or {}).items()}
        settings |= {} if label_table is None else {"label_table": str(label_table)}
        settings |= {} if device is None else {"device": usable_device(device)}
        for name, value in settings.items():
            config[name] = value
        refuse_unknown_keys(config.get())

        networks, classes = [], {}
        for path in self.weights:
            config["weights"] = str(path.absolute())
            networks.append(config.get_parsed_content("network", lazy=False))
            require_settings(path, config.get_parsed_content("weights_settings"))
            load_network(networks[-1], path)
            classes[path] = config.get_parsed_content("class_names")
        _refuse_other_classes(classes)
        self.device = usable_device(config.get_parsed_content("device"))
        self.task: str = config.get_parsed_content("task")
        self.description = config.get_parsed_content("description")
        self.class_names: list[str] = list(config.get_parsed_content("class_names"))
        self.options: VolumeOptions | HistologyOptions = config.get_parsed_content("reading_options")
        self.preprocessing = config.get_parsed_content("preprocessing")
        self.inferer = config.get_parsed_content("inferer")
        self.intensity = config.get_parsed_content("intensity")
        several = flips or len(networks) > 1
        self.network = AveragedNetwork(networks, flips, variance=uncertainty and several).eval()
        self.readout = Readout(len(self.class_names), uncertainty, self.network.variance, probabilities)
        self.inferer.readout = self.readout

    def predict(self, image: Image, case: str | None = None) -> Prediction:
        """Segment one file; where a GPU's memory does not suffice for a single slice, image or tile, on the CPU.

        Args:
            image: its path, a path per channel, or the folder of a DICOM series.
            case: its name among others; default is the file's.

        Raises:
            DataError: the file cannot be used; names it, the fault and the remedy.
            torch.OutOfMemoryError: nor does the CPU's.
        """
        try:
            return self._predict(image, case)
        except torch.OutOfMemoryError as fault:
            if self.device.type == "cpu":
                raise
            logger.warning(f"{self.device}: {fault} This image is segmented on the CPU.")
        # here, where the traceback no longer holds the tensors
        chosen = self.device
        self._move_to(torch.device("cpu"))
        try:
            return self._predict(image, case)
        finally:
            self._move_back_to(chosen)

    def _move_back_to(self, device: torch.device) -> None:
        try:
            self._move_to(device)
        except torch.OutOfMemoryError:
            self._move_to(torch.device("cpu"))
            logger.warning(f"{device}: no longer has room for the network. The CPU is used from here on.")

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
            if pixels[..., 0].size > TILED_ABOVE_PX:
                return self._predict_tiles(
                    lambda rows, cols: pixels[rows, cols], pixels.shape[:2], um_per_px, path, name, findings
                )
            tell_memory(name, image_bytes(pixels[..., 0].size, pixels[..., 0].size, self._map_bytes))
            ready = self.preprocessing.scale(read)
            maps = self._infer(ready)
            return self._of_image(np.asarray(maps), np.asarray(ready[IMAGE]), um_per_px, path, name, findings)
        stored = read[IMAGE].clone()
        slices = self.inferer.batch_size or slices_at_a_time(self.device)
        tell_memory(name, volume_bytes(stored.shape, slices * math.prod(self.inferer.size), self._map_bytes))
        ready = self.preprocessing.scale(read)
        maps = self._infer(ready)
        picture = np.asarray(ready[IMAGE]), np.asarray(maps[0]).astype(np.uint8)
        back = Invertd(["pred", STORED], self.preprocessing, orig_keys=IMAGE, nearest_interp=True)(
            {**ready, "pred": maps, STORED: stored}
        )
        return self._of_volume(back, picture, findings)

    def _infer(self, ready: Mapping[str, Any]) -> Any:
        """Maps (M, ...) of a preprocessed image, in the computer's own memory, where files are written from."""
        with torch.inference_mode():
            return self.inferer(ready[IMAGE][None].to(self.device), self.network)[0].cpu()

    def _predict_tiles(
        self,
        read: Read,
        size: tuple[int, int],
        um_per_px: float | None,
        path: Path,
        name: str,
        findings: list[Finding],
    ) -> Prediction:
        """Segment an image that is too large for one pass."""
        assert isinstance(self.options, HistologyOptions)
        scale = 1.0
        if self.options.resample:
            known = self.options.um_per_px or um_per_px
            assert known is not None  # else the image was refused
            scale = known / TRAINING_UM_PER_PX
        window = (CORE + 2 * self.inferer.tile_margin) ** 2
        tell_memory(name, image_bytes(math.prod(size), window, self._map_bytes))

        def normalize(pixels: torch.Tensor) -> torch.Tensor:
            seen: torch.Tensor = self.intensity({IMAGE: pixels})[IMAGE]
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
            device=self.device,
        )
        step = thumbnail_step(size)
        small = torch.from_numpy(np.moveaxis(thumbnail(read, size, step), -1, 0))
        return self._of_image(maps, np.asarray(normalize(small)), um_per_px, path, name, findings, step)

    @property
    def reads_volumes(self) -> bool:
        """Whether the task is one of volumes, not of images."""
        return isinstance(self.options, VolumeOptions)

    def describe(self) -> dict[str, Any]:
        """Settings of the predictions, for the record; of a series chosen by its UID only that it was chosen."""
        described = ("classes", "channels", "ignore_id", "num_classes")
        reading = {
            name: value
            for name, value in vars(self.options).items()
            if name not in described and value not in (None, False)
        }
        if isinstance(reading.get("series"), str):
            reading["series"] = "chosen by UID"
        return {
            "task": self.task,
            "class_names": self.class_names,
            "channels": list(self.description.channels),
            "weights": [{"file": path.name, "sha256": file_sha256(path)} for path in self.weights],
            "views": len(self.network.views),
            "device": str(self.device),
            "reading": reading,
        }

    @property
    def _map_bytes(self) -> int:
        """Bytes per pixel of what is kept of the network's output."""
        return 1 if len(self.readout.names) == 1 else 2 * len(self.readout.names)

    def _of_volume(self, item: Any, picture: tuple[np.ndarray, np.ndarray], findings: list[Finding]) -> Prediction:
        assert isinstance(self.options, VolumeOptions)
        maps = np.asarray(item["pred"])
        mask = maps[0].astype(np.uint8)
        affine = np.asarray(item["pred"].affine, np.float64)
        geometry = item[IMAGE].meta.get(LENGTH_UNIT, "mm") == "mm"
        statistics = organ_statistics(
            mask, np.asarray(item[STORED]), affine, self.class_names, geometry, self.options.channels
        )
        path = Path(item[IMAGE].meta["filename_or_obj"])
        return Prediction(
            item["case"],
            path,
            mask,
            affine,
            self.description.classes,
            statistics,
            self._named(maps),
            picture,
            findings,
            self.options.series,
        )

    def _of_image(
        self,
        maps: np.ndarray,
        seen: np.ndarray,
        um_per_px: float | None,
        path: Path,
        name: str,
        findings: list[Finding],
        step: int = 1,
    ) -> Prediction:
        assert isinstance(self.options, HistologyOptions)
        mask = maps[0].astype(np.uint8, copy=False)
        glands = len(self.class_names) == 2
        statistics: dict[str, Any] = (
            gland_statistics(mask, self.options.um_per_px or um_per_px)
            if glands
            else class_shares(mask, self.class_names)
        )
        picture = seen, mask[::step, ::step]
        return Prediction(
            name, path, mask, None, self.description.classes, statistics, self._named(maps), picture, findings
        )

    def _named(self, maps: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.readout.names[1:], maps[1:], strict=True))


def _paths(weights: str | Path | Sequence[str | Path] | None) -> list[Path]:
    if weights is None:
        return []
    return [Path(weights)] if isinstance(weights, str | Path) else [Path(path) for path in weights]


def default_weights(bundle: str | Path | None = None) -> Path:
    """Weights of a packaged bundle, or of this one."""
    return (Path(bundle) if bundle is not None else bundle_root()) / "models" / WEIGHTS_NAME


def task_of(weights: str | Path, task: str | None = None) -> str:
    """Kind of task that weights are for: as they record it, else as the user says, else "ct".

    Raises:
        ValueError: there is no such task, or the weights were trained for another one.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"Unknown task '{task}'; known: {', '.join(TASKS)}.")
    recorded = run_record(weights).task
    if task is not None and recorded is not None and task != recorded:
        raise ValueError(f"{weights} was trained for the task '{recorded}', not '{task}'. Leave the task out.")
    return recorded or task or DEFAULT_TASK


def _configuration(files: Sequence[str | Path], overlays: Sequence[str | Path], record: RunRecord) -> ConfigParser:
    if not Path(files[0]).is_file():
        raise FileNotFoundError(f"No {files[0]}. Name the folder of a packaged bundle.")
    missing = [str(path) for path in overlays if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(f"No configuration {missing[0]}. The bundle's own lie in {bundle_root() / 'configs'}.")
    parser = ConfigParser()
    parser.read_config([str(path) for path in (*files, *overlays)])
    own = ConfigParser.load_config_files([str(path) for path in overlays]) if overlays else {}
    if record.divisor is not None and "divisor" not in own:
        parser["divisor"] = record.divisor
    return parser


def _refuse_other_classes(classes: Mapping[Path, Sequence[str]]) -> None:
    first, *others = classes
    for path in others:
        if list(classes[path]) != list(classes[first]):
            raise ValueError(
                f"{first} segments {', '.join(classes[first])}; {path} segments {', '.join(classes[path])}. Average "
                "weights of the same classes only."
            )
