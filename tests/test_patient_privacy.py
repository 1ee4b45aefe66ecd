"""No command shows or writes a value of the patient, the study or the institution of a DICOM series.

A distinctive value is planted in every attribute of these groups that pydicom's dictionary knows, once valid and once
malformed. Then everything that each command prints or writes is searched, except the DICOM objects it was asked for.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from i2net_bundle.data.phantoms import ct_phantom
from i2net_bundle.networks import synapse_i2net
from tests.child_processes import CHILD_PATH
from tests.io.dicom.files import write_slice

ROOT = Path(__file__).resolve().parents[1]
GROUPS = (0x0008, 0x0010, 0x0012, 0x0032, 0x0038, 0x0040)
"""Identification, patient, clinical trial, study, visit and procedure."""
FURTHER = ("StudyID", "FrameOfReferenceUID", "DeviceSerialNumber", "ProtocolName", "StudyInstanceUID", "ImageComments")
OF_THE_IMAGE = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription"),
    *("InstanceCreationDate", "InstanceCreationTime", "LengthToEnd"),
)
"""Attributes that a series needs to be read, or that `i2net series` shows on purpose."""
TEXTS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT", "AE", "CS", "UR")
PLANTED = "ZQ"


def attributes() -> list[tuple[BaseTag, str]]:
    """Every attribute to plant, with its value representation."""
    named = [Tag(tag) for tag, entry in DicomDictionary.items() if tag >> 16 in GROUPS and entry[4]]
    wanted = [tag for tag in named if keyword_for_tag(tag) not in OF_THE_IMAGE] + [Tag(name) for name in FURTHER]
    return [(tag, DicomDictionary[tag][0].split(" ")[0]) for tag in wanted]


def planted(tag: BaseTag, vr: str, malformed: bool) -> str | None:
    """A distinctive value; None for representations of numbers that no search could tell from others."""
    token = f"{PLANTED}{tag:08X}"
    if vr in TEXTS:
        return f"{token} Mueller\\{'x' * 70}" if malformed else token
    valid = {
        "DA": f"187{int(tag) % 10}0214",
        "TM": f"035917.{int(tag) % 10**6:06d}",
        "DT": f"18730214035917.{int(tag) % 10**6:06d}",
        "UI": f"2.25.7340981{int(tag)}",
        "DS": f"73.4821{int(tag) % 10**6}",
        "IS": f"7348{int(tag) % 10**5}",
    }
    if vr not in valid:
        return None
    return f"born {token}" if malformed else valid[vr]


def plant(content: Dataset, malformed: bool) -> set[str]:
    """Plant every attribute as raw bytes, and return the texts to search for."""
    secrets = {PLANTED}
    for tag, vr in attributes():
        if vr == "SQ":
            item = Dataset()
            item.PatientName, item.PatientID = f"{PLANTED}{tag:08X}", f"{PLANTED}{tag:08X}"
            content.add_new(tag, "SQ", [item])
            continue
        value = planted(tag, vr, malformed)
        if value is None:
            continue
        data = (value + " " * (len(value) % 2)).encode()
        content[tag] = RawDataElement(tag, vr, len(data), data, 0, False, True, True)
        secrets.add(value)
    return secrets


def write_scan(folder: Path, label: Path, seed: int, malformed: bool) -> set[str]:
    """Write a phantom as a planted DICOM series with its label, and return the texts to search for."""
    hu, organs = ct_phantom(seed, (40, 40, 12), (9, 9, 20))
    secrets: set[str] = set()
    folder.mkdir()
    for number in range(hu.shape[2]):
        path = folder / f"{number:03d}.dcm"
        write_slice(path, (-180, -180, 20 * number), size=(40, 40), thickness="20")
        with pydicom.config.disable_value_validation():
            content = pydicom.dcmread(path)
            content.PixelSpacing = [9, 9]
            content.RescaleIntercept = 0
            content.PixelData = np.ascontiguousarray(hu[::-1, ::-1, number].T).astype("<i2").tobytes()
            secrets = plant(content, malformed)
            content.save_as(path)
    affine = np.diag([-9.0, -9.0, 20.0, 1.0])
    affine[:3, 3] = 180, 180, 0
    nib.save(nib.Nifti1Image(organs[::-1, ::-1], affine), label)
    return secrets


@pytest.fixture(scope="module", params=[False, True], ids=["valid values", "malformed values"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A data set of one planted DICOM series with its label, a list of two, and untrained weights."""
    root = tmp_path_factory.mktemp("study")
    secrets = write_scan(root / "scan", root / "label.nii.gz", 0, request.param)
    write_scan(root / "other", root / "other_label.nii.gz", 1, request.param)
    names = ("background", "aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen")
    labels = {str(number): name for number, name in enumerate((*names, "stomach"))}
    case, other = {"image": "scan", "label": "label.nii.gz"}, {"image": "other", "label": "other_label.nii.gz"}
    content = {"name": "S", "labels": labels, "modality": {"0": "CT"}, "training": [case]}
    (root / "dataset.json").write_text(json.dumps(content))
    (root / "two.json").write_text(json.dumps({**content, "validation": [other]}))
    torch.manual_seed(0)
    torch.save(synapse_i2net().state_dict(), root / "model.pt")
    return root, secrets


