"""The page of a preview lists every case, with the findings first."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.labels import label_table
from i2net_bundle.reports.preview import preview_dataset
from tests.checks.ct_files import SHAPE, hu_volume, save
from tests.prepare.ct_lookalikes import SPACING_MM
from tests.reports.previews import MARKED, NOISE, html, pixels_of, sheet, table_rows, written

# The page


def test_the_page_is_written_into_the_data_set_s_folder_by_default(ct_page: Path, tmp_path: Path) -> None:
    folder = ct_page.parents[1]
    assert ct_page == folder / "preview" / "index.html"
    assert sorted(path.name for path in ct_page.parent.iterdir()) == ["index.html", "page_01.png"]
    (tmp_path / "empty").mkdir()
    assert preview_dataset(folder, tmp_path / "empty") == tmp_path / "empty" / "index.html"


@pytest.mark.parametrize(
    ("page", "cases", "title", "counts"),
    [
        ("ct_page", [f"case_00{n}.nii.gz" for n in range(4)], "CT phantoms", "2 training, 1 validation, 1 test."),
        (
            "gland_page",
            ["train_1.png", "train_2.png", "train_3.png", "testA_1.png"],
            "Gland phantoms",
            "2 training, 1 validation, 1 test.",
        ),
        (
            "faulty_page",
            [f"case000{n}.nii.gz" for n in (5, 6, 7, 8)],
            "Synapse",
            "3 training, 1 test.",
        ),
    ],
    ids=["CT", "glands", "with faults"],
)
def test_the_page_has_every_case_and_counts_them(
    page: str, cases: list[str], title: str, counts: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(page)
    assert [name for name in table_rows(path) if name != "header"] == cases
    assert f"<h1>{title}</h1>" in html(path)
    assert counts in html(path)


@pytest.mark.parametrize(("page", "notice"), [("ct_page", True), ("gland_page", True), ("faulty_page", False)])
def test_a_preview_of_phantoms_says_so(page: str, notice: bool, request: pytest.FixtureRequest) -> None:
    assert ("Phantoms, not patients: this page shows computed" in html(request.getfixturevalue(page))) == notice


@pytest.mark.parametrize("page", ["ct_page", "gland_page"])
def test_a_sound_data_set_has_no_findings_and_no_mark(page: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(page)
    assert "The checks found nothing." in html(path)
    assert 'class="marked"' not in html(path)
    assert not len(pixels_of(sheet(path), MARKED))


def test_findings_come_first_and_errors_before_warnings(faulty_page: Path) -> None:
    text = html(faulty_page)
    assert "The checks found nothing." not in text
    assert text.index("<h2>Findings</h2>") < text.index("<table>") < text.index("<img")
    findings = re.findall(r'<li class="marked">(.*?)</li>', text)
    assert findings[0].startswith("error: imagesTr/case0005.nii.gz: is truncated or damaged")
    assert all(finding.startswith("warning: ") for finding in findings[1:])
    assert any("labelsTr/case0006.nii.gz: aorta of" in finding for finding in findings)
    assert any("labelsTs/case0008.nii.gz: the patient seems mirrored left to right" in finding for finding in findings)
    assert not any("case0007" in finding for finding in findings)


def test_the_table_lists_volumes_in_millilitres(ct_page: Path) -> None:
    rows = table_rows(ct_page)
    assert rows["header"] == label_table("synapse").names[1:]
    assert "Volumes, mL" in html(ct_page)
    for path in (ct_page.parents[1] / "labelsTr").glob("*.nii.gz"):
        labels = np.asarray(nib.load(path).dataobj)
        by_hand = [(labels == index).sum() * 8 * 8 * 15 / 1000 for index in range(1, 9)]  # mm³ to mL
        assert rows[path.name] == [f"<td>{volume:.0f}</td>" for volume in by_hand]


def test_an_implausible_organ_is_the_marked_cell_of_the_table(faulty_page: Path) -> None:
    rows = table_rows(faulty_page)
    labels = np.asarray(nib.load(faulty_page.parents[1] / "labelsTr" / "case0006.nii.gz").dataobj)
    volume_ml = (labels == 1).sum() * np.prod(SPACING_MM) / 1000
    assert volume_ml > 500
    marked = [(case, cell) for case, cells in rows.items() for cell in cells if "marked" in cell]
    assert marked == [("case0006.nii.gz", f'<td class="marked">{volume_ml:.0f}</td>')]
    assert rows["case0006.nii.gz"].index(marked[0][1]) == rows["header"].index("aorta")


def test_what_cannot_be_measured_is_a_dash(faulty_page: Path) -> None:
    assert table_rows(faulty_page)["case0005.nii.gz"] == ["<td>–</td>"] * 8


def test_for_images_the_table_lists_the_share_that_is_labelled(gland_page: Path) -> None:
    folder = gland_page.parents[1]
    assert "Share of the image" in html(gland_page)
    rows = table_rows(gland_page)
    assert rows["header"] == ["gland"]
    share = (np.asarray(Image.open(folder / "annotations" / "train_1_anno.png")) > 0).mean()
    assert rows["train_1.png"] == [f"<td>{share:.0%}</td>"]


def test_for_class_maps_the_table_includes_the_first_class_and_ignored_pixels_count_for_none(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    ids = np.full((40, 60), 255, np.uint8)
    ids[:10], ids[10:20, :30] = 0, 2  # a quarter, an eighth
    Image.fromarray(ids).save(tmp_path / "a_ids.png")
    labels = {"0": "road", "1": "sky", "2": "car"}
    written(tmp_path, labels=labels, ignore_id=255, training=[{"image": "a.png", "label": "a_ids.png"}])
    page = preview_dataset(tmp_path)
    assert table_rows(page) == {"header": ["road", "car"], "a.png": ["<td>25%</td>", "<td>12%</td>"]}
    assert "The checks found nothing." in html(page)


@pytest.mark.parametrize("page", ["ct_page", "gland_page", "faulty_page"])
def test_the_page_contains_no_path_of_the_machine(page: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(page)
    assert str(path.parents[1]) not in html(path)
    assert str(Path.home()) not in html(path)
    assert not re.search(r"file:|https?:|/tmp", html(path))


def test_links_are_relative_so_that_the_folder_can_be_moved(faulty_page: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(faulty_page.parent, tmp_path / "elsewhere"))
    links = re.findall(r'(?:src|href)="(.*?)"', html(moved / "index.html"))
    assert links == ["page_01.png"]
    assert (moved / "page_01.png").is_file()


def test_paths_of_two_files_in_one_finding_start_at_the_data_set(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    Image.fromarray(np.ones((4, 6), np.uint8)).save(tmp_path / "a_anno.png")
    page = preview_dataset(written(tmp_path, training=[{"image": "a.png", "label": "a_anno.png"}]))
    assert "error: a_anno.png: is 6 × 4 pixels, its image a.png is 60 × 40." in html(page)


def test_names_are_escaped_in_the_page_and_taken_as_they_are_in_the_picture(tmp_path: Path) -> None:
    name = '<b>&"$x_{$.png'
    Image.fromarray(NOISE).save(tmp_path / name)
    Image.fromarray(np.ones((40, 60), np.uint8)).save(tmp_path / "mask.png")
    labels = {"0": "background", "1": "<i>gland</i>"}
    case = {"image": name, "label": "mask.png"}
    page = preview_dataset(written(tmp_path, name="<script>alert(1)</script>", labels=labels, training=[case]))
    assert "&lt;b&gt;&amp;&#34;$x_{$.png" in html(page)
    assert not re.search(r"<b>|<i>gland|<script", html(page))


# Which cases


def test_a_data_set_without_labels_is_drawn_without_outlines(tmp_path: Path) -> None:
    grey = [np.repeat(NOISE[..., :1] + np.uint8(index), 3, axis=-1) for index in range(2)]
    for index, pixels in enumerate(grey):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    save(tmp_path / "ct.nii.gz", hu_volume())
    page = preview_dataset(written(tmp_path, test=["0.png", "1.png", "ct.nii.gz"]))
    picture = sheet(page)
    assert picture.std() > 30
    assert (picture == picture[..., :1]).all()
    assert "<table>" not in html(page)
    assert "The checks found nothing." in html(page)


def test_a_case_of_several_lists_is_drawn_once_under_the_first(tmp_path: Path) -> None:
    for name in "ab":
        Image.fromarray(NOISE).save(tmp_path / f"{name}.png")
        Image.fromarray(np.eye(40, 60, dtype=np.uint8)).save(tmp_path / f"{name}_anno.png")
    a, b = ({"image": f"{name}.png", "label": f"{name}_anno.png"} for name in "ab")
    page = preview_dataset(written(tmp_path, labels={"1": "gland"}, testA=[a], testB=[b], test=[a, b]))
    rows = re.findall(r'<tr><td>(.*?)</td><td class="text">(.*?)</td>', html(page))
    assert rows == [("a.png", "testA"), ("b.png", "testB")]
    assert sheet(page).shape[1] == 900  # two tiles
    assert "1 testA, 1 testB, 2 test." in html(page)


def test_another_data_list_of_the_folder_can_be_drawn(gland_page: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(gland_page.parents[1], tmp_path / "set"))
    contents = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    (folder / "fold_0.json").write_text(json.dumps({**contents, "training": contents["training"][:1]}))
    page = preview_dataset(folder, tmp_path / "out", datalist="fold_0.json")
    assert list(table_rows(page)) == ["header", "train_1.png", "train_3.png", "testA_1.png"]


@pytest.mark.parametrize(
    ("options", "rules"),
    [({}, ["mask-values"]), ({"histology": HistologyOptions(label_values="binary")}, [])],
    ids=["as ids", "as declared"],
)
def test_options_of_the_reading_reach_the_files(options: dict, rules: Sequence[str], tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    Image.fromarray(np.eye(40, 60, dtype=np.uint8) * 255).save(tmp_path / "a_anno.png")
    written(tmp_path, training=[{"image": "a.png", "label": "a_anno.png"}])
    assert html(preview_dataset(tmp_path, **options)).count('<li class="marked">') == len(rules)


def test_options_for_ct_reach_the_files(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", hu_volume() + np.int16(1024))
    written(tmp_path, test=["a.nii.gz"])
    assert "looks like HU + 1024" in html(preview_dataset(tmp_path, tmp_path / "as_is"))
    page = preview_dataset(tmp_path, tmp_path / "shifted", ct=VolumeOptions(hu_offset=-1024))
    assert "The checks found nothing." in html(page)


# Errors


def test_a_folder_that_is_not_empty_is_not_written_to(gland_page: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=rf"{tmp_path} exists and is not empty\. Choose another --out"):
        preview_dataset(gland_page.parents[1], tmp_path)
    with pytest.raises(FileExistsError, match=r"preview exists and is not empty"):
        preview_dataset(gland_page.parents[1])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_without_data_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"No fold_0\.json in {tmp_path}"):
        preview_dataset(tmp_path, datalist="fold_0.json")


def test_a_data_list_without_cases_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.json: lists no cases\. Add lists such as 'training'"):
        preview_dataset(written(tmp_path, training=[]))


def test_a_preview_that_fails_leaves_nothing(gland_page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "the disk is full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="the disk is full"):
        preview_dataset(gland_page.parents[1], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# Data sets of a user's own


def own_ct(folder: Path, labels: dict[str, Any], **header: Any) -> Path:
    """A CT with a block of label 1 and one of label 2."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 2:5, 2:6], mask[7:11, 5:9, 2:6] = 1, 2
    save(folder / "a.nii.gz", hu_volume())
    save(folder / "a_label.nii.gz", mask)
    return written(folder, labels=labels, training=[{"image": "a.nii.gz", "label": "a_label.nii.gz"}], **header)


