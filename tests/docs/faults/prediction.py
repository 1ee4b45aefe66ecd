"""Faults of predictions and evaluations."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events

from i2net_bundle.checks.cases import check_case
from i2net_bundle.evaluation import folders
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.prediction import run_evaluator
from i2net_bundle.prediction.cohort import predict_files
from i2net_bundle.prediction.ensemble import AveragedNetwork
from i2net_bundle.prediction.inputs import find_inputs
from i2net_bundle.prediction.plausibility import implausible_findings
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.prediction.tiles import infer_tiles
from i2net_bundle.workflow.processes import require_one_process
from i2net_bundle.workflow.recorded_network import build_network
from i2net_bundle.workflow.run_records import NetworkRecord
from i2net_bundle.workflow.stopping import Stopped
from tests.checks.ct_files import hu_volume, label_volume, save
from tests.docs.faults.table import Make, Printed, found, logged, refused
from tests.evaluation.test_interruptions import evaluator
from tests.prediction.test_plausibility import AFFINE, CLASSES, INDEX, PLAUSIBLE, body
from tests.prediction.test_tiles import logits, normalize, picture, reader, short_of_memory
from tests.workflow.records import UNET, write


def small_predictor(folder: Path, **record: Any) -> Predictor:
    """A UNet of random weights for two classes."""
    path = write(folder / "run", **record)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_tensors(build_network(NetworkRecord(**UNET)).state_dict(), path)
    return Predictor(path)


def scan(folder: Path, name: str = "ct") -> Path:
    return Path(save(folder / "scans" / f"{name}.nii.gz", hu_volume((20, 18, 3))))


def predicted(spoil: Callable[[Path], object], **how: Any) -> Make:
    """A prediction into a folder that is changed before."""

    def make(folder: Path) -> Printed:
        scan(folder)
        network = small_predictor(folder)
        predict_files(["scans"], "masks", network, pictures=False)
        spoil(folder)
        return refused(lambda: predict_files(["scans"], "masks", network, **how))

    return make


def implausible(mask: np.ndarray) -> Make:
    return lambda folder: found(implausible_findings(mask, AFFINE, CLASSES, "ct.nii.gz"), 0)


def kidney_of_litres() -> np.ndarray:
    mask = body(**PLAUSIBLE)
    mask[10:60, 2:48, 2:48] = INDEX["right kidney"]
    return mask


def trained_on(name: str, cases: int) -> Make:
    """Weights whose record names this training data."""

    def make(folder: Path) -> Printed:
        network = small_predictor(folder, trained_on=name, training_cases=cases)
        return logged(network.trained.report_training_data)

    return make


def stopped(work: Callable[[Path], object]) -> Make:
    """Work that is stopped by SIGTERM."""

    def make(folder: Path) -> Printed:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)

        def stop() -> None:
            with pytest.raises(Stopped) as caught:
                work(folder)
            assert caught.value.code == 143

        try:
            return logged(stop)
        finally:
            signal.signal(signal.SIGTERM, before)

    return make


def terminate(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stopped_prediction(folder: Path) -> None:
    for name in "ab":
        scan(folder, name)
    network = small_predictor(folder)
    predict = network.predict

    def predict_and_stop(*arguments: Any) -> Any:
        terminate()
        return predict(*arguments)

    network.predict = predict_and_stop  # type: ignore[method-assign]
    predict_files(["scans"], "masks", network, pictures=False)


def stopped_evaluation(folder: Path) -> None:
    engine = evaluator(Path("evaluation"))
    engine.add_event_handler(Events.ITERATION_STARTED(once=2), terminate)
    run_evaluator(engine, "evaluation")


def without_record(folder: Path) -> Printed:
    scan(folder)
    (folder / "masks").mkdir()
    (folder / "masks" / "a_mask.nii.gz").touch()
    network = small_predictor(folder)
    return refused(lambda: predict_files(["scans"], "masks", network, resume=True))


def input_replaced(folder: Path) -> Printed:
    scan(folder)
    mask = scan(folder, "ct_mask")
    network = small_predictor(folder)
    (folder / "scans" / "prediction.json").touch()
    return refused(lambda: predict_files([mask.parent / "ct.nii.gz", mask], "scans", network, overwrite=True))


def output_is_input(folder: Path) -> Printed:
    scan(folder)
    return refused(lambda: find_inputs(["scans"], volumes=True, out_dir="scans"))


def broken_link(folder: Path) -> Printed:
    scan(folder)
    (folder / "scans" / "gone.nii.gz").symlink_to(folder / "nowhere.nii.gz")
    cases = find_inputs(["scans"], volumes=True)
    return found(check_case(cases[1], VolumeOptions()))


def pictures_beside(folder: Path) -> Printed:
    scan(folder)
    for name in ("logo.bmp", "a.png"):
        (folder / "scans" / name).touch()
    return logged(lambda: find_inputs(["scans"], volumes=True))


def other_kind(folder: Path) -> Printed:
    (folder / "a.png").touch()
    return refused(lambda: find_inputs(["a.png"], volumes=True))


class Limited(torch.nn.Module):
    """A network with memory for one image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return images


