"""``i2net prepare``, ``check`` and ``preview``: what they print, how they end, and that every option counts."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.dataset import CheckReport
from i2net_bundle.cli import main
from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from i2net_bundle.io.findings import error, warning
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from tests.checks.ct_files import SHAPE, hu_volume, save
from tests.io.dicom.files import DESCRIPTION, OTHER_UID, two_series
from tests.prepare.lookalikes import write_btcv, write_transunet

IDS = np.array([[0, 1, 1, 0], [0, 2, 0, 7]], np.uint8)
LABEL_IDS = np.array([[0, 7, 25, 9], [33, 1, 23, 7]], np.uint8)
COMMANDS = ["prepare synapse", "prepare glas", "prepare cityscapes", "check", "preview"]


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


def status_of(argv: Sequence[str]) -> Any:
    """What a command exits with: 0 where it just returns."""
    try:
        main(argv)
    except SystemExit as stopped:
        return stopped.code or 0
    return 0


# Preparing

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


# Checking


@pytest.fixture(scope="module")
def glands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gland_phantoms(tmp_path_factory.mktemp("glands"), 2, 1, 1, (64, 80)).parent


def with_warning(folder: Path) -> Path:
    """A CT whose spacing is in metres."""
    return Path(save(folder / "metres.nii.gz", hu_volume(), np.diag([-0.002, -0.002, 0.003, 1]), xyzt_units=1))


def with_error(folder: Path) -> Path:
    return Path(save(folder / "offset.nii.gz", hu_volume() + np.int16(1024)))


def test_a_check_without_findings_ends_well(glands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["check", str(glands)]) == 0
    assert capsys.readouterr().out == (
        f"{glands}: 2 training, 1 validation, 1 test checked\n"
        "channels: R, G, B\nclasses: 0 background, 1 gland\n0 errors, 0 warnings\n"
    )


def test_warnings_alone_end_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["check", str(with_warning(tmp_path))]) == 0
    assert re.search(r"\nWARNING \[units\] .*metres\.nii\.gz: .*\n0 errors, 1 warning\n$", capsys.readouterr().out)


def test_an_error_in_any_of_several_paths_is_status_1_and_all_are_checked(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = with_error(tmp_path)
    assert status_of(["check", str(broken), str(glands)]) == 1
    first, second = capsys.readouterr().out.split("\n\n")
    assert re.fullmatch(
        rf"{broken}: 1 file checked\nERROR   \[offset\] {broken}: looks like .*\n1 error, 0 warnings", first
    )
    assert second.startswith(f"{glands}: 2 training")


def test_json_is_all_that_stands_on_the_standard_output(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(with_error(tmp_path)), str(with_warning(tmp_path)), str(glands)]
    assert status_of(["check", *paths, "--json"]) == 1
    reports = json.loads(capsys.readouterr().out)
    assert [report["target"] for report in reports] == paths
    assert [(report["errors"], report["warnings"]) for report in reports] == [(1, 0), (0, 1), (0, 0)]
    assert status_of(["check", str(glands), "--json"]) == 0


def test_a_broken_data_list_is_reported_and_the_other_paths_are_checked(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset.json").write_text("{", encoding="utf-8")
    assert status_of(["check", str(tmp_path), str(glands), "--json"]) == 1
    broken, sound = json.loads(capsys.readouterr().out)
    assert [finding["rule"] for finding in broken["findings"]] == ["datalist"]
    assert sound["findings"] == []


# Series


def test_series_are_listed_with_what_tells_them_apart_only_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    two_series(tmp_path)
    assert status_of(["series", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.split("\n")[:3] == [
        "1. CT, 2 slices of 6 × 5, 0.8 × 0.9 × 3 mm, axial",
        f"   {DESCRIPTION}",
        f"   {OTHER_UID}",
    ]
    assert "\n3. CT, 1 slice of 6 × 5, 0.8 × 0.9 × 4 mm, coronal, localiser\n   Topogram\n" in printed.out
    assert (printed.err, caplog.text) == ("", "")


# Previewing


def test_a_preview_prints_its_page(glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["preview", str(glands), "--out", str(tmp_path / "out")]) == 0
    page = tmp_path / "out" / "index.html"
    assert capsys.readouterr().out == f"{page}\n"
    assert page.is_file()


def test_a_preview_of_ct_lies_in_the_data_set_s_folder_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_ct_phantoms(tmp_path, 1, 0, 0, (48, 48, 16), (8.0, 8.0, 15.0)).parent
    assert status_of(["preview", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'preview' / 'index.html'}\n"


# Data sets of a user's own


def own_ct(folder: Path) -> Path:
    """A data set of the Decathlon's form whose classes are spleen and tumour."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 2:5, 2:6], labels[7:10, 5:8, 2:6] = 1, 2
    save(folder / "a.nii.gz", hu_volume())
    save(folder / "a_label.nii.gz", labels)
    contents = {
        "labels": {"0": "background", "1": "spleen", "2": "tumour"},
        "modality": {"0": "CT"},
        "training": [{"image": "./a.nii.gz", "label": "./a_label.nii.gz"}],
    }
    (folder / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    return folder


def test_a_check_prints_the_classes_and_channels_of_the_data_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status_of(["check", str(own_ct(tmp_path))])
    printed = capsys.readouterr().out
    assert "channels: CT\nclasses: 0 background, 1 spleen, 2 tumour\n" in printed
    assert "aorta" not in printed


def test_a_label_table_of_the_users_is_what_a_check_judges_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "own.json"
    classes = [{"name": "background"}, {"name": "tumour", "volume_ml": [50, 90]}]
    table.write_text(json.dumps({"classes": classes}), encoding="utf-8")
    assert status_of(["check", str(own_ct(tmp_path)), "--labels", str(table)]) == 0
    assert "tumour of 0 mL; the usual range is 50 to 90 mL" in capsys.readouterr().out


def test_a_real_ct_of_two_classes_is_called_by_its_own_names_everywhere(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = shared / "data" / "ct"
    source: Any = nib.load(ct / "abdomen_3mm_label8.nii.gz")
    labels = np.asarray(source.dataobj)
    own = np.where(labels == 7, 1, np.where(labels == 2, 2, 0)).astype(np.uint8)  # spleen, and the gallbladder's place
    nib.save(nib.Nifti1Image(own, source.affine, source.header), tmp_path / "label.nii.gz")
    (tmp_path / "image.nii.gz").write_bytes((ct / "abdomen_3mm_ct.nii.gz").read_bytes())
    contents = {
        "labels": {"0": "background", "1": "spleen", "2": "tumour"},
        "modality": {"0": "CT"},
        "training": [{"image": "./image.nii.gz", "label": "./label.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    assert status_of(["check", str(tmp_path)]) == 0
    assert "classes: 0 background, 1 spleen, 2 tumour\n0 errors, 0 warnings" in capsys.readouterr().out
    assert status_of(["preview", str(tmp_path)]) == 0
    page = (tmp_path / "preview" / "index.html").read_text(encoding="utf-8")
    assert "<th>spleen</th><th>tumour</th>" in page
    assert "aorta" not in page and "gallbladder" not in page


@pytest.mark.parametrize("command", ["check", "preview"])
def test_a_label_table_that_is_none_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "own.json").write_text("{}", encoding="utf-8")
    reported = status_of([command, str(own_ct(tmp_path)), "--labels", str(tmp_path / "own.json")])
    assert re.match(r"i2net: .*own\.json is not a label table: it needs a list \"classes\"", str(reported))


def test_an_nnunet_folder_without_cases_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    assert status_of(["check", str(tmp_path)]) == 1
    assert "lists no cases, and its imagesTr is empty or missing" in capsys.readouterr().out


def test_a_volume_of_another_modality_is_checked_by_its_channel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "mr.nii.gz", np.random.default_rng(0).gamma(2.0, 400.0, SHAPE).astype(np.int16))
    assert status_of(["check", path]) == 1
    assert "--channels MR" in capsys.readouterr().out
    assert status_of(["check", path, "--channels", "MR"]) == 0


# Options

Call = tuple[tuple[Any, ...], dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Call]:
    """What the functions behind the commands were called with; they do nothing."""
    seen: list[Call] = []

    def replaced(target: str, result: Any) -> None:
        def record(*args: Any, **kwargs: Any) -> Any:
            seen.append((args, kwargs))
            return result

        monkeypatch.setattr(target, record)

    for name in ("synapse", "glas", "cityscapes"):
        replaced(f"i2net_bundle.prepare.prepare_{name}", tmp_path / "dataset.json")
    replaced("i2net_bundle.checks.dataset.check_path", CheckReport("set", {"files": 1}))
    replaced("i2net_bundle.reports.preview.preview_dataset", tmp_path / "index.html")
    return seen


CT_ARGV = ["--header", "qform", "--geometry", "label", "--volume", "2", "--fill-nonfinite", "-1000"]
CT_ARGV += ["--hu-offset", "-1024", "--any-intensities"]
CT = VolumeOptions("qform", 2, "label", -1000.0, -1024.0, True)
SYNAPSE_ARGV = ["--allow-missing", *CT_ARGV]
LIST_ARGV = ["--datalist", "fold_0.json", "--labels", "mine.json", "--channels", "T2,ADC"]
LISTED = {"datalist": "fold_0.json", "label_table": "mine.json"}
HISTOLOGY_ARGV = ["--um-per-px", "0.31", "--label-values", "binary"]
HISTOLOGY = HistologyOptions(um_per_px=0.31, label_values="binary")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ["prepare", "synapse", "src", "--out", "o"],
            (
                ("src", "o"),
                {"numbering": None, "options": VolumeOptions(), "orientation": None, "allow_missing": False},
            ),
        ),
        (
            ["prepare", "synapse", "src", "--out", "o", "--numbering", "btcv8", "--orientation", "SLA", *SYNAPSE_ARGV],
            (("src", "o"), {"numbering": "btcv8", "options": CT, "orientation": "SLA", "allow_missing": True}),
        ),
        (["prepare", "glas", "src", "--out", "o"], (("src", "o"), {"num_folds": 5, "allow_missing": False})),
        (
            ["prepare", "glas", "src", "--out", "o", "--folds", "3", "--allow-missing"],
            (("src", "o"), {"num_folds": 3, "allow_missing": True}),
        ),
        (["prepare", "cityscapes", "src", "--out", "o"], (("src", "o"), {"allow_missing": False, "link": False})),
        (
            ["prepare", "cityscapes", "src", "--out", "o", "--link", "--allow-missing"],
            (("src", "o"), {"allow_missing": True, "link": True}),
        ),
        (
            ["check", "set"],
            (("set", VolumeOptions(), HistologyOptions()), {"datalist": "dataset.json", "label_table": None}),
        ),
        (
            ["check", "set", *LIST_ARGV, "--series", "1.2", "--json", *CT_ARGV, *HISTOLOGY_ARGV],
            (("set", replace(CT, series="1.2", channels=("T2", "ADC")), HISTOLOGY), LISTED),
        ),
        (
            ["preview", "set"],
            (
                ("set", None),
                {
                    "ct": VolumeOptions(),
                    "histology": HistologyOptions(),
                    "datalist": "dataset.json",
                    "label_table": None,
                },
            ),
        ),
        (
            ["preview", "set", "--out", "o", *LIST_ARGV, *CT_ARGV, *HISTOLOGY_ARGV],
            (("set", "o"), {"ct": replace(CT, channels=("T2", "ADC")), "histology": HISTOLOGY, **LISTED}),
        ),
    ],
    ids=[f"{command}, {options}" for command in COMMANDS for options in ("defaults", "every option")],
)
def test_options_reach_the_function(
    argv: list[str], expected: Call, calls: list[Call], request: pytest.FixtureRequest
) -> None:
    assert status_of(argv) == 0
    assert calls == [expected]
    if "every option" in request.node.callspec.id:
        command = argv[: 2 if argv[0] == "prepare" else 1]
        assert {word for word in argv if word.startswith("--")} == options_of(command)


