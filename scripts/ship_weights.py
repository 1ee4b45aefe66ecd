"""Write the weights of a run as those that come with the bundle: half precision, their record, and checksums.

python -m scripts.ship_weights RUN models/glands --images DATA/images --licence "research only, no commercial use"

Nothing is written unless the masks of both precisions agree on every image.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from i2net_bundle.io.counted import counted
from i2net_bundle.io.writing import file_sha256, written_whole
from i2net_bundle.networks.tensor_files import load_tensors, save_tensors
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.run_folders import WEIGHTS_NAME
from i2net_bundle.workflow.run_records import SETTINGS_NAME, run_record, write_record
from i2net_bundle.workflow.shipped_weights import CHECKSUMS

LEAST_AGREEMENT = 0.999
"""Least Dice between the masks of both precisions."""


def main() -> None:
    """Convert, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--images", type=Path, required=True, help="images on which both precisions must agree")
    parser.add_argument("--licence", help="terms of the training data (default: those in the record)")
    arguments = parser.parse_args()
    source = arguments.run / WEIGHTS_NAME
    record = run_record(source)
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder, WEIGHTS_NAME)
        save_tensors({name: _halved(tensor) for name, tensor in load_tensors(source).items()}, half)
        write_record(replace(record, data_licence=arguments.licence or record.data_licence), half.parent)
        agreements = agreement(source, half, sorted(arguments.images.iterdir()))
        number = counted(len(agreements), "image")
        print(f"Dice between the masks of both precisions: at least {min(agreements):.5f}, {number}")
        if min(agreements) < LEAST_AGREEMENT:
            parser.exit(1, f"That is below {LEAST_AGREEMENT}. Nothing was written.\n")
        arguments.out.mkdir(parents=True, exist_ok=True)
        names = (WEIGHTS_NAME, SETTINGS_NAME)
        lines = [f"{file_sha256(half.with_name(name))}  {name}\n" for name in names]
        for name in names:
            with written_whole(arguments.out / name) as temporary:
                temporary.write_bytes(half.with_name(name).read_bytes())
        with written_whole(arguments.out / CHECKSUMS) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")


def agreement(first: Path, second: Path, images: list[Path]) -> list[float]:
    """Dice between the masks of two weights files, one value per image."""
    predictors = [Predictor(path) for path in (first, second)]
    scores = []
    for image in tqdm(images, unit="image", disable=None):
        one, other = (np.asarray(predictor.predict(image).mask) > 0 for predictor in predictors)
        total = int(one.sum() + other.sum())
        scores.append(2 * int((one & other).sum()) / total if total else 1.0)
    return scores


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    """Matrices and kernels in half precision; statistics of normalisation layers, biases and counts as they are."""
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor


if __name__ == "__main__":
    main()