def legend_of(page: Path) -> dict[str, str]:
    """Names of the classes to their colours on the page."""
    found = re.findall(r'<span><i style="background: (#[0-9A-F]{6})"></i>(.*?)</span>', html(page))
    return {name: color for color, name in found}


def test_classes_have_the_names_of_the_data_list(tmp_path: Path) -> None:
    page = preview_dataset(own_ct(tmp_path, {"0": "background", "1": "spleen", "2": "tumour"}))
    assert table_rows(page)["header"] == ["spleen", "tumour"]
    assert "aorta" not in html(page)
    assert list(legend_of(page)) == ["spleen", "tumour"]
    assert all(len(pixels_of(sheet(page), color)) > 20 for color in legend_of(page).values())


def test_a_label_table_of_the_user_sets_the_colours_and_the_usual_volumes(tmp_path: Path) -> None:
    table = tmp_path / "own.json"
    classes = [{"name": "background"}, {"name": "lump", "color": "#AA00AA", "volume_ml": [500, 900]}]
    table.write_text(json.dumps({"classes": classes}), encoding="utf-8")
    folder = own_ct(tmp_path, {"0": "background", "1": "lump", "2": "tumour"})
    page = preview_dataset(folder, label_table=table)
    assert legend_of(page)["lump"] == "#AA00AA"
    assert "lump of 0 mL; the usual range is 500 to 900 mL" in html(page)
    assert "tumour of" not in html(page)


