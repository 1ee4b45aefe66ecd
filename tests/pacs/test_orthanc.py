"""A study goes from Orthanc to masks and back, and Orthanc keeps one copy of each result."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
import requests

from i2net_bundle.pacs.dicomweb import ArchiveError, DicomWeb
from i2net_bundle.pacs.fetching import fetch_study
from i2net_bundle.pacs.storing import store_results
from i2net_bundle.prediction.cohort import predict_files
from tests.docs.faults.prediction import small_predictor
from tests.io.dicom.files import CT_UID, write_scout
from tests.pacs.orthanc import PASSWORD, USER, running_orthanc
from tests.pacs.phantom import write_phantom
from tests.pacs.server import STUDY

pytest.importorskip("highdicom", reason="needs the extra 'pacs'")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as root:
        yield root


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2NET_DICOMWEB_USER", USER)
    monkeypatch.setenv("I2NET_DICOMWEB_PASSWORD", PASSWORD)


def dicom_errors(path: Path) -> list[str]:
    """Errors that dciodvfy of dicom3tools finds in an object."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def stored_object(url: str, path: Path) -> pydicom.Dataset:
    """The object of a file as the server returns it."""
    uid = pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
    root = url.removesuffix("/dicom-web")
    (number,) = requests.post(f"{root}/tools/lookup", data=uid, auth=(USER, PASSWORD), timeout=10).json()
    content = requests.get(f"{root}/instances/{number['ID']}/file", auth=(USER, PASSWORD), timeout=10).content
    return pydicom.dcmread(BytesIO(content))


def test_a_study_is_fetched_segmented_and_stored_once(url: str, login: None, tmp_path: Path) -> None:
    write_phantom(tmp_path / "scanner")
    write_scout(tmp_path / "scanner")
    with DicomWeb(url) as server:
        for path in (tmp_path / "scanner").glob("*.dcm"):
            uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            assert server.store(path.read_bytes(), uid) is None
    fetched = fetch_study(url, STUDY, tmp_path / "study")
    assert (fetched.objects, len(fetched.folders)) == (5, 2)
    one = fetch_study(url, STUDY, tmp_path / "series", series=CT_UID)
    assert (one.objects, len(one.folders)) == (4, 1)
    predict_files([tmp_path / "study"], tmp_path / "masks", small_predictor(tmp_path), pictures=False, rtstruct=True)
    names = sorted(path.name for path in (tmp_path / "masks").glob("*.dcm"))
    assert {name.rpartition("_")[2] for name in names} == {"mask.dcm", "measurements.dcm", "contours.dcm"}
    for _ in range(2):
        result = store_results(tmp_path / "masks", url)
        assert sorted(result.stored) == names and not result.refused
    answer = requests.get(f"{url}/studies/{STUDY}/instances", auth=(USER, PASSWORD), timeout=10).json()
    assert len(answer) == 5 + len(names)
    for name in names:
        assert pydicom.dcmread(tmp_path / "masks" / name) == stored_object(url, tmp_path / "masks" / name)
    again = fetch_study(url, STUDY, tmp_path / "study")
    assert (again.objects, again.present) == (0, 5)
    assert sum(again.skipped.values()) == len(names)
    if shutil.which("dciodvfy"):
        assert [error for name in names for error in dicom_errors(tmp_path / "masks" / name)] == []


def test_orthanc_asks_for_a_login(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", os.devnull)
    with pytest.raises(ArchiveError, match="needs a login that it accepts"):
        fetch_study(url, STUDY, tmp_path / "study")
