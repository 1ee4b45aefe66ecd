"""Faults of data lists, folders of nnU-Net and label tables."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from i2net_bundle.checks.dataset import check_path
from i2net_bundle.data import describe_dataset, load_cases, read_datalist
from i2net_bundle.evaluation.folders import evaluate_folders
from i2net_bundle.labels import label_table
from i2net_bundle.prepare import prepare_glas
from tests.checks.ct_files import hu_volume, label_volume, save
from tests.data.test_datalist import different
from tests.data.test_nnunet import write_folder
from tests.docs.faults.table import Make, Printed, found, refused


def nnunet(spoil: Callable[[Path], object] = lambda folder: None, **header: Any) -> Make:
    """A folder of nnU-Net v2 with two cases of two channels."""

    def make(folder: Path) -> Printed:
        path = write_folder(folder, **header)
        spoil(folder)
        return refused(lambda: read_datalist(path))

    return make


def listed(**contents: Any) -> Make:
    """A data list with these keys."""

    def make(folder: Path) -> Printed:
        (folder / "dataset.json").write_text(json.dumps({"training": ["a.nii.gz"], **contents}), encoding="utf-8")
        return refused(lambda: describe_dataset(folder))

    return make


def table_with_unknown_key(folder: Path) -> Printed:
    classes = [{"name": "background"}, {"name": "bladder", "colour": "#112233"}]
    (folder / "pelvis.json").write_text(json.dumps({"classes": classes}), encoding="utf-8")
    return refused(lambda: label_table(folder / "pelvis.json"))


def same_image(folder: Path) -> Printed:
    contents = {"training": ["b.nii.gz", "a.nii.gz"], "test": ["c.nii.gz", "d.nii.gz"]}
    (different(folder) / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    return refused(lambda: load_cases(folder, "training"))


def missing_files(folder: Path) -> Printed:
    contents = {"test": ["b.nii.gz", "c.nii.gz"]}
    (folder / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    return refused(lambda: load_cases(folder, "test"))


def repeated_image(folder: Path) -> Printed:
    for name in ("a", "b"):
        save(folder / f"{name}.nii.gz", hu_volume())
    (folder / "dataset.json").write_text(json.dumps({"test": ["a.nii.gz", "b.nii.gz"]}), encoding="utf-8")
    return found(check_path(folder).findings)


def unpaired(folder: Path) -> Printed:
    save(folder / "masks" / "p1_mask.nii.gz", label_volume())
    save(folder / "labels" / "p1.nii.gz", label_volume())
    save(folder / "labels" / "p2.nii.gz", label_volume())
    return refused(lambda: evaluate_folders(folder / "masks", folder / "labels", folder / "out"))


def two_masks(folder: Path) -> Printed:
    for name in ("p1_mask", "p1"):
        save(folder / "masks" / f"{name}.nii.gz", label_volume())
    save(folder / "labels" / "p1.nii.gz", label_volume())
    return refused(lambda: evaluate_folders(folder / "masks", folder / "labels", folder / "out"))


def damaged_archive(folder: Path) -> Printed:
    (folder / "data.zip").write_bytes(b"PK\x03\x04 cut")
    return refused(lambda: prepare_glas("data.zip", "out"))


def bomb(folder: Path) -> Printed:
    """A small archive that unpacks to 4 GB, by its header."""
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        archive.writestr("train_1.bmp", b"")
    content = (folder / "data.zip").read_bytes()
    size = content.index(b"PK\x01\x02") + 24
    (folder / "data.zip").write_bytes(content[:size] + (2**32 - 2).to_bytes(4, "little") + content[size + 4 :])
    return refused(lambda: prepare_glas("data.zip", "out"))


def other_folder(folder: Path) -> Printed:
    (folder / "glas").mkdir()
    return refused(lambda: prepare_glas("glas", "out"))


FAULTS: dict[str, Make] = {
    "no data list": lambda folder: refused(lambda: load_cases(folder, "test")),
    "files of the data list are missing": missing_files,
    "no cases": nnunet(cases=()),
    "nnU-Net: the file of a channel is missing": nnunet(lambda folder: (folder / "imagesTr/p_2_0001.nii.gz").unlink()),
    "nnU-Net: more files than channels": nnunet(lambda folder: (folder / "imagesTr/p_1_0002.nii.gz").touch()),
    "nnU-Net: no label": nnunet(lambda folder: (folder / "labelsTr/p_1.nii.gz").unlink()),
    "nnU-Net: a label without images": nnunet(lambda folder: (folder / "labelsTr/p_3.nii.gz").touch()),
    "nnU-Net: wrong number of cases": nnunet(numTraining=3),
    "labels are regions": listed(labels={"background": 0, "whole": [1, 2], "core": [2]}),
    "gap in the label ids": listed(labels={"0": "background", "1": "liver", "3": "spleen"}),
    "two labels with the same id, or the same name": listed(labels={"background": 0, "liver": 1, "spleen": 1}),
    "three labels for masks of two classes": listed(
        labels={"0": "background", "1": "gland", "2": "lumen"}, label_values="instances", training=["a.png"]
    ),
    "wrong number of files for the channels": listed(
        labels={"0": "background", "1": "tumour"}, training=[{"image": ["t2.nii.gz", "adc.nii.gz"]}]
    ),
    "invalid label table": table_with_unknown_key,
    "the same image in training and test": same_image,
    "the same image twice in a list": repeated_image,
    "preparation: not the expected folder": other_folder,
    "preparation: damaged archive": damaged_archive,
    "preparation: archive that unpacks to gigabytes": bomb,
    "scoring: a label without a prediction": unpaired,
    "scoring: two masks of one case": two_masks,
}
