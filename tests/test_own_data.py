"""A user's own data from `check` to statistics and DICOM-SEG: every file, page and log uses the data's own names."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from tests.child_processes import CHILD_PATH

ROOT = Path(__file__).resolve().parents[1]
ABDOMINAL = ("aorta", "gallbladder", "kidney", "liver", "pancreas", "stomach")
SMALL = ["--epochs", "1", "--val_interval", "1", "--batch_size", "4", "--num_workers", "0", "--device", "cpu"]

pytestmark = pytest.mark.slow


def run(*command: str, check: bool = True) -> str:
    """Run a module of this checkout as a user would; returns everything it printed."""
    environment = os.environ | {"PYTHONPATH": CHILD_PATH, "MONAI_FAIL_ON_DUPLICATE_CONFIG": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, encoding="utf-8", cwd=ROOT
    )
    output = done.stdout + done.stderr
    assert (done.returncode == 0) is check, output[-5000:]
    return output


def configs(*names: str) -> str:
    return str([str(ROOT / "configs" / name) for name in names])


def train(data: Path, folder: Path, *options: str, overlays: tuple[str, ...] = (), check: bool = True) -> str:
    files = configs("train.json", *overlays)
    common = ["--dataset_dir", str(data), "--output_dir", str(folder), "--encoder_weights", "none"]
    return run("monai.bundle", "run", "training", "--config_file", files, *common, *SMALL, *options, check=check)


def evaluate(data: Path, folder: Path, *options: str, overlays: tuple[str, ...] = (), check: bool = True) -> str:
    files = configs("evaluate.json", *overlays)
    common = ["--dataset_dir", str(data), "--output_dir", str(folder), "--device", "cpu"]
    return run("monai.bundle", "run", "evaluating", "--config_file", files, *common, *options, check=check)


def text_of(folder: Path) -> str:
    """All text that a run left: tables, records, pages; embedded pictures are cut out."""
    suffixes = (".csv", ".json", ".html", ".md", ".txt")
    parts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*")) if path.suffix in suffixes]
    return re.sub(r"data:image/[^\"']+", "", "\n".join(parts))


def classes_in(table: Path) -> set[str]:
    with table.open(newline="", encoding="utf-8") as file:
        return {row["class"] for row in csv.DictReader(file)}


def assert_speaks_of(text: str, names: tuple[str, ...], never: tuple[str, ...]) -> None:
    for name in names:
        assert name in text, name
    for name in never:
        assert not re.search(rf"\b{name}\b", text, re.IGNORECASE), name


def relabelled(source: Path, folder: Path, labels: dict[str, str]) -> Path:
    """A copy of a data set whose data list declares other classes."""
    shutil.copytree(source, folder)
    contents = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**contents, "labels": labels}))
    return folder


def series_of(volume: Path, folder: Path) -> None:
    """Write a CT as an axial DICOM series."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    image = nib.as_closest_canonical(nib.load(volume))
    voxels = np.flip(np.asarray(image.dataobj), (0, 1)).astype(np.int16)  # LPS: columns to the left, rows to posterior
    spacing = nib.affines.voxel_sizes(image.affine)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        item.StudyInstanceUID, item.SeriesInstanceUID, item.FrameOfReferenceUID = study, series, frame
        item.PatientName, item.PatientID, item.Modality = "PHANTOM", "1", "CT"
        item.PatientBirthDate = item.PatientSex = item.StudyDate = item.StudyTime = item.AccessionNumber = ""
        item.ReferringPhysicianName = item.StudyID = item.Manufacturer = item.PositionReferenceIndicator = ""
        item.SeriesNumber, item.InstanceNumber, item.ImageType = 1, index + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
        item.Rows, item.Columns = voxels.shape[1], voxels.shape[0]
        item.PixelSpacing, item.SliceThickness = [float(spacing[1]), float(spacing[0])], float(spacing[2])
        item.ImagePositionPatient = [0.0, 0.0, float(index * spacing[2])]
        item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = 1, 0, "HU"
        item.PixelData = np.ascontiguousarray(voxels[:, :, index].T).tobytes()
        pydicom.dcmwrite(folder / f"{index:03d}.dcm", item, enforce_file_format=True)