def test_volumes_of_several_channels_are_drawn_by_the_first(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:8, 3:8, 2:6] = 1
    rng = np.random.default_rng(0)
    for name in ("p_0000", "p_0001"):
        save(tmp_path / "imagesTr" / f"{name}.nii.gz", rng.gamma(2.0, 400.0, SHAPE).astype(np.int16))
    save(tmp_path / "labelsTr" / "p.nii.gz", mask)
    header = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "lesion": 1}}
    page = preview_dataset(written(tmp_path, file_ending=".nii.gz", **header))
    assert "The channels are T2, ADC; only the first is shown." in html(page)
    assert table_rows(page) == {"header": ["lesion"], "p": [f"<td>{5 * 5 * 4 * 12 / 1000:.0f}</td>"]}
    assert sheet(page).std() > 30


def test_histology_of_several_classes_shows_each_in_its_colour(tmp_path: Path) -> None:
    ids = np.zeros((40, 60), np.uint8)
    ids[5:20, 5:25], ids[22:38, 30:55] = 1, 2
    Image.fromarray(NOISE // 4).save(tmp_path / "a.png")
    Image.fromarray(ids).save(tmp_path / "a_mask.png")
    labels = {"0": "background", "1": "tumour", "2": "stroma"}
    page = preview_dataset(written(tmp_path, labels=labels, training=[{"image": "a.png", "label": "a_mask.png"}]))
    shares = [f"<td>{(ids == index).mean():.0%}</td>" for index in range(3)]
    assert table_rows(page) == {"header": list(labels.values()), "a.png": shares}
    assert all(len(pixels_of(sheet(page), color, within=70)) > 20 for color in legend_of(page).values())