def options_of(command: Sequence[str]) -> set[str]:
    """Options that a command's usage names."""
    usage = help_of(command).split("\n\n")[0]
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", usage))


def help_of(command: Sequence[str]) -> str:
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()) as printed:
        assert status_of([*command, "--help"]) == 0
    return printed.getvalue()


def test_each_path_is_checked_with_the_same_options(calls: list[Call]) -> None:
    assert status_of(["check", "a", "b", "--header", "sform"]) == 0
    assert [args for args, _ in calls] == [(path, VolumeOptions("sform"), HistologyOptions()) for path in "ab"]


@pytest.mark.parametrize(
    ("findings", "status"),
    [([], 0), ([warning("a", "b", "c", "d")], 0), ([error("a", "b", "c", "d"), warning("a", "b", "c", "d")], 1)],
    ids=["nothing", "warning", "error"],
)
def test_errors_alone_decide_the_status_of_a_check(
    findings: list, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = CheckReport("set", {}, findings)
    monkeypatch.setattr("i2net_bundle.checks.dataset.check_path", lambda *_, **__: report)
    assert status_of(["check", "set"]) == status


# Help and mistakes


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        (
            "prepare synapse",
            ["img/img0001.nii.gz", "train_npz/", "test_vol_h5/", "dataset.json", "NIfTI", "--out DIR", "to write"],
        ),
        ("prepare glas", ["train_1.bmp", "Grade.csv", "PNG", "patient_split.json", "fold_0.json", "--out DIR"]),
        ("prepare cityscapes", ["leftImg8bit/", "gtFine/", "train ids", "255", "--out DIR", "folder to write"]),
        ("check", ["dataset.json", "DICOM", "folders of images", "single images", "JSON", "exit status is 1"]),
        ("series", ["DICOM", "--series", "patient's name", "writes no file"]),
        ("preview", ["folder of dataset.json", "HTML", "folder to write (default DIR/preview)"]),
        ("phantoms", ["folder to write"]),
        ("demo", ["folder to write (default runs/demo)"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_help_says_what_a_command_reads_and_writes(
    command: str, reported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    printed = help_of(command.split())
    assert printed.startswith(f"usage: i2net {command} ")
    assert [text for text in reported if text not in printed] == []


def test_help_names_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert all(re.search(rf"^    {command.split()[0]} +\w", help_of([]), re.MULTILINE) for command in COMMANDS)
    assert all(name in help_of(["prepare"]) for name in ("synapse", "glas", "cityscapes"))


@pytest.mark.parametrize(
    ("argv", "reported"),
    [
        (["check", "a", "--header", "both"], "argument --header: invalid choice: 'both'"),
        (["check", "a", "--label-values", "colours"], "argument --label-values: invalid choice: 'colours'"),
        (["preview", "a", "--geometry", "mine"], "argument --geometry: invalid choice: 'mine'"),
        (["preview", "a", "--volume", "first"], "argument --volume: invalid int value: 'first'"),
        (["check", "a", "--resample"], "unrecognized arguments: --resample"),
        (["check"], "the following arguments are required: DIR|FILE"),
        (["prepare"], "the following arguments are required: DATASET"),
        (["prepare", "kvasir", "a", "--out", "b"], "argument DATASET: invalid choice: 'kvasir'"),
        (["prepare", "glas", "a"], "the following arguments are required: --out"),
        (["prepare", "glas", "a", "--out", "b", "--folds", "many"], "argument --folds: invalid int value: 'many'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_choice_is_status_2(argv: list[str], reported: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(argv) == 2
    assert reported in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "reported"),
    [
        (["check", "absent"], r"absent does not exist\. Pass the folder of a data set, or an image\."),
        (["check", "empty"], r"empty holds no dataset\.json, no image and no DICOM series\. .*"),
        (["check", "set", "--um-per-px", "0"], r"um_per_px is 0\.0; pass a number of micrometres above 0\."),
        (["preview", "empty"], r"No dataset\.json in empty\. .*"),
        (["preview", "set", "--out", "set"], r"set exists and is not empty\. Choose another --out.*"),
        (["prepare", "synapse", "absent", "--out", "out"], r"absent does not exist\. Name the folder or archive .*"),
        (["prepare", "synapse", "empty", "--out", "out"], r"empty is not known: looked for img/img0001\.nii\.gz .*"),
        (["prepare", "glas", "empty", "--out", "out"], r"No Grade\.csv in empty\. .*"),
        (["prepare", "glas", "empty", "--out", "set"], r"set exists and is not empty\. .*"),
        (["prepare", "cityscapes", "empty", "--out", "out"], r"empty: holds neither a folder leftImg8bit nor .*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_message_with_the_remedy(
    argv: list[str], reported: str, glands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "set").symlink_to(glands)
    monkeypatch.chdir(tmp_path)
    status = status_of(argv)
    assert re.fullmatch(f"i2net: {reported}", status)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_process_that_fails_prints_no_traceback_and_ends_with_status_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "i2net_bundle", "check", str(tmp_path / "absent")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"i2net: {tmp_path / 'absent'} does not exist. Pass the folder of a data set, or an image.\n"
