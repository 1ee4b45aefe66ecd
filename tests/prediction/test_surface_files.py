"""Surface files are closed, have the volume of the voxels, and lie where DICOM and glTF say."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import trimesh

from i2net_bundle.cli import main
from i2net_bundle.labels import classes_of
from i2net_bundle.prediction import surfaces
from i2net_bundle.prediction.cohort_record import CaseRecord
from i2net_bundle.prediction.surface_files import _file_name, write_surfaces

BOXES = {1: (slice(4, 14), slice(4, 14), slice(4, 12)), 5: (slice(18, 30), slice(16, 30), slice(6, 18))}
CENTER_RAS_MM = {1: (-23, 36, 122.5), 5: (7, 92, 134.5)}  # of the voxels' centres


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """Aorta (1) and liver (5) as boxes of 2 × 4 × 3 mm voxels."""
    voxels = np.zeros((34, 34, 24), np.uint8)
    for index, box in BOXES.items():
        voxels[box] = index
    affine = np.diag([2.0, 4.0, 3.0, 1.0])
    affine[:3, 3] = (-40, 2, 100)
    nib.Nifti1Image(voxels, affine).to_filename(tmp_path / "ct_mask.nii.gz")
    return tmp_path / "ct_mask.nii.gz"


def voxel_ml(index: int) -> float:
    return float(np.prod([part.stop - part.start for part in BOXES[index]])) * 2 * 4 * 3 / 1000


@pytest.mark.parametrize("file_format", ["stl", "obj", "ply"])
def test_each_organ_is_a_closed_surface_in_lps_mm(file_format: str, mask: Path, tmp_path: Path) -> None:
    rows = write_surfaces(mask, tmp_path / "out", file_format, "synapse").rows
    assert [row["class"] for row in rows] == ["aorta", "liver"]
    for index, row in zip(BOXES, rows, strict=True):
        path = tmp_path / "out" / row["file"]
        surface = trimesh.load_mesh(path)
        assert surface.is_watertight and surface.is_winding_consistent
        assert surface.volume / 1000 == pytest.approx(voxel_ml(index), rel=0.01)  # positive: faces look outwards
        right, anterior, superior = CENTER_RAS_MM[index]
        np.testing.assert_allclose(surface.center_mass, (-right, -anterior, superior), atol=0.5)
        assert b"SPACE=LPS" in path.read_bytes()[:200]
        assert float(row["mask_ml"]) == pytest.approx(voxel_ml(index))
    with (tmp_path / "out" / "surfaces.csv").open(encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [
            f"ct/{name}.{file_format}" for name in ("aorta", "liver")
        ]


def test_glb_has_a_named_coloured_node_per_organ_in_metres_with_y_up(mask: Path, tmp_path: Path) -> None:
    write_surfaces(mask, tmp_path / "out", "glb", "synapse")
    scene = trimesh.load_scene(tmp_path / "out" / "ct.glb")
    colors = {item.name: item.color for item in classes_of(["background", "aorta", "liver"], "synapse")}
    for index, name in ((1, "aorta"), (5, "liver")):
        surface = scene.geometry[name]
        right, anterior, superior = CENTER_RAS_MM[index]
        assert surface.is_watertight
        assert surface.volume * 1e6 == pytest.approx(voxel_ml(index), rel=0.01)
        np.testing.assert_allclose(surface.center_mass * 1000, (-right, superior, anterior), atol=0.5)
        color = surface.visual.material.baseColorFactor
        assert "#{:02X}{:02X}{:02X}".format(*color[:3]) == colors[name]


def test_classes_without_a_table_are_numbered(mask: Path, tmp_path: Path) -> None:
    assert [row["class"] for row in write_surfaces(mask, tmp_path / "out").rows] == ["class 1", "class 5"]


def test_names_that_give_the_same_file_get_numbers() -> None:
    classes = classes_of(["background", "a/b", "a:b", "left kidney"])
    assert [_file_name(index, classes) for index in (1, 2, 3)] == ["a_b_1", "a_b_2", "left_kidney"]


def test_a_surface_that_misses_the_volume_of_its_voxels_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, mask: Path
) -> None:
    write_surfaces(mask, tmp_path / "within")
    assert "encloses" not in caplog.text
    monkeypatch.setattr(surfaces, "_MOST_TRIALS", 1)
    monkeypatch.setattr(surfaces, "_SIGMA", 3.0)
    write_surfaces(mask, tmp_path / "out")
    assert "the surface of class 1 encloses" in caplog.text


def folder_of(mask: Path, task: str, case: str = "ct") -> Path:
    """An output folder of a prediction."""
    folder = mask.parent / "masks"
    folder.mkdir()
    shutil.copy(mask, folder)
    names = ["background", "aorta", "gallbladder", "left kidney", "right kidney", "liver"]
    record = {"task": task, "class_names": names, "reading": {}, "channels": ["CT"], "weights": [], "complete": True}
    (folder / "prediction.json").write_text(json.dumps(record), encoding="utf-8")
    line = CaseRecord(case, "ct.nii.gz", "ok", files=(mask.name,)).as_json()
    (folder / "cases.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    return folder


def test_a_folder_of_predictions_needs_no_image_and_no_table(
    mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["surfaces", str(folder_of(mask, "ct")), "-o", str(tmp_path / "out"), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert [row["class"] for row in answer["surfaces"]] == ["aorta", "liver"]
    assert (tmp_path / "out" / "ct" / "liver.stl").is_file()


def test_a_missing_mask_is_named_and_the_others_are_written(
    mask: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(mask, "ct")
    with (folder / "cases.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(CaseRecord("b", "b.nii.gz", "ok", files=("b_mask.nii.gz",)).as_json()) + "\n")
    with pytest.raises(SystemExit) as stopped:
        main(["surfaces", str(folder), "-o", str(tmp_path / "out")])
    assert stopped.value.code == 1
    assert "b: no surfaces, because its mask b_mask.nii.gz is missing" in caplog.text
    assert (tmp_path / "out" / "ct" / "liver.stl").is_file()


def test_an_unknown_format_is_refused(mask: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unknown format 'step'; known: stl, obj, ply, glb"):
        write_surfaces(mask, tmp_path / "out", "step")


@pytest.mark.parametrize(
    ("task", "case", "labels", "message"),
    [
        ("histology", "ct", None, "contains masks of 2D images, which have no surface"),
        ("ct", "../ct", None, "the name of a case contains a folder"),
        ("ct", "ct", "synapse", "records its classes. Leave out --labels"),
    ],
)
def test_folders_without_surfaces_are_refused(
    task: str, case: str, labels: str | None, message: str, mask: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        write_surfaces(folder_of(mask, task, case), tmp_path / "out", labels=labels)
    assert not (tmp_path / "out").exists()


def test_masks_without_a_class_and_folders_in_use_are_refused(mask: Path, tmp_path: Path) -> None:
    nib.Nifti1Image(np.zeros((5, 5, 5), np.uint8), np.eye(4)).to_filename(tmp_path / "empty.nii.gz")
    with pytest.raises(ValueError, match="contains no mask with a class"):
        write_surfaces(tmp_path / "empty.nii.gz", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"does not exist\. Pass an output folder"):
        write_surfaces(tmp_path / "other.nii.gz", tmp_path / "out")
    with pytest.raises(FileExistsError, match="is not empty"):
        write_surfaces(mask, tmp_path)
    assert not (tmp_path / "out").exists()
