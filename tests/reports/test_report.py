"""The report of a run: complete, self-contained, explicit about what is missing, and readable in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from i2net_bundle.reports.report import report_sections, write_report
from i2net_bundle.reports.run_results import read_run
from tests.reports.browser import console_of, inspect
from tests.reports.runs import (
    ORGANS,
    score_rows,
    write_calibration,
    write_run,
    write_scores,
    write_training,
    write_views,
)

MANY_CLASSES = [
    "left superior pulmonary vein at its junction with the left atrium",
    "Leber (Lobus hepatis sinister, Segmente Ⅱ–Ⅲ)",
    "печень",
    "a_name_without_any_space_that_is_longer_than_a_column_may_become",
    *(f"vertebra {number}" for number in range(26)),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run without a report."""
    return write_run(tmp_path_factory.mktemp("runs") / "run", cases=3)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run with its report."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "run", cases=3)
    write_report(folder)
    return folder


def sections(page: str) -> dict[str, str]:
    """Content of every section by its title."""
    parts = re.split(r"<h2[^>]*>(.*?)</h2>", page)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.slow
def test_the_page_embeds_every_figure_beside_it(reported: Path) -> None:
    page = (reported / "report" / "index.html").read_text(encoding="utf-8")
    files = sorted((reported / "report" / "figures").iterdir())
    names = ["agreement", "boxes", "case_001", "case_002", "case_003", "learners", "losses", "optimisation"]
    assert [path.stem for path in files] == [*names, "reliability"]
    embedded = [base64.b64decode(data) for data in re.findall(r"data:image/webp;base64,([^\"]+)", page)]
    sizes = [Image.open(io.BytesIO(data)).size for data in embedded]
    assert sorted(sizes) == sorted(Image.open(path).size for path in files)
    assert all(min(size) > 200 for size in sizes)
    assert page.count("<img ") == len(files) and all(re.findall(r'alt="([^"]+)"', page))


@pytest.mark.slow
def test_the_page_loads_nothing_from_elsewhere(reported: Path) -> None:
    page = (reported / "report" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page) and "url(" not in page and "<script" not in page
    assert "default-src 'none'" in page


@pytest.mark.slow
def test_the_page_lists_scores_settings_and_versions(reported: Path) -> None:
    parts = sections((reported / "report" / "index.html").read_text(encoding="utf-8"))
    assert next(iter(parts)) == "Scores" and all(organ in parts["Scores"] for organ in ORGANS)
    assert "missed" in parts["Scores"] and "95 % bootstrap" in parts["Scores"]
    environment = parts["Environment and settings"]
    assert "ab" * 32 in environment and "2.13.0" in environment and "training: epochs" in environment
    assert "To create it" not in "".join(parts.values())


@pytest.mark.slow
def test_cases_are_listed_worst_first(reported: Path) -> None:
    page = (reported / "report" / "index.html").read_text(encoding="utf-8")
    cases = re.findall(r'alt="(case_\d+)    mean Dice (\d\.\d+)', page)
    dice = [float(value) for _, value in cases]
    assert len(cases) == 3 and dice == sorted(dice)
    assert "case_000    mean Dice" in page and "missed: spleen" in page


def test_the_gallery_is_limited_to_max_cases(run: Path) -> None:
    gallery = {section.id: section for section in report_sections(read_run(run), max_cases=2)}["gallery"]
    assert len(gallery.pictures) == 2 and gallery.text.startswith("2 of 3 cases")


def test_the_pooled_miou_of_the_summary_is_a_table(run: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    path = copied / "evaluation" / "summary.json"
    iou = {"mean": 0.25, "classes": {"road": 0.5, "sidewalk": 0.0, "train": None}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"iou": iou}))
    tables = [{table.title: table for table in report_sections(read_run(folder))[0].folded} for folder in (copied, run)]
    title = "Intersection over union, all cases together"
    assert [list(row) for row in tables[0][title].rows] == [
        ["road", "0.500"],
        ["sidewalk", "0.000"],
        ["train", "–"],
        ["mean over classes (mIoU)", "0.250"],
    ]
    assert title not in tables[1]


