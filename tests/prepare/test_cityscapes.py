"""Cityscapes' folders become images, train ids and a data list, or an error that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.data import load_cases
from i2net_bundle.data.phantoms import make_street_phantoms
from i2net_bundle.io.findings import DataError
from i2net_bundle.prepare.cityscapes import prepare_cityscapes

SCENES = {
    "train": ["aachen_000000_000019", "bochum_000001_000019"],
    "val": ["lindau_000002_000019"],
    "test": ["berlin_000003_000019"],
}
# label ids: unlabeled, road, rider and parking; bicycle, ego vehicle, sky and road
LABEL_IDS = np.array([[0, 7, 25, 9], [33, 1, 23, 7]], np.uint8)
TRAIN_IDS = np.array([[255, 0, 12, 255], [18, 255, 10, 0]], np.uint8)
VOID_IDS = np.array([[0, 1, 2, 3], [0, 1, 2, 3]], np.uint8)


def image_file(source: Path, split: str, name: str) -> Path:
    return source / "leftImg8bit" / split / name.split("_")[0] / f"{name}_leftImg8bit.png"


def label_file(source: Path, split: str, name: str) -> Path:
    return source / "gtFine" / split / name.split("_")[0] / f"{name}_gtFine_labelIds.png"


def write_source(source: Path) -> Path:
    """All scenes with noise as images; public test annotations are void."""
    generator = np.random.default_rng(0)
    for split, scenes in SCENES.items():
        for name in scenes:
            image, label = image_file(source, split, name), label_file(source, split, name)
            for file in (image, label):
                file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (2, 4, 3), dtype=np.uint8)).save(image)
            Image.fromarray(VOID_IDS if split == "test" else LABEL_IDS).save(label)
            label.with_name(f"{name}_gtFine_color.png").write_bytes(b"not read")
    return source


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_phantoms_are_named_as_such(tmp_path: Path) -> None:
    make_street_phantoms(tmp_path / "source", 1, 1, 1, (64, 64))
    content = json.loads(prepare_cityscapes(tmp_path / "source", tmp_path / "out").read_text())
    assert content["name"] == "Street phantoms"
    assert [len(content[split]) for split in ("training", "validation", "test")] == [1, 1, 1]
    assert "label" not in content["test"][0]
    named = json.loads(prepare_cityscapes(write_source(tmp_path / "real"), tmp_path / "named").read_text())
    assert named["name"] == "Cityscapes"


def test_label_ids_become_train_ids_and_what_does_not_count_255(tmp_path: Path) -> None:
    out = prepare_cityscapes(write_source(tmp_path / "source"), tmp_path / "out").parent
    for name in (*SCENES["train"], *SCENES["val"]):
        np.testing.assert_array_equal(read(out / "labels" / f"{name}.png"), TRAIN_IDS)


def test_images_are_copied_byte_by_byte(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    out = prepare_cityscapes(source, tmp_path / "out").parent
    for split, scenes in SCENES.items():
        for name in scenes:
            copy = out / "images" / f"{name}.png"
            assert copy.read_bytes() == image_file(source, split, name).read_bytes()
            assert copy.stat().st_nlink == 1


def test_images_are_linked_on_request(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    out = prepare_cityscapes(source, tmp_path / "out", link=True).parent
    assert (out / "images" / "aachen_000000_000019.png").samefile(image_file(source, "train", SCENES["train"][0]))


def test_images_that_cannot_be_linked_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    source = write_source(tmp_path / "source")
    monkeypatch.setattr("os.link", refuse)
    message = (
        r"aachen_000000_000019_leftImg8bit\.png cannot be hard-linked \(Invalid cross-device link\).*without --link"
    )
    with pytest.raises(OSError, match=message):
        prepare_cityscapes(source, tmp_path / "out", link=True)


def test_the_data_list_contains_the_three_splits_and_no_label_of_void_test_annotations(tmp_path: Path) -> None:
    content = json.loads(prepare_cityscapes(write_source(tmp_path / "source"), tmp_path / "out").read_text())
    assert content["name"] == "Cityscapes"
    assert (len(content["labels"]), content["labels"]["0"], content["labels"]["18"]) == (19, "road", "bicycle")
    assert content["ignore_id"] == 255
    assert content["training"] == [
        {"image": f"./images/{name}.png", "label": f"./labels/{name}.png"} for name in SCENES["train"]
    ]
    assert content["validation"] == [
        {"image": "./images/lindau_000002_000019.png", "label": "./labels/lindau_000002_000019.png"}
    ]
    assert content["test"] == [{"image": "./images/berlin_000003_000019.png"}]
    assert not (tmp_path / "out" / "labels" / "berlin_000003_000019.png").exists()
    image = str(tmp_path / "out" / "images" / "berlin_000003_000019.png")
    assert load_cases(tmp_path / "out", "test") == [{"image": image, "case": "berlin_000003_000019"}]


def test_a_real_test_annotation_is_kept(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    Image.fromarray(LABEL_IDS).save(label_file(source, "test", SCENES["test"][0]))
    out = prepare_cityscapes(source, tmp_path / "out").parent
    np.testing.assert_array_equal(read(out / "labels" / "berlin_000003_000019.png"), TRAIN_IDS)
    assert load_cases(out, "test")[0]["label"].endswith("berlin_000003_000019.png")


def test_a_void_training_annotation_is_kept(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    Image.fromarray(VOID_IDS).save(label_file(source, "train", SCENES["train"][0]))
    out = prepare_cityscapes(source, tmp_path / "out").parent
    assert (read(out / "labels" / "aachen_000000_000019.png") == 255).all()


def test_the_manifest_counts_the_pixels_of_each_class(tmp_path: Path) -> None:
    out = prepare_cityscapes(write_source(tmp_path / "source"), tmp_path / "out").parent
    cases = json.loads((out / "manifest.json").read_text())["cases"]
    assert len(cases) == 4
    assert cases["lindau_000002_000019"]["split"] == "val"
    assert cases["lindau_000002_000019"]["label_counts"] == {
        "road": 2,
        "sky": 1,
        "rider": 1,
        "bicycle": 1,
        "ignored": 3,
    }
    assert cases["berlin_000003_000019"]["outputs"].keys() == {"image"}


def test_the_folder_above_will_do_and_what_macos_adds_is_passed_over(tmp_path: Path) -> None:
    write_source(tmp_path / "source" / "cityscapes")
    shadow = image_file(tmp_path / "source" / "__MACOSX", "train", "aachen_000000_000019")
    shadow.parent.mkdir(parents=True)
    shadow.write_bytes(b"\0")
    image = image_file(tmp_path / "source" / "cityscapes", "train", "aachen_000000_000019")
    image.with_name(f"._{image.name}").write_bytes(b"\0")
    out = prepare_cityscapes(tmp_path / "source", tmp_path / "out").parent
    assert len(list((out / "images").iterdir())) == 4


def make_archives(tmp_path: Path) -> Path:
    """The two archives as distributed, in a folder."""
    source = write_source(tmp_path / "unpacked")
    archives = tmp_path / "archives"
    for part in ("leftImg8bit", "gtFine"):
        shutil.make_archive(str(archives / f"{part}_trainvaltest"), "zip", source, part)
    return archives


def test_the_two_distributed_archives_are_read(tmp_path: Path) -> None:
    out = prepare_cityscapes(make_archives(tmp_path), tmp_path / "out").parent
    assert sorted(path.name for path in out.iterdir()) == ["dataset.json", "images", "labels", "manifest.json"]
    np.testing.assert_array_equal(read(out / "labels" / "aachen_000000_000019.png"), TRAIN_IDS)


def test_faults_within_an_archive_are_named_by_the_archive(tmp_path: Path) -> None:
    image_file(write_source(tmp_path / "unpacked"), "val", "lindau_000002_000019").write_bytes(b"")
    archive = shutil.make_archive(str(tmp_path / "cityscapes"), "zip", tmp_path / "unpacked")
    with pytest.raises(DataError) as caught:
        prepare_cityscapes(archive, tmp_path / "out")
    inside = "leftImg8bit/val/lindau/lindau_000002_000019_leftImg8bit.png"
    assert caught.value.findings[0].file == f"{archive}/{inside}"


@pytest.mark.parametrize("part", ["leftImg8bit", "gtFine"])
def test_a_missing_part_is_named(part: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    shutil.rmtree(source / part)
    message = (
        rf"source: contains neither a folder {part} nor {part}_trainvaltest\.zip\. Pass the folder that contains both"
    )
    with pytest.raises(DataError, match=message):
        prepare_cityscapes(source, tmp_path / "out")


def test_missing_images_and_annotations_are_counted_and_named(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    label_file(source, "train", SCENES["train"][1]).unlink()
    image_file(source, "val", SCENES["val"][0]).unlink()
    message = (
        r"lacks 2 files: bochum_000001_000019_gtFine_labelIds\.png, lindau_000002_000019_leftImg8bit\.png\. "
        r".*with --allow-missing"
    )
    with pytest.raises(FileNotFoundError, match=message):
        prepare_cityscapes(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_incomplete_scenes_that_are_allowed_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_source(tmp_path / "source")
    label_file(source, "train", SCENES["train"][1]).unlink()
    image_file(source, "val", SCENES["val"][0]).unlink()
    content = json.loads(prepare_cityscapes(source, tmp_path / "out", allow_missing=True).read_text())
    assert [case["image"] for case in content["training"]] == ["./images/aachen_000000_000019.png"]
    assert "validation" not in content
    assert "no val images with annotations" in caplog.text
    assert "bochum_000001_000019_gtFine_labelIds.png" in caplog.text


def test_a_source_without_training_images_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    for part in ("leftImg8bit", "gtFine"):
        shutil.rmtree(source / part / "train")
    with pytest.raises(FileNotFoundError, match=r"No training images in .*source\..*download the archives again"):
        prepare_cityscapes(source, tmp_path / "out")


def test_a_test_image_needs_no_annotation(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    shutil.rmtree(source / "gtFine" / "test")
    content = json.loads(prepare_cityscapes(source, tmp_path / "out").read_text())
    assert content["test"] == [{"image": "./images/berlin_000003_000019.png"}]


def test_unknown_ids_are_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    Image.fromarray(LABEL_IDS + 20).save(label_file(source, "val", SCENES["val"][0]))
    message = r"lindau_000002_000019_gtFine_labelIds\.png: is not .*contains labels 43, 45, 53.*as distributed"
    with pytest.raises(DataError, match=message):
        prepare_cityscapes(source, tmp_path / "out")


def test_all_faulty_files_are_reported_together_and_nothing_is_written(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    image = image_file(source, "train", SCENES["train"][0])
    image.write_bytes(image.read_bytes()[:60])
    label_file(source, "train", SCENES["train"][0]).write_bytes(b"<html>")
    Image.fromarray(LABEL_IDS[:, :3]).save(label_file(source, "val", SCENES["val"][0]))
    image_file(source, "test", SCENES["test"][0]).write_bytes(b"")
    with pytest.raises(DataError, match="ownload") as caught:
        prepare_cityscapes(source, tmp_path / "out")
    assert [Path(finding.file).name for finding in caught.value.findings] == [
        "aachen_000000_000019_leftImg8bit.png",
        "aachen_000000_000019_gtFine_labelIds.png",
        "lindau_000002_000019_gtFine_labelIds.png",
        "berlin_000003_000019_leftImg8bit.png",
    ]
    assert not (tmp_path / "out").exists()