@pytest.fixture(scope="module")
def decathlon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Decathlon folder with two classes that no table lists in this order."""
    folder = tmp_path_factory.mktemp("own") / "Task99_Spleen"
    contents = json.loads(make_ct_phantoms(folder, 3, 1, 1, (48, 40, 16), (8, 8, 15)).read_text())
    for path in folder.glob("labels*/*.nii.gz"):
        image = nib.load(path)
        labels = np.asarray(image.dataobj)
        own = np.where(labels == 7, 1, 0) + np.where(labels == 5, 2, 0)  # spleen; the liver stands in for a tumour
        nib.save(nib.Nifti1Image(own.astype(np.uint8), image.affine, image.header), path)
    cases = {split: contents[split] for split in ("training", "validation", "test")}
    header = {"name": "Own", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen", "2": "tumour"}}
    (folder / "dataset.json").write_text(json.dumps({**header, **cases}))
    return folder


def test_a_decathlon_folder_keeps_its_names_from_check_to_dicom_seg(decathlon: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    folder, own = tmp_path / "run", ("spleen", "tumour")
    said = run("i2net_bundle", "check", str(decathlon))
    said += train(decathlon, folder, "--image_size", "[32,32]")
    said += evaluate(decathlon, folder)
    said += run("i2net_bundle", "report", str(folder))
    volume = sorted((decathlon / "imagesTs").glob("*.nii.gz"))[0]
    series_of(volume, tmp_path / "series")
    weights = ["--weights", str(folder / "model.pt"), "--device", "cpu"]
    masks = tmp_path / "masks"
    said += run("i2net_bundle", "predict", str(volume), str(tmp_path / "series"), "-o", str(masks), *weights)
    assert classes_in(folder / "evaluation" / "metrics.csv") == set(own)
    segmentation = pydicom.dcmread(next(masks.glob("*.dcm")))
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == list(own)
    meanings = [segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for segment in segmentation.SegmentSequence]
    assert meanings[0] == "Spleen" and "Aorta" not in meanings
    assert_speaks_of(said + text_of(folder) + text_of(masks), own, ABDOMINAL)


def test_a_list_whose_labels_contradict_the_weights_is_refused(decathlon: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(decathlon, folder, "--image_size", "[32,32]")
    other = relabelled(decathlon, tmp_path / "other", {"0": "background", "1": "aorta", "2": "gallbladder"})
    said = evaluate(other, folder, check=False)
    last = said.strip().splitlines()[-1]
    for part in (str(other / "dataset.json"), "aorta", "gallbladder", str(folder), "spleen", "tumour"):
        assert part in last, last
    assert not (folder / "evaluation" / "metrics.csv").exists()


def test_masks_with_more_values_than_classes_are_refused(decathlon: Path, tmp_path: Path) -> None:
    other = relabelled(decathlon, tmp_path / "other", {"0": "background", "1": "spleen"})
    for said in (
        run("i2net_bundle", "check", str(other), check=False),
        train(other, tmp_path / "run", "--image_size", "[32,32]", check=False),
    ):
        assert re.search(r"labelsTr/.*contains .*\b2\b.*classes.*background, spleen", said), said[-1500:]
    assert not (tmp_path / "run" / "model.pt").exists()


@pytest.fixture(scope="module")
def nnunet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An nnU-Net v2 folder with two channels in arbitrary units."""
    folder = tmp_path_factory.mktemp("own") / "Dataset042_Prostate"
    made = tmp_path_factory.mktemp("made")
    contents = json.loads(make_ct_phantoms(made, 3, 0, 1, (48, 40, 16), (8, 8, 15)).read_text())
    rng = np.random.default_rng(0)
    for split, cases in (("Tr", contents["training"]), ("Ts", contents["test"])):
        for kind in ("images", "labels"):
            (folder / f"{kind}{split}").mkdir(parents=True, exist_ok=True)
        for index, case in enumerate(cases):
            image, label = (nib.load(made / case[kind]) for kind in ("image", "label"))
            hu = np.asarray(image.dataobj, np.float32)
            for channel, values in enumerate((900 + 0.4 * hu, 500 - 0.2 * hu)):
                noisy = np.clip(values + rng.normal(0, 20, hu.shape), 0, None).astype(np.float32)
                path = folder / f"images{split}" / f"pro_{split}{index}_{channel:04d}.nii.gz"
                nib.save(nib.Nifti1Image(noisy, image.affine), path)
            own = (np.asarray(label.dataobj) == 5).astype(np.uint8)
            nib.save(nib.Nifti1Image(own, label.affine), folder / f"labels{split}" / f"pro_{split}{index}.nii.gz")
    contents = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": {"background": 0, "prostate": 1},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(contents))
    return folder