COMMANDS: dict[str, tuple[str, ...]] = {
    "check": ("check", "STUDY/scan"),
    "check of a data set": ("check", "STUDY", "--json"),
    "check as MR": ("check", "STUDY/scan", "--channels", "T2"),
    "series": ("series", "STUDY/scan"),
    "preview": ("preview", "STUDY", "--out", "OUT/preview"),
    "prepare": ("prepare", "synapse", "STUDY", "--out", "OUT/prepared"),
    "predict": (
        *("predict", "STUDY/scan", "-o", "OUT/masks", "--weights", "STUDY/model.pt", "--device", "cpu"),
        "--rtstruct",
    ),
    "predict of an unknown series": (
        *("predict", "STUDY/scan", "-o", "OUT/none", "--weights", "STUDY/model.pt", "--device", "cpu"),
        *("--series", "9"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_planted_value_is_printed_or_written(
    command: tuple[str, ...], study: tuple[Path, set[str]], tmp_path: Path
) -> None:
    root, secrets = study
    arguments = [part.replace("STUDY", str(root)).replace("OUT", str(tmp_path)) for part in command]
    environment = {**os.environ, "PYTHONWARNINGS": "always", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "i2net_bundle", *arguments], capture_output=True, env=environment, cwd=tmp_path
    )
    said: dict[str, bytes] = {"stdout": done.stdout, "stderr": done.stderr}
    said |= {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".dcm"}
    said |= {f"name of {path}": path.name.encode() for path in tmp_path.rglob("*")}
    found = {(secret, where) for secret in secrets for where, content in said.items() if secret.encode() in content}
    assert not found, (found, done.stderr[-2000:])
    assert b"Traceback" not in done.stderr
    assert bool(done.returncode) is bool({"T2", "9"} & set(command)), done.stderr[-2000:]
    if "OUT/masks" in command:
        assert all((tmp_path / "masks" / f"scan_{kind}.dcm").is_file() for kind in ("mask", "contours"))


@pytest.mark.slow
def test_the_values_are_where_the_commands_could_find_them(study: tuple[Path, set[str]]) -> None:
    root, secrets = study
    content = (root / "scan" / "000.dcm").read_bytes()
    assert len(secrets) > 300
    assert all(secret.encode() in content for secret in secrets)


RUN = ("--output_dir", "OUT/run", "--dataset_dir", "STUDY", "--datalist", "two.json", "--device", "cpu")
TRAIN = ("--encoder_weights", "none", "--image_size", "[32,32]", "--epochs", "1", "--val_interval", "1")
WORKFLOWS: dict[str, tuple[str, ...]] = {
    "training": ("monai.bundle", "run", "training", "--config_file", "CONFIGS/train.json", *RUN, *TRAIN),
    "evaluation": (
        *("monai.bundle", "run", "evaluating", "--config_file", "CONFIGS/evaluate.json", *RUN),
        *("--split", "validation", "--num_workers", "0"),
    ),
    "report": ("i2net_bundle", "report", "OUT/run"),
    "evaluation of masks": (
        *("i2net_bundle", "evaluate", "OUT/run/evaluation/masks", "STUDY", "--out", "OUT/scores"),
        *("--datalist", "two.json", "--split", "validation"),
    ),
}


def searched(path: Path) -> bytes:
    """Content of a file; of weights, everything but the numbers."""
    if path.suffix != ".pt":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".pkl"))


@pytest.mark.slow
def test_a_run_prints_and_writes_no_planted_value(study: tuple[Path, set[str]], tmp_path: Path) -> None:
    root, secrets = study
    places = {"STUDY": str(root), "OUT": str(tmp_path), "CONFIGS": str(ROOT / "configs")}
    environment = {**os.environ, "PYTHONPATH": CHILD_PATH, "PYTHONWARNINGS": "always", "COLUMNS": "200"}
    said: dict[str, bytes] = {}
    for name, command in WORKFLOWS.items():
        arguments = [re.sub("STUDY|OUT|CONFIGS", lambda found: places[found[0]], part) for part in command]
        done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, (name, done.stderr[-3000:])
        said |= {f"stdout of {name}": done.stdout, f"stderr of {name}": done.stderr}
    said |= {str(path): searched(path) for path in tmp_path.rglob("*") if path.is_file()}
    said |= {f"name of {path}": path.name.encode() for path in tmp_path.rglob("*")}
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    tokens = [secret.encode() for secret in secrets if secret != PLANTED]  # two letters occur in pictures by chance
    found = {(token, where) for token in tokens for where, content in said.items() if token in content}
    found |= {(match, where) for where, content in said.items() for match in re.findall(rb"ZQ[0-9A-F]{8}", content)}
    assert not found