def memory_for_one(folder: Path) -> Printed:
    return logged(lambda: AveragedNetwork([Limited()])(torch.zeros(2, 1, 4, 4)))


def memory_for_none(folder: Path) -> Printed:
    path, network = scan(folder), small_predictor(folder)

    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    network.network.forward = refuse  # type: ignore[method-assign, assignment]
    return refused(lambda: network.predict(path))


def memory_for_half_a_tile(folder: Path) -> Printed:
    image, settings = picture(600, 1000), {"normalize": normalize, "margin": 32, "progress": False}
    network = short_of_memory(600 * 600)
    return logged(lambda: infer_tiles(reader(image), (600, 1000), network, logits, **settings, core=1024))


class OneCase:
    """Processes of which one is killed while it scores the second case."""

    def __enter__(self) -> OneCase:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Any, *arguments: Any) -> Iterator[Any]:
        yield function(*(values[0] for values in arguments))
        raise BrokenProcessPool


def masks_and_labels(folder: Path) -> tuple[Path, Path, Path]:
    for name in ("p1", "p2"):
        for where in ("masks", "labels"):
            save(folder / where / f"{name}.nii.gz", label_volume())
    return folder / "masks", folder / "labels", folder / "scores"


def killed_scoring(folder: Path) -> Printed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "scoring_pool", lambda num_workers: OneCase())
        return refused(lambda: folders.evaluate_folders(*masks_and_labels(folder), num_workers=1))


def stopped_scoring(folder: Path) -> Printed:
    score = folders._score_files

    def score_and_stop(*arguments: Any) -> Any:
        terminate()
        return score(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_score_files", score_and_stop)
        return stopped(lambda folder: folders.evaluate_folders(*masks_and_labels(folder), num_workers=0))(folder)


def several_processes(folder: Path) -> Printed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        return refused(require_one_process)


class _OfImages:
    """Stands for the predictor of a network that segments 2D images."""

    reads_volumes = False


def rtstruct_of_images(folder: Path) -> Printed:
    return refused(lambda: predict_files(["a.png"], "masks", _OfImages(), rtstruct=True))  # type: ignore[arg-type]


FAULTS: dict[str, Make] = {
    "missing input": lambda folder: refused(lambda: find_inputs(["ct.nii.gz"], volumes=True)),
    "image of another task": other_kind,
    "`--rtstruct` with 2D images": rtstruct_of_images,
    "pictures beside volumes": pictures_beside,
    "output folder that is an input folder": output_is_input,
    "input that would be replaced": input_replaced,
    "link without a target among the inputs": broken_link,
    "predictions exist": predicted(lambda folder: None),
    "continued with other settings": predicted(lambda folder: None, resume=True),
    "continued without a record": without_record,
    "several processes": several_processes,
    "too little memory for a batch": memory_for_one,
    "too little memory for a tile": memory_for_half_a_tile,
    "too little memory for an image": memory_for_none,
    "SIGTERM or Ctrl-C in a prediction": stopped(stopped_prediction),
    "SIGTERM or Ctrl-C in an evaluation": stopped(stopped_evaluation),
    "SIGTERM or Ctrl-C in `i2net evaluate`": stopped_scoring,
    "scoring process killed": killed_scoring,
    "weights trained on phantoms": trained_on("CT phantoms", 8),
    "weights trained on one case": trained_on("BTCV", 1),
    "predicted organ of implausible volume": implausible(kidney_of_litres()),
    "predicted organ on the wrong side": implausible(
        body(**(PLAUSIBLE | {"spleen": (1, 25, 35, 14), "liver": (60, 20, 30, 26)}))
    ),
    "empty predicted mask": implausible(np.zeros((4, 4, 4), np.uint8)),
}
