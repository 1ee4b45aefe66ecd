"""Options, help and errors of the commands `prepare`, `check`, `series` and `preview`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.checks.dataset import CheckReport
from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.io.findings import error, warning
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from tests.cli.commands import status_of

COMMANDS = ["prepare synapse", "prepare glas", "prepare cityscapes", "check", "preview"]


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
        given = {word for word in argv if word.startswith("--")} | {"--json"}  # which all commands have
        assert given == options_of(command)


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
        (["check", "empty"], r"empty contains no dataset\.json, no image and no DICOM series\. .*"),
        (["check", "set", "--um-per-px", "0"], r"um_per_px is 0\.0; pass a number of micrometres above 0\."),
        (["preview", "empty"], r"No dataset\.json in empty\. .*"),
        (["preview", "set", "--out", "set"], r"set exists and is not empty\. Choose another --out.*"),
        (["prepare", "synapse", "absent", "--out", "out"], r"absent does not exist\. Pass the folder or archive .*"),
        (["prepare", "synapse", "empty", "--out", "out"], r"empty is not known: looked for img/img0001\.nii\.gz .*"),
        (["prepare", "glas", "empty", "--out", "out"], r"No Grade\.csv in empty\. .*"),
        (["prepare", "glas", "empty", "--out", "set"], r"set exists and is not empty\. .*"),
        (["prepare", "cityscapes", "empty", "--out", "out"], r"empty: contains neither a folder leftImg8bit nor .*"),
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
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=Path(__file__).resolve().parents[2])
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"i2net: {tmp_path / 'absent'} does not exist. Pass the folder of a data set, or an image.\n"
