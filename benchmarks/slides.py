"""Prediction of an image too large for one pass: time, memory, and whether tile borders show."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image
from torch import Tensor

from benchmarks.cases import OURS, network
from benchmarks.measuring import UNIT, Setting, Table, alternating, in_own_process, peak_extra_mb
from i2net_bundle.data.phantoms import gland_phantom
from i2net_bundle.prediction.cohort import predict_files
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.prediction.tiles import CORE, infer_tiles

TITLE = "Prediction of a slide"
SIDE = 10_000
PHANTOM = 500
PIECE = 1792
"""Side of the piece that is also segmented in one pass: cores of `SMALL_CORE` cut it into 4 × 4 tiles."""
SMALL_CORE = 512

DIVISOR, MARGIN = 32, 256  # of configs/histology.yaml


def make_slide(side: int) -> np.ndarray:
    """Phantom glands (side, side, 3), uint8: a few images, repeated."""
    phantoms = [gland_phantom(seed, (PHANTOM, PHANTOM))[0] for seed in range(4)]
    pair = np.concatenate([np.concatenate(phantoms[:2], 1), np.concatenate(phantoms[2:], 1)])
    times = -(-side // len(pair))
    return np.ascontiguousarray(np.tile(pair, (times, times, 1))[:side, :side])


def predict(path: Path, out: Path, weights: Path) -> dict[str, float]:
    """Seconds and extra memory of `i2net predict` on one file, after its network is loaded."""
    predictor = Predictor(weights, "histology", device="cpu")
    result: dict[str, float] = {}

    def work() -> None:
        started = time.perf_counter()
        if predict_files([path], out, predictor).failed:
            raise RuntimeError(f"{path} could not be predicted; see {out}")
        result["seconds"] = time.perf_counter() - started

    return {"peak_mb": peak_extra_mb(work), **result}


def run(setting: Setting) -> list[Table]:
    """Two kinds of file, and the seams."""
    side = 1000 if setting.quick else SIDE
    pixels = make_slide(side)
    files = {"tiled TIFF, read tile by tile": "slide.tif", "PNG, decoded whole": "slide.png"}
    setting.work_dir.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        setting.work_dir / "slide.tif",
        pixels,
        tile=(512, 512),
        compression="deflate",
        photometric="rgb",
        resolution=(1e4 / 0.62, 1e4 / 0.62),
        resolutionunit="CENTIMETER",
    )
    Image.fromarray(pixels).save(setting.work_dir / "slide.png", compress_level=1)
    weights = setting.work_dir / "glas.pt"
    torch.save(network(OURS, "GlaS").state_dict(), weights)
    rows = []
    for what, name in files.items():
        out = setting.work_dir / "slide_masks"
        shutil.rmtree(out, ignore_errors=True)
        found = in_own_process(predict, setting.work_dir / name, out, weights)
        unit = alternating({}, 3, "unit")[UNIT]
        rows.append([what, f"{found['seconds']:.0f}", f"{found['seconds'] / unit:.1f}", f"{found['peak_mb']:.0f}"])
    note = (
        f"`i2net predict` of {side}×{side} pixels in float32 with random weights, including mask, polygons, statistics "
        f"and picture. The decoded image takes {pixels.nbytes / 1e6:.0f} MB and the mask "
        f"{pixels.nbytes / 3e6:.0f} MB. Random weights give shapes as large as the slide, whose polygons take more "
        "memory than those of glands."
    )
    header = ["file", "s", "U", "extra memory, MB"]
    return [Table("Time and memory", header, rows, note), _seams(setting, pixels)]


@torch.inference_mode()
def _seams(setting: Setting, pixels: np.ndarray) -> Table:
    """Compare the logits of tiles with those of one pass."""
    side = 576 if setting.quick else PIECE
    piece = pixels[:side, :side]
    net = network(OURS, "GlaS").eval()

    def normalize(part: Tensor) -> Tensor:
        return part.float() / 128 - 1

    whole = net(normalize(torch.from_numpy(piece).permute(2, 0, 1))[None])[0].numpy()
    rows = []
    for margin in (MARGIN, 2 * DIVISOR):
        tiled = infer_tiles(
            lambda rows, cols: piece[rows, cols],
            piece.shape[:2],
            net,
            lambda logits: logits,
            normalize=normalize,
            core=SMALL_CORE,
            margin=margin,
            divisor=DIVISOR,
            progress=False,
        )
        rows.append([str(margin), f"{np.abs(tiled - whole).max():.1e}", f"{np.ptp(whole):.2f}"])
    note = (
        f"{side}×{side} pixels in cores of {SMALL_CORE} (slides use {CORE}) compared with one pass. The bundle's "
        f"margin is {MARGIN} pixels, the network's reach to one side; the smaller margin shows the error without it."
    )
    header = ["margin, pixels", "largest difference of logits", "range of the logits"]
    return Table("Seams", header, rows, note)
