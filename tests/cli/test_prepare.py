"""``i2net prepare``: what it prints, what it leaves out, and how it ends."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import status_of
from tests.prepare.ct_lookalikes import write_btcv, write_transunet

IDS = np.array([[0, 1, 1, 0], [0, 2, 0, 7]], np.uint8)


LABEL_IDS = np.array([[0, 7, 25, 9], [33, 1, 23, 7]], np.uint8)


def noise(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (2, 4, 3), dtype=np.uint8))


def write_glas(folder: Path) -> Path:
    """Five training images of four patients, and one test image."""
    folder.mkdir()
    rows = ["name,patient ID, grade (GlaS)"]
    for number, (name, patient, grade) in enumerate(
        [
            ("train_1", 1, "benign"),
            ("train_2", 2, "malignant"),
            ("train_3", 3, "benign"),
            ("train_4", 4, "malignant"),
            ("train_5", 4, "malignant"),
            ("testA_1", 5, "benign"),
        ]
    ):
        rows.append(f"{name},{patient}, {grade}")
        noise(number).save(folder / f"{name}.bmp")
        Image.fromarray(IDS).save(folder / f"{name}_anno.bmp")
    (folder / "Grade.csv").write_text("\r".join(rows), encoding="utf-8")
    return folder


def write_cityscapes(folder: Path) -> Path:
    """Two scenes for training, one for validation."""
    for number, (split, name) in enumerate([("train", "aachen_0_0"), ("train", "bochum_0_0"), ("val", "lindau_0_0")]):
        for part, end, picture in (
            ("leftImg8bit", "leftImg8bit", noise(number)),
            ("gtFine", "gtFine_labelIds", Image.fromarray(LABEL_IDS)),
        ):
            path = folder / part / split / name.split("_")[0] / f"{name}_{end}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return folder


def write_raw(folder: Path) -> Path:
    return write_btcv(folder, [5, 8])


PREPARATIONS: list[Any] = [
    pytest.param("synapse", write_raw, ["--allow-missing"], id="synapse"),
    pytest.param("glas", write_glas, ["--folds", "2"], id="glas"),
    pytest.param("cityscapes", write_cityscapes, [], id="cityscapes"),
]


@pytest.mark.parametrize(("kind", "write", "options"), PREPARATIONS)
def test_a_preparation_says_where_the_data_set_is_and_how_to_look_at_it(
    kind: str, write: Callable[[Path], Path], options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert status_of(["prepare", kind, str(write(tmp_path / "source")), "--out", str(out), *options]) == 0
    assert capsys.readouterr().out == f"{out / 'dataset.json'}\nLook at it: i2net preview {out}\n"
    assert not (out / "failed.csv").exists()
    assert status_of(["check", str(out)]) == 0
    assert status_of(["preview", str(out)]) == 0
    assert (out / "preview" / "index.html").is_file()


def break_synapse(source: Path) -> Path:
    path = source / "img" / "img0008.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    return path


def break_glas(source: Path) -> Path:
    (source / "train_5.bmp").write_bytes(b"")
    return source / "train_5.bmp"


def break_cityscapes(source: Path) -> Path:
    path = source / "gtFine" / "train" / "bochum" / "bochum_0_0_gtFine_labelIds.png"
    Image.fromarray(LABEL_IDS + 20).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "write", "spoil", "options"),
    [
        ("synapse", write_raw, break_synapse, []),
        ("glas", write_glas, break_glas, ["--folds", "2"]),
        ("cityscapes", write_cityscapes, break_cityscapes, []),
    ],
    ids=["synapse", "glas", "cityscapes"],
)
def test_files_left_out_of_a_preparation_are_listed_and_the_status_is_1(
    kind: str,
    write: Callable[[Path], Path],
    spoil: Callable[[Path], Path],
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = write(tmp_path / "source"), tmp_path / "out"
    broken = spoil(source)
    argv = ["prepare", kind, str(source), "--out", str(out), "--allow-missing", *options]
    assert status_of(argv) == 1
    assert capsys.readouterr().out == (
        f"{out / 'dataset.json'}\nLook at it: i2net preview {out}\n"
        f"Some files could not be used; {out / 'failed.csv'} lists them.\n"
    )
    with (out / "failed.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "problem", "remedy"]
    assert [row[0] for row in rows] == [str(broken)]


def test_without_allow_missing_a_broken_file_stops_the_preparation(tmp_path: Path) -> None:
    source = write_glas(tmp_path / "source")
    broken = break_glas(source)
    status = status_of(["prepare", "glas", str(source), "--out", str(tmp_path / "out"), "--folds", "2"])
    assert status == f"i2net: {broken}: is empty. Download or export it again."
    assert not (tmp_path / "out").exists()


def test_transunet_s_slices_are_prepared_with_their_orientation_given(tmp_path: Path) -> None:
    source = write_transunet(tmp_path / "source", [5], [], "SAR")
    options = ["--allow-missing", "--orientation", "SAR", "--numbering", "transunet"]
    assert status_of(["prepare", "synapse", str(source), "--out", str(tmp_path / "out"), *options]) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["options"]["orientation"], manifest["options"]["numbering"]) == ("SAR", "transunet")
