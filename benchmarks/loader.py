"""Loading: slices of real-size CT from the cache or from whole volumes; augmentation compared with a step."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from benchmarks.cases import OURS, training_step
from benchmarks.measuring import Setting, Table, alternating, in_own_process, peak_extra_mb
from i2net_bundle.data import load_cases
from i2net_bundle.data.phantoms import ct_phantom
from i2net_bundle.hardware import multiplies_bfloat16
from i2net_bundle.training.slices import EpochSampler, SliceDataset
from i2net_bundle.transforms import histology_training, volume_reading, volume_training
from i2net_bundle.transforms.augmentation import reseed

TITLE = "Loading"
SHAPE, SPACING_MM = (512, 512, 150), (0.8, 0.8, 3.0)
COARSE = (128, 128, 75)
MEASURED_SLICES = 600
SLICES_BY_WHOLE_VOLUMES = 8
WHOLE, FIRST, LATER = "whole volume per slice", "first epoch, cache built", "later epochs"
KEYS = ("image", "label")
ITEMS = 8


def make_volumes(folder: Path, count: int, shape: tuple[int, int, int] = SHAPE) -> None:
    """Write ``count`` phantom volumes and their data list; existing ones are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for number in tqdm(range(count), desc="making volumes", unit="volume", disable=None):
        paths = {key: folder / f"{number:03d}_{key}.nii.gz" for key in KEYS}
        cases.append({key: path.name for key, path in paths.items()})
        if all(path.is_file() for path in paths.values()):
            continue
        factors = [fine / coarse for fine, coarse in zip(shape, COARSE, strict=True)]
        spacing = [side * factor for side, factor in zip(SPACING_MM, factors, strict=True)]
        image, label = ct_phantom(number, COARSE, tuple(spacing))
        noise = np.random.default_rng(number).normal(0, 12, shape)
        fine = ndimage.zoom(image.astype(np.float32), factors, order=1) + noise
        arrays = (np.clip(fine, -1024, 3071).astype(np.int16), ndimage.zoom(label, factors, order=0))
        for path, array in zip(paths.values(), arrays, strict=True):
            partial = path.with_name(f".{path.name}")
            nib.save(nib.Nifti1Image(array, np.diag([*SPACING_MM, 1.0])), partial)
            os.replace(partial, path)
    (folder / "dataset.json").write_text(json.dumps({"training": cases}), encoding="utf-8")


def slices_in_random_order(dataset: SliceDataset) -> Callable[[], int]:
    """Read up to `MEASURED_SLICES` slices of the dataset."""

    def read() -> int:
        addresses = list(EpochSampler(dataset))[:MEASURED_SLICES]
        for address in addresses:
            dataset[address]
        return len(addresses)

    return read


def whole_volumes(folder: Path) -> int:
    """Read the whole volume for each slice, as a dataset without a cache does."""
    cases, reading, training = load_cases(folder, "training"), volume_reading(KEYS), volume_training()
    for index in range(SLICES_BY_WHOLE_VOLUMES):
        volume = reading(cases[index % len(cases)])
        training({key: volume[key][..., volume[key].shape[-1] // 2].as_tensor() for key in KEYS})
    return SLICES_BY_WHOLE_VOLUMES


def measure(way: str, folder: Path, cache_dir: Path, count: int) -> dict[str, float]:
    """Slices per second and peak memory of one way to read the first ``count`` volumes; runs in its own process."""
    cases = load_cases(folder, "training")[:count]
    result: dict[str, float] = {}

    def work() -> None:
        started = time.perf_counter()
        if way == WHOLE:
            slices = whole_volumes(folder)
        else:
            dataset = SliceDataset(cases, volume_reading(KEYS), volume_training(), cache_dir)
            slices = len(dataset)
            if way == LATER:
                started = time.perf_counter()
                slices = slices_in_random_order(dataset)()
        result["rate"] = slices / (time.perf_counter() - started)

    return {"peak_mb": peak_extra_mb(work), **result}


def run(setting: Setting) -> list[Table]:
    """Both tables."""
    return [_reading(setting), _augmentation(setting)]


def _reading(setting: Setting) -> Table:
    folder, cache_dir, count = setting.work_dir / "volumes", setting.work_dir / "cache", setting.volumes
    shape = (64, 64, 8) if setting.quick else SHAPE
    make_volumes(folder, count, shape)
    shutil.rmtree(cache_dir, ignore_errors=True)
    runs = [(WHOLE, count), (FIRST, count), *((LATER, part) for part in sorted({max(1, count // 3), count}))]
    results = [(way, volumes, in_own_process(measure, way, folder, cache_dir, volumes)) for way, volumes in runs]
    base = results[0][2]["rate"]
    rows = [
        [way, str(volumes), f"{found['rate']:.2f}", f"{found['rate'] / base:.0f}", f"{found['peak_mb']:.0f}"]
        for way, volumes, found in results
    ]
    title = f"Slices of volumes of {'×'.join(map(str, shape))} voxels from .nii.gz"
    return Table(title, ["way", "volumes", "slices per second", "ratio", "extra memory, MB"], rows)


def _augmentation(setting: Setting) -> Table:
    """Time of one item on one core, and of one image in training on all cores."""
    generator = torch.Generator().manual_seed(0)
    sides = {"GlaS": setting.size(512), "Synapse": setting.size(224)}
    ct = torch.randint(-1000, 1000, (1, *((64, 64) if setting.quick else SHAPE[:2])), generator=generator)
    glands = torch.randint(0, 256, (3, 522, 775), generator=generator).to(torch.uint8)
    items = {
        "GlaS": {"image": glands, "label": (glands[:1] > 127).to(torch.uint8)},
        "Synapse": {"image": ct.to(torch.int16), "label": (ct > 0).to(torch.uint8)},
    }
    transforms = {
        "GlaS": histology_training((sides["GlaS"],) * 2, 0.8, stain_strength=0.3, elastic_px=10.0),
        "Synapse": volume_training((sides["Synapse"],) * 2),
    }
    rows = []
    for task, transform in transforms.items():
        step = training_step(OURS, task, 1, sides[task], bfloat16=multiplies_bfloat16("cpu"))

        def augment(transform: Callable = transform, item: dict = items[task]) -> None:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # as in a worker of a loader
            for seed in range(ITEMS):
                reseed(transform, seed)
                transform(dict(item))
            torch.set_num_threads(threads)

        seconds = alternating({"augment": augment, "step": step}, setting.rounds, f"{task}, augmentation")
        item, image = seconds["augment"] / ITEMS, seconds["step"]
        rows.append([task, f"{1e3 * item:.1f}", f"{1e3 * image:.0f}", f"{item / image:.1%}"])
    header = ["task", "augmentation per item on one core, ms", "training step per image, ms", "share"]
    note = (
        "A loader's worker runs beside the step (in bfloat16 if the processor has it). If the share comes near 100 %, "
        "the step waits for data."
    )
    return Table("Augmentation compared with the step", header, rows, note)
