"""``i2net predict`` on small phantoms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import pytest
import torch

from i2net_bundle.cli import main
from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.networks import synapse_i2net


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("predict")
    make_ct_phantoms(root / "ct", 1, 0, 1, shape=(40, 36, 8), spacing_mm=(9, 9, 20))
    torch.manual_seed(0)
    torch.save(synapse_i2net().state_dict(), root / "model.pt")
    (root / "model.pt").with_name("settings.json").write_text(
        json.dumps({"network": {"image_size": [32, 32]}, "training": {"num_learners": 3, "task": "synapse"}})
    )
    return root


def predict(folder: Path, out: Path, *inputs: Path, options: tuple[str, ...] = ()) -> None:
    paths = [str(path) for path in inputs or [folder / "ct" / "imagesTs"]]
    main(["predict", *paths, "-o", str(out), "--weights", str(folder / "model.pt"), "--device", "cpu", *options])


def test_a_folder_becomes_masks_statistics_and_a_record(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(folder, out, options=("--uncertainty", "--probabilities"))
    (image,) = (folder / "ct" / "imagesTs").iterdir()
    case = image.name.split(".")[0]
    mask = nib.load(out / f"{case}_mask.nii.gz")
    assert mask.shape == nib.load(image).shape and mask.get_data_dtype() == "uint8"
    assert nib.load(out / f"{case}_probabilities.nii.gz").shape == (*mask.shape, 9)
    assert (out / f"{case}_entropy.nii.gz").is_file() and (out / "pictures" / f"{case}.png").is_file()
    assert case in json.loads((out / "statistics.json").read_text())
    record = json.loads((out / "prediction.json").read_text())
    assert record["failed"] == [] and len(record["weights"][0]["sha256"]) == 64
    assert not (out / "failed.csv").exists()


def test_a_file_that_cannot_be_used_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"<html>")
    with pytest.raises(SystemExit) as caught:
        predict(folder, tmp_path / "out", broken, folder / "ct" / "imagesTs", options=("--no-pictures", "--page"))
    assert caught.value.code == 1
    assert str(tmp_path / "out" / "view.html") in capsys.readouterr().out.splitlines()
    page = (tmp_path / "out" / "view.html").read_text(encoding="utf-8")
    assert 'id="data-0-image"' in page and "is an HTML or XML page" in page
    with (tmp_path / "out" / "failed.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == str(broken) and "is an HTML or XML page" in row["reason"]
    assert list((tmp_path / "out").glob("*_mask.nii.gz"))


def test_parts_are_merged_and_told_in_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (image,) = (folder / "ct" / "imagesTs").iterdir()
    (tmp_path / "broken.nii.gz").write_bytes(b"<html>")
    (tmp_path / "cases.csv").write_text(f"ct\n{image}\nbroken.nii.gz\n")
    out, told = tmp_path / "out", []
    for number in (1, 2):
        options = ("--column", "ct", "--part", f"{number}/2", "--no-pictures", "--threads", "1", "--json")
        try:
            predict(folder, out, tmp_path / "cases.csv", options=options)
        except SystemExit as end:
            assert end.code in (1, 3)
        told.append(json.loads(capsys.readouterr().out))
    assert sum(answer["images"] for answer in told) == 2
    assert [item["image"] for answer in told for item in answer["failed"]] == [str(tmp_path / "broken.nii.gz")]
    with pytest.raises(SystemExit) as caught:
        main(["merge", str(out)])
    assert caught.value.code == 1
    assert capsys.readouterr().out == f"{out}\nFailed: 1 image. {out}/failed.csv lists the reasons.\n"


def test_all_failed_has_a_status_of_its_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"<html>")
    with pytest.raises(SystemExit) as caught:
        predict(folder, tmp_path / "out", tmp_path / "broken.nii.gz")
    assert caught.value.code == 3


def test_results_are_not_overwritten_by_default(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "masks.txt").touch()
    with pytest.raises(SystemExit, match="already contains results"):
        predict(folder, tmp_path)


def test_overwriting_replaces_results(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(folder, out, options=("--no-pictures", "--uncertainty"))
    predict(folder, out, options=("--no-pictures", "--overwrite"))
    assert not (out / "failed.csv").exists()
    assert list(out.glob("*_mask.nii.gz")) and not list(out.glob("*_entropy.nii.gz"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "imagesize=[32,32]"), "did you mean 'image_size'"),
        (("--set", "image_size"), "takes ID=VALUE"),
        (("--set", "image_size=[224,224]"), r"model\.pt was trained with image_size \[32, 32\], here \[224, 224\]"),
        (("--labels", "nope"), r"i2net: .*'nope'"),
        (("--overlay", "absent.yaml"), r"The configuration absent\.yaml does not exist"),
        (("--device", "foo"), "This machine has no device 'foo'"),
        (("--task", "histology"), "model.pt was trained for the task 'ct', not 'histology'"),
        (("--part", "0/2"), "parts are numbered from 1 to 2"),
        (("--memory", "much"), "'much' is no amount of memory"),
        (("--scheduler", "tcp://a:1", "--workers", "2"), "With --scheduler, give them to `dask worker`"),
        (("--um-per-px", "0.5", "--resample"), "--um-per-px, --resample: only for histology, but the task is ct"),
    ],
    ids=[
        "misspelt",
        "no value",
        "other size",
        "no table",
        "no overlay",
        "no device",
        "other task",
        "part 0",
        "no memory",
        "workers elsewhere",
        "of histology",
    ],
)
def test_wrong_options_are_refused_before_any_work(
    folder: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        predict(folder, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()