def test_an_nnunet_folder_of_two_mr_channels_works_as_it_is(nnunet: Path, tmp_path: Path) -> None:
    folder, masks = tmp_path / "run", tmp_path / "masks"
    said = run("i2net_bundle", "check", str(nnunet))
    assert "T2" in said and "ADC" in said and "Hounsfield" not in said
    said += train(nnunet, folder, "--image_size", "[32,32]")
    said += evaluate(nnunet, folder)
    weights = ["--weights", str(folder / "model.pt"), "--device", "cpu"]
    said += run("i2net_bundle", "predict", str(nnunet / "imagesTs"), "-o", str(masks), *weights)
    assert classes_in(folder / "evaluation" / "metrics.csv") == {"prostate"}
    (mask,) = masks.glob("*_mask.nii.gz")
    assert mask.name == "pro_Ts0_mask.nii.gz"
    image = nib.load(nnunet / "imagesTs" / "pro_Ts0_0000.nii.gz")
    assert nib.load(mask).shape == image.shape and np.allclose(nib.load(mask).affine, image.affine)
    record = json.loads((folder / "settings.json").read_text())
    assert record["channels"] == ["T2", "ADC"]
    statistics = json.loads((masks / "statistics.json").read_text())
    assert not any("hu" in key for case in statistics.values() for organ in case.values() for key in organ)
    assert_speaks_of(said + text_of(folder) + text_of(masks), ("prostate", "T2", "ADC"), (*ABDOMINAL, "spleen"))


@pytest.fixture(scope="module")
def tissues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Histology of three classes, as class ids in PNG masks."""
    folder = tmp_path_factory.mktemp("own") / "tissues"
    contents = json.loads(make_gland_phantoms(folder, 4, 1, 2, (96, 128)).read_text())
    for path in {folder / case["label"] for split in ("training", "validation", "test") for case in contents[split]}:
        glands = np.asarray(Image.open(path)) > 0
        rim = glands & ~(
            np.roll(glands, 4, 0) & np.roll(glands, -4, 0) & np.roll(glands, 4, 1) & np.roll(glands, -4, 1)
        )
        Image.fromarray(glands.astype(np.uint8) + rim).save(path)
    cases = {split: contents[split] for split in ("training", "validation", "test")}
    header = {"name": "Tissues", "labels": {"0": "stroma", "1": "lumen", "2": "epithelium"}}
    (folder / "dataset.json").write_text(json.dumps({**header, **cases}))
    return folder


def test_histology_of_three_classes_is_trained_and_scored_as_three(tissues: Path, tmp_path: Path) -> None:
    folder, masks, own = tmp_path / "run", tmp_path / "masks", ("lumen", "epithelium")
    said = run("i2net_bundle", "check", str(tissues))
    said += train(tissues, folder, "--image_size", "[64,64]", overlays=("histology.yaml", "histology_train.yaml"))
    said += evaluate(tissues, folder, overlays=("histology.yaml",))
    said += run("i2net_bundle", "report", str(folder))
    weights = ["--weights", str(folder / "model.pt"), "--device", "cpu"]
    images = [str(tissues / case["image"]) for case in json.loads((tissues / "dataset.json").read_text())["test"]]
    said += run("i2net_bundle", "predict", *images, "-o", str(masks), *weights)
    assert classes_in(folder / "evaluation" / "metrics.csv") == set(own)
    record = json.loads((folder / "settings.json").read_text())
    assert [item["name"] for item in record["classes"]] == ["stroma", *own]
    assert all(np.asarray(Image.open(path)).max() <= 2 for path in masks.glob("*_mask.png"))
    assert len(list(masks.glob("*_mask.png"))) == 2
    assert_speaks_of(said + text_of(folder) + text_of(masks), ("stroma", *own), ("glands?", *ABDOMINAL))


def test_undeclared_instance_masks_are_refused_with_both_remedies(tissues: Path, tmp_path: Path) -> None:
    other = relabelled(tissues, tmp_path / "other", {"0": "background", "1": "gland"})
    said = run("i2net_bundle", "check", str(other), check=False)
    assert re.search(r'"label_values" in dataset.json.*: instances if .*name them in the labels', said), said[-1500:]
    train(other, tmp_path / "run", overlays=("histology.yaml", "histology_train.yaml"), check=False)
