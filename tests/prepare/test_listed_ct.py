"""CT folders with a data list, of the Decathlon or nnU-Net, are prepared by the names of their labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.data.phantoms import ct_phantom
from i2net_bundle.io.findings import DataError
from i2net_bundle.labels import class_names
from i2net_bundle.prepare import prepare_synapse
from tests.prepare.ct_lookalikes import SHAPE, SPACING_MM, patient, stored

KEYS = ("image", "label")


def test_another_numbering_in_circulation_is_recognised_by_its_organs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, label = ct_phantom(5, SHAPE, SPACING_MM)
    gapless = np.array([0, 7, 4, 3, 2, 5, 8, 1, 6], np.uint8)[label]  # the challenge's order without its gaps
    (tmp_path / "source").mkdir()
    for name, array in zip(KEYS, (image, gapless), strict=True):
        nib.save(stored(array, "LPS"), tmp_path / "source" / f"{name}.nii.gz")
    names = {str(index): name for index, name in enumerate(class_names("synapse"))}  # as if it were this bundle's order
    contents = {"labels": names, "training": [{"image": "./image.nii.gz", "label": "./label.nii.gz"}]}
    (tmp_path / "source" / "dataset.json").write_text(json.dumps(contents))
    prepare_synapse(tmp_path / "source", tmp_path / "wrong")
    assert "organs out of place" in caplog.text
    assert "label.nii.gz: fits the numbering 'btcv8' better" in caplog.text
    right = prepare_synapse(tmp_path / "source", tmp_path / "right", numbering="btcv8")
    (case,) = json.loads(right.read_text())["training"]
    np.testing.assert_array_equal(np.asarray(nib.load(right.parent / case["label"]).dataobj), label)


def write_decathlon(folder: Path, labels: dict[str, Any], orientation: str = "LPS") -> Path:
    folder.mkdir()
    image, raw = patient(5)
    for name, array in zip(KEYS, (image, raw), strict=True):
        nib.save(stored(array, orientation), folder / f"{name}.nii.gz")
    contents = {"labels": labels, "validation": [{"image": "./image.nii.gz", "label": "./label.nii.gz"}]}
    (folder / "dataset.json").write_text(json.dumps(contents))
    return folder


BTCV_NAMES = [
    "background",
    "Spleen",
    "kidney_right",
    "Left Kidney",
    "gall bladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "postcava",
    "portal vein and splenic vein",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
]


@pytest.mark.parametrize(
    "labels",
    [
        {str(index): name for index, name in enumerate(BTCV_NAMES)},
        {name: index for index, name in enumerate(BTCV_NAMES)},
    ],
    ids=["ids to names, as the Decathlon", "names to ids, as nnU-Net"],
)
def test_a_decathlon_folder_is_mapped_by_the_names_of_its_labels(tmp_path: Path, labels: dict[str, Any]) -> None:
    prepared = prepare_synapse(write_decathlon(tmp_path / "source", labels), tmp_path / "out")
    contents = json.loads(prepared.read_text())
    (case,) = contents["validation"]
    label = np.asarray(nib.load(prepared.parent / case["label"]).dataobj)
    np.testing.assert_array_equal(label, ct_phantom(5, SHAPE, SPACING_MM)[1])


def test_an_unknown_organ_of_a_decathlon_folder_is_refused(tmp_path: Path) -> None:
    labels = {"0": "background", "1": "spleen", "2": "heart"}
    with pytest.raises(ValueError, match=r"Label 2 'heart' is not a class of synapse"):
        prepare_synapse(write_decathlon(tmp_path / "source", labels), tmp_path / "out")


def test_the_real_volumes_are_prepared_without_a_finding(
    shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    names = class_names("synapse")
    cases = []
    for volume in ("abdomen_3mm", "abdomen_20slices"):
        for part in ("ct", "label8"):
            (source / f"{volume}_{part}.nii.gz").symlink_to(shared / "data" / "ct" / f"{volume}_{part}.nii.gz")
        cases.append({"image": f"./{volume}_ct.nii.gz", "label": f"./{volume}_label8.nii.gz"})
    contents = {"labels": {str(index): name for index, name in enumerate(names)}, "training": cases}
    (source / "dataset.json").write_text(json.dumps(contents))
    prepared = prepare_synapse(source, tmp_path / "out")
    assert not caplog.records
    for case, after in zip(cases, json.loads(prepared.read_text())["training"], strict=True):
        for key in KEYS:
            before = nib.as_closest_canonical(nib.load(source / case[key]))
            written = nib.load(prepared.parent / after[key])
            np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(before.dataobj))
            np.testing.assert_allclose(written.affine, before.affine, atol=1e-3)


def write_nnunet(folder: Path, channels: int = 1, cases: int = 2) -> Path:
    """CT phantoms in nnU-Net's form, with a tumour that is no class of the table left out."""
    for index in range(cases):
        image, label = ct_phantom(index, SHAPE, SPACING_MM)
        for channel in range(channels):
            path = folder / "imagesTr" / f"p{index}_000{channel}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(stored(image, "LPS"), path)
        path = folder / "labelsTr" / f"p{index}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(stored(label, "LPS"), path)
    folder.mkdir(exist_ok=True)
    labels = {name: index for index, name in enumerate(class_names("synapse"))}
    names = {str(channel): "CT" for channel in range(channels)}
    content = {"channel_names": names, "labels": labels, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_an_nnunet_folder_is_prepared_by_the_names_of_its_labels(tmp_path: Path) -> None:
    out = prepare_synapse(write_nnunet(tmp_path / "source"), tmp_path / "out")
    content = json.loads(out.read_text())
    assert [case["image"] for case in content["training"]] == ["./imagesTr/p0.nii.gz", "./imagesTr/p1.nii.gz"]
    for index, case in enumerate(content["training"]):
        wanted = ct_phantom(index, SHAPE, SPACING_MM)
        for key, array in zip(KEYS, wanted, strict=True):
            np.testing.assert_array_equal(np.asarray(nib.load(out.parent / case[key]).dataobj), array)


def test_a_data_set_in_a_subfolder_is_found(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "source" / "Dataset001_CT", cases=1)
    assert json.loads(prepare_synapse(tmp_path / "source", tmp_path / "out").read_text())["training"]


def test_an_nnunet_folder_without_cases_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json: lists no cases, and its imagesTr is empty or missing"):
        prepare_synapse(write_nnunet(tmp_path / "source", cases=0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_channels_are_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has 2 channels, and this preparation takes CT\. .*trained on as it is"):
        prepare_synapse(write_nnunet(tmp_path / "source", channels=2), tmp_path / "out")
