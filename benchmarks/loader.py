"""Speed and memory of the training loader on real-size CT: python benchmarks/loader.py WORK_DIR [--volumes 30].

Makes volumes of 512×512×150 voxels from phantoms in WORK_DIR (kept for the next call), then measures in processes of
their own: building the cache of slices (first epoch), reading slices from it in random order (later epochs), and
reading the whole volume for every slice. Prints a Markdown table of slices per second, with ratios, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from i2net_bundle.data import EpochSampler, SliceDataset, load_cases
from i2net_bundle.data.phantoms import ct_phantom
from i2net_bundle.transforms import ct_reading, ct_training

SHAPE, SPACING_MM = (512, 512, 150), (0.8, 0.8, 3.0)
COARSE = (128, 128, 75)
MEASURED_SLICES = 600
SLICES_BY_WHOLE_VOLUMES = 8
KEYS = ("image", "label")


def make_volumes(folder: Path, count: int) -> None:
    """Write ``count`` volumes and their data list; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for number in tqdm(range(count), desc="making volumes", unit="volume", disable=None):
        paths = {key: folder / f"{number:03d}_{key}.nii.gz" for key in KEYS}
        cases.append({key: path.name for key, path in paths.items()})
        if all(path.is_file() for path in paths.values()):
            continue
        factors = [fine / coarse for fine, coarse in zip(SHAPE, COARSE, strict=True)]
        spacing = [side * factor for side, factor in zip(SPACING_MM, factors, strict=True)]
        image, label = ct_phantom(number, COARSE, tuple(spacing))
        noise = np.random.default_rng(number).normal(0, 12, SHAPE)
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
    """Read the volume anew for each of some slices, as a dataset without a cache does."""
    cases, reading, training = load_cases(folder, "training"), ct_reading(KEYS), ct_training()
    for index in range(SLICES_BY_WHOLE_VOLUMES):
        volume = reading(cases[index % len(cases)])
        training({key: volume[key][..., 75].as_tensor() for key in KEYS})
    return SLICES_BY_WHOLE_VOLUMES


def measure(way: str, folder: Path, cache_dir: Path, count: int) -> dict[str, float]:
    """Slices per second and peak memory of this process, one way of reading the first ``count`` volumes."""
    cases = load_cases(folder, "training")[:count]
    before = _peak_mb()
    started = time.perf_counter()
    if way == "whole volume per slice":
        slices = whole_volumes(folder)
    else:
        dataset = SliceDataset(cases, ct_reading(KEYS), ct_training(), cache_dir)
        if way == "first epoch, cache built":
            slices = len(dataset)
        else:
            started = time.perf_counter()
            slices = slices_in_random_order(dataset)()
    return {"rate": slices / (time.perf_counter() - started), "peak_mb": _peak_mb() - before}


def _peak_mb() -> float:
    """Largest resident memory of this process so far; ``getrusage`` would count its parent's too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def _in_own_process(way: str, work_dir: Path, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(work_dir), "--volumes", str(count), "--only", way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Run the comparison, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work_dir", type=Path, help="folder for volumes and cache (4 GB for 30 volumes)")
    parser.add_argument("--volumes", type=int, default=30, help="number of volumes (default 30)")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder, cache_dir, count = arguments.work_dir / "volumes", arguments.work_dir / "cache", arguments.volumes
    if arguments.only:
        print(json.dumps(measure(arguments.only, folder, cache_dir, count)))
        return
    make_volumes(folder, count)
    shutil.rmtree(cache_dir, ignore_errors=True)
    runs = [("whole volume per slice", count), ("first epoch, cache built", count)]
    runs += [("later epochs", count * part // 3) for part in (1, 2, 3)]
    results = [(way, volumes, _in_own_process(way, arguments.work_dir, volumes)) for way, volumes in runs]
    base = results[0][2]["rate"]
    print(f"{platform.machine()}, {os.cpu_count()} cores; volumes of {'×'.join(map(str, SHAPE))} from .nii.gz\n")
    print("| way | volumes | slices per second | ratio | peak memory, MB |\n|---|---|---|---|---|")
    for way, volumes, result in results:
        print(f"| {way} | {volumes} | {result['rate']:.2f} | {result['rate'] / base:.0f} | {result['peak_mb']:.0f} |")


if __name__ == "__main__":
    main()
