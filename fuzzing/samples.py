"""One small valid input of each kind, which the mutations then damage."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation
import tifffile
import torch
from PIL import Image

from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.workflow.run_records import SETTINGS_NAME, NetworkRecord, RunRecord, write_record

SHAPE = (20, 18, 6)
SIZE = (24, 32)
NETWORK = NetworkRecord(
    "monai.networks.nets.UNet",
    {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "channels": [4, 8], "strides": [2]},
)


@dataclass(frozen=True)
class Sample:
    """A valid input.

    Attributes:
        path: the file to damage.
        target: what the commands are given: the file, or the folder that contains it.
        is_gzip: whether the content, not the compressed bytes, is damaged half of the time.
        is_json: whether values of the document are replaced as well as its bytes.
        is_png: whether the checksums are corrected half of the time, so that a reader gets past them.
    """

    path: Path
    target: Path
    is_gzip: bool = False
    is_json: bool = False
    is_png: bool = False


def _ct() -> np.ndarray:
    """HU with air, fat and soft tissue, int16 (X, Y, Z)."""
    values = np.full(SHAPE, -1000, np.int16)
    values[3:17, 3:15] = -90
    values[5:15, 5:13] = np.random.default_rng(0).normal(40, 15, (10, 8, SHAPE[2]))
    return values


def _rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(90, 250, (*SIZE, 3), dtype=np.uint8)


def _nifti(folder: Path, name: str = "ct.nii") -> Sample:
    path = folder / name
    nib.save(nib.Nifti1Image(_ct(), np.diag([4.0, 4, 8, 1])), path)
    return Sample(path, path, is_gzip=name.endswith(".gz"))


def _nifti_gz(folder: Path) -> Sample:
    return _nifti(folder, "ct.nii.gz")


def _itk(folder: Path, name: str, compressed: bool = False) -> Sample:
    image = sitk.GetImageFromArray(_ct().transpose(2, 1, 0))
    image.SetSpacing((4, 4, 8))
    sitk.WriteImage(image, str(folder / name), useCompression=compressed)
    return Sample(folder / name, folder / name)


def _dicom(folder: Path) -> Sample:
    for number, values in enumerate(_ct().transpose(2, 1, 0)):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((4, 4))
        tags = {
            "0008|0060": "CT",
            "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
            "0010|0010": "Doe^Jane",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.4",
            "0020|0052": "1.2.5",
            "0020|0032": f"0\\0\\{8 * number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|1052": "0",
            "0028|1053": "1",
        }
        for tag, text in tags.items():
            image.SetMetaData(tag, text)
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{number}.dcm"))
        writer.Execute(image)
    return Sample(folder / "2.dcm", folder)


def _picture(folder: Path, name: str) -> Sample:
    Image.fromarray(_rgb()).save(folder / name)
    return Sample(folder / name, folder / name, is_png=name.endswith(".png"))


def _palette(folder: Path) -> Sample:
    Image.fromarray(_rgb()).quantize(16).save(folder / "image.png")
    return Sample(folder / "image.png", folder / "image.png", is_png=True)


def _tiff(folder: Path, **options: object) -> Sample:
    path = folder / "image.tif"
    tifffile.imwrite(path, _rgb(), photometric="rgb", **options)  # type: ignore[arg-type]
    return Sample(path, path)


def _mask(folder: Path) -> Sample:
    """A label beside its image; the label is damaged."""
    Image.fromarray(_rgb()).save(folder / "a.png")
    Image.fromarray((_rgb()[..., 0] > 170).astype(np.uint8)).save(folder / "a_anno.png")
    return Sample(folder / "a_anno.png", folder, is_png=True)


def _data_list(folder: Path) -> Sample:
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(_ct(), np.diag([4.0, 4, 8, 1])), folder / f"{name}.nii")
        nib.save(nib.Nifti1Image((_ct() > 0).astype(np.uint8), np.diag([4.0, 4, 8, 1])), folder / f"{name}_label.nii")
    cases = [{"image": f"{name}.nii", "label": f"{name}_label.nii"} for name in ("a", "b")]
    content = {
        "name": "liver",
        "labels": {"0": "background", "1": "liver"},
        "modality": {"0": "CT"},
        "training": cases[:1],
        "validation": cases[1:],
        "test": ["a.nii"],
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return Sample(folder / "dataset.json", folder, is_json=True)


def make_network() -> torch.nn.Module:
    """Create the network of the sample weights, with random weights."""
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(**NETWORK.arguments)  # type: ignore[arg-type]


def _weights(folder: Path) -> Sample:
    save_tensors(make_network().state_dict(), folder / "model.pt")
    return Sample(folder / "model.pt", folder / "model.pt")


def _weights_from_elsewhere(folder: Path) -> Sample:
    torch.save({"state_dict": make_network().state_dict()}, folder / "model.pt")
    return Sample(folder / "model.pt", folder / "model.pt")


def _settings(folder: Path) -> Sample:
    _weights(folder)
    write_record(RunRecord(task="histology", network=NETWORK, channels=("red", "green", "blue")), folder)
    return Sample(folder / SETTINGS_NAME, folder / "model.pt", is_json=True)


KINDS: dict[str, Callable[[Path], Sample]] = {
    "nifti": _nifti,
    "nifti_gz": _nifti_gz,
    "nrrd": lambda folder: _itk(folder, "ct.nrrd"),
    "nrrd_gzip": lambda folder: _itk(folder, "ct.nrrd", compressed=True),
    "mha": lambda folder: _itk(folder, "ct.mha"),
    "mhd": lambda folder: _itk(folder, "ct.mhd"),
    "dicom": _dicom,
    "png": lambda folder: _picture(folder, "image.png"),
    "png_palette": _palette,
    "mask": _mask,
    "bmp": lambda folder: _picture(folder, "image.bmp"),
    "jpeg": lambda folder: _picture(folder, "image.jpg"),
    "tiff": _tiff,
    "tiff_tiled": lambda folder: _tiff(folder, tile=(16, 16), compression="zlib"),
    "data_list": _data_list,
    "settings": _settings,
    "weights": _weights,
    "weights_from_elsewhere": _weights_from_elsewhere,
}
"""Name of each kind of input, and what writes its sample into an empty folder."""


def content_of(sample: Sample) -> bytes:
    """Read the bytes to damage: the file's, without its gzip layer if it has one."""
    content = sample.path.read_bytes()
    return gzip.decompress(content) if sample.is_gzip else content
