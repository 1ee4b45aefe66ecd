"""Bundles, images and the bundles' own predictions to compare the server's with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.transforms import Compose
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image
from torch import nn

from i2net_bundle.prediction.inferers import SlicewiseInferer

ROOT = Path(__file__).resolve().parents[2]


def fresh_clone(folder: Path) -> Path:
    """The repository's root without what work leaves there."""
    for name in ("configs", "i2net_bundle", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "models").mkdir()
    return folder


def undecided(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """Random weights, with every class about equally frequent on ``images``: otherwise one would win everywhere.

    Logits of 0 lie in the widest gap near the median, so that rounding does not decide the class of a pixel.
    """
    network.eval()
    head = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)][-1]
    assert head.bias is not None
    with torch.no_grad():
        logits = network(images).transpose(0, 1).flatten(1)  # (classes, pixels)
        count, scale = logits.shape[1], 1 / logits.std(dim=1)
        middle = logits.sort(dim=1).values[:, count * 9 // 20 : count * 11 // 20]
        widest = middle.diff(dim=1).argmax(dim=1, keepdim=True)
        zero = (middle.gather(1, widest) + middle.gather(1, widest + 1))[:, 0] / 2
        head.weight *= scale[:, None, None, None] if isinstance(head, nn.Conv2d) else scale[None, :, None, None]
        head.bias.copy_((head.bias - zero) * scale)
    return network


def ct_slices(path: Path, preprocessing: Compose, size: Sequence[int]) -> torch.Tensor:
    """What the network sees of a volume: (slices, 1, rows, columns)."""
    seen: list[torch.Tensor] = []

    def watch(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images

    SlicewiseInferer(size)(preprocessing({"image": str(path)})["image"][None], watch)
    return torch.cat(seen)


def predict(bundle: Path, images: Sequence[Path], out: Path) -> Callable[[str], np.ndarray]:
    """Masks by ``i2net predict``, by the image's name; values as a label of MONAI Label has them."""
    command = [sys.executable, "-m", "i2net_bundle", "predict", *map(str, images), "--out", str(out)]
    command += ["--bundle", str(bundle), "--device", "cpu", "--no-pictures"]
    environment = os.environ | {"PYTHONPATH": str(bundle), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-4000:]

    def mask(name: str) -> np.ndarray:
        path = next(path for path in out.glob(f"{name}_mask.*") if path.suffix != ".geojson")
        return read(path) if path.suffix in (".nii", ".gz") else read(path) // 255  # written as 0 and 255

    return mask


def read(path: Path) -> np.ndarray:
    """Values of a NIfTI or image file."""
    if path.suffix in (".nii", ".gz"):
        return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
    return np.asarray(Image.open(path))


def write_orientations(source: Path, folder: Path) -> list[str]:
    """One volume with its voxels in several orders, and askew; returns the names."""
    volume: Any = nib.load(source)
    for name, codes in {"ras": "RAS", "lps": "LPS", "permuted": "SPL"}.items():
        turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(codes))
        volume.as_reoriented(turn).to_filename(folder / f"{name}.nii.gz")
    cos, sin = np.cos(0.2), np.sin(0.2)
    about_z = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    about_x = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    askew = nib.Nifti1Image(np.asarray(volume.dataobj), about_z @ about_x @ volume.affine)
    askew.to_filename(folder / "oblique.nii.gz")
    return ["ras", "lps", "permuted", "oblique"]