def test_a_network_without_gates_has_no_word_about_gates(tmp_path: Path) -> None:
    results = read_run(write_run(tmp_path / "run", num_learners=0))
    found = {section.id: section for section in report_sections(results)}
    assert "gate" not in found["gallery"].text and not any(section.missing for section in found.values())
    assert [picture.name for picture in found["training"].pictures] == ["losses", "optimisation"]
    picture = found["gallery"].pictures[0]()
    assert "gate" not in picture.alt and [axis.get_title() for axis in picture.figure.axes] == 2 * [
        "image, slice 7",
        "truth",
        "prediction",
        "errors",
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"network": {"class_names": ["background", "liver", "spleen"]}, "training": {"task": "synapse"}},
        {
            "version": 2,
            "network": {"target": "monai.networks.nets.UNet"},
            "classes": [{"name": name, "color": "#112233"} for name in ("background", "liver", "spleen")],
        },
    ],
    ids=["version 0.1", "version 2"],
)
def test_class_names_are_taken_from_the_record_of_the_run(settings: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_training(run)
    write_views(run, ["a"], views=1, num_classes=3)
    (run / "settings.json").write_text(json.dumps(settings))
    gallery, environment = (report_sections(read_run(run))[index] for index in (2, 5))
    legend = gallery.pictures[0]().figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["liver", "spleen"]
    assert any("background, liver, spleen" in row[1] for row in environment.tables[1].rows)


@pytest.mark.parametrize(
    ("trained_on", "data_set", "notice"),
    [
        ("CT phantoms", "CT phantoms", "the network was trained on computed images (CT phantoms), and this page shows"),
        ("Gland Phantoms", "GlaS", "the network was trained on computed images (Gland Phantoms)."),
        ("Synapse", "CT phantoms", "this page shows computed images (CT phantoms)."),
        ("Synapse", "Synapse", None),
        (None, None, None),
    ],
)
def test_a_page_about_phantoms_says_so_at_its_top(
    trained_on: str | None, data_set: str | None, notice: str | None, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    write_training(run, epochs=1)
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps(settings | {"trained_on": trained_on}))
    write_scores(run, score_rows({"a": [0.5, 0.6, 0.7]}), data_set)
    page = write_report(run).read_text(encoding="utf-8")
    header = page[page.index("<header>") : page.index("</header>")]
    assert ("Phantoms, not patients" in header) == (notice is not None)
    assert notice is None or notice in header
    on = f" on {trained_on}" if trained_on else ""
    of = f" of {data_set}" if data_set else ""
    assert f"trained{on} for 1 epoch, evaluated on 1 case{of}" in header


@pytest.mark.slow
def test_nothing_is_overwritten(reported: Path) -> None:
    before = (reported / "report" / "index.html").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        write_report(reported)
    assert (reported / "report" / "index.html").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("removed", "section", "command"),
    [
        ("evaluation", "scores", "run evaluating"),
        ("evaluation", "agreement", "run evaluating"),
        ("evaluation/views", "gallery", "run evaluating"),
        ("evaluation/calibration.json", "calibration", "run evaluating"),
        ("training.csv", "training", "run training"),
        ("settings.json", "environment", "run training"),
    ],
)
def test_a_section_without_data_names_the_command_that_creates_it(
    removed: str, section: str, command: str, run: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = {part.id: part for part in report_sections(read_run(copy))}
    assert command in found[section].command and found[section].missing
    if removed != "evaluation":
        assert [part.id for part in found.values() if part.missing] == [section]


def test_the_report_of_an_evaluation_lacks_only_the_training(run: Path) -> None:
    found = {part.id: part for part in report_sections(read_run(run / "evaluation"))}
    assert [name for name, part in found.items() if part.missing] == ["training", "environment"]


def test_a_broken_file_is_named_and_leaves_no_report(tmp_path: Path) -> None:
    write_training(tmp_path / "run")
    write_views(tmp_path / "run", ["case_000"])
    (tmp_path / "run" / "evaluation" / "views" / "case_000.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match=r"case_000\.npz is damaged or contains no views"):
        write_report(tmp_path / "run")
    assert not (tmp_path / "run" / "report").exists()


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose folder, cases and organs have names with HTML and formula syntax, with its report."""
    folder = tmp_path_factory.mktemp("runs") / "<i>run$"
    organs = ["<b>liver</b>", 'a"b & $x_1$', "$\\frac{1}{"]
    cases = {"<script>alert(1)<_script>": [0.5, 0.6, 0.7], "$a$_{b": [0.4, None, 0.9]}
    write_training(folder)
    write_scores(folder, score_rows(cases, organs))
    write_views(folder, list(cases))
    write_calibration(folder, organs)
    write_report(folder)
    return folder


@pytest.mark.slow
def test_names_are_escaped(awkward: Path) -> None:
    page = (awkward / "report" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<b>" not in page and "<i>" not in page
    assert "&lt;b&gt;liver&lt;/b&gt;" in page and "&lt;i&gt;run$" in page


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["whole", "awkward", "training", "glands", "without gates", "many classes"])
def test_a_browser_shows_every_figure_without_errors(kind: str, reported: Path, awkward: Path, tmp_path: Path) -> None:
    folder = {"whole": reported, "awkward": awkward}.get(kind, tmp_path / "other")
    if kind == "training":
        write_training(folder, epochs=1, num_learners=1)
    elif kind == "glands":
        dice = {f"testA_{i}": [0.5 + 0.1 * i] for i in range(4)}
        rows = score_rows(dice, ["gland"], "pixel", part={case: case[:5] for case in dice})
        write_scores(folder, [{**row, "object_f1": 0.5, "object_hausdorff": 40} for row in rows])
        write_views(folder, list(dice), views=1, num_classes=2, num_learners=6, color=True)
    elif kind == "without gates":
        write_run(folder, num_learners=0)
    elif kind == "many classes":
        write_run(folder, classes=MANY_CLASSES)
    page = folder / "report" / "index.html"
    if not page.exists():
        write_report(folder)
    assert console_of(page, tmp_path) == []
    seen = inspect(page, tmp_path)
    assert seen["faults"] == [] and seen["overflow"] == 0
    assert len(seen["images"]) == len(list((page.parent / "figures").iterdir())) > 0
    missing = page.read_text(encoding="utf-8").count("To create it:")
    assert missing == {"training": 4, "glands": 3}.get(kind, 0)
    assert all(image["width"] > 0 and image["shown"] > 0 and image["alt"] for image in seen["images"])


@pytest.mark.slow
def test_the_browser_check_detects_faults(tmp_path: Path) -> None:
    policy = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:">'
    body = '<img src="data:image/png;base64,AAAA"><img src="https://example.org/a.png"><script>x.y</script>'
    (tmp_path / "page.html").write_text(f"<html><head>{policy}</head><body>{body}</body></html>")
    assert console_of(tmp_path / "page.html", tmp_path)
    seen = inspect(tmp_path / "page.html", tmp_path)
    assert seen["faults"] and [image["width"] for image in seen["images"]] == [0, 0]
