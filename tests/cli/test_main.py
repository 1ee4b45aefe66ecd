"""The command line, and how an installation finds its bundle."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import i2net_bundle
from i2net_bundle.cli import main
from i2net_bundle.workflow import config_files as bundle

ROOT = Path(__file__).resolve().parents[2]


def test_root_prints_the_folder_of_the_configurations(capsys: pytest.CaptureFixture) -> None:
    main(["root"])
    assert (Path(capsys.readouterr().out.strip()) / "configs" / "train.json").is_file()


def test_phantoms_are_written_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    main(["phantoms", "glands", str(tmp_path)])
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "dataset.json"
    with pytest.raises(SystemExit, match=r"i2net: .*already contains a dataset\.json"):
        main(["phantoms", "glands", str(tmp_path)])


def test_no_command_is_an_error(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_version_is_the_packages(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == i2net_bundle.__version__


def test_a_package_without_configurations_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle, "_PACKAGE", tmp_path / "i2net_bundle")
    with pytest.raises(FileNotFoundError, match="Reinstall the package"):
        bundle.bundle_root()


@pytest.mark.slow
def test_the_wheel_carries_the_configurations_and_finds_them(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    package = tmp_path / "site" / "i2net_bundle"
    assert {path.name for path in (package / "labels").glob("*.json")} == {
        "cityscapes.json",
        "glas.json",
        "synapse.json",
    }
    assert (package / "reports" / "templates" / "preview.html.j2").is_file()
    found = subprocess.run(
        [sys.executable, "-m", "i2net_bundle", "root"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    root = Path(found.stdout.strip())
    assert root == tmp_path / "site" / "i2net_bundle" / "_bundle"
    names = {path.name for path in (ROOT / "configs").iterdir()}
    assert {path.name for path in (root / "configs").iterdir()} == names


def test_help_and_version_need_neither_torch_nor_monai() -> None:
    code = "import sys, i2net_bundle.cli; print({'torch', 'monai', 'ignite'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def test_the_package_lists_predict_before_it_is_imported() -> None:
    code = "import sys, i2net_bundle; print('predict' in dir(i2net_bundle), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["True", "False"]
