"""A study is fetched whole or not at all, continued, and fetched once; what the server sends is not trusted."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2net_bundle.cli import main
from i2net_bundle.io.dicom.trees import dicom_folders
from i2net_bundle.io.dicom.volume import read_series
from i2net_bundle.pacs.dicomweb import ArchiveError, DicomWeb, MissingError
from i2net_bundle.pacs.fetching import fetch_study
from i2net_bundle.workflow.stopping import Stopped
from tests.io.dicom.files import CT_UID, SECRETS
from tests.pacs.server import STUDY, Archive, Reply, ct_objects, listing, one_part, serving

pytest.importorskip("requests", reason="needs the extra 'pacs'")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(ct_objects(tmp_path / "sent"))


@pytest.fixture
def url(archive: Archive) -> Iterator[str]:
    with serving(archive) as root:
        yield root


def objects_asked(archive: Archive) -> int:
    return sum("/instances/" in path for _, path, _ in archive.asked)


def test_a_series_is_read_as_the_archive_stores_it(archive: Archive, url: str, tmp_path: Path) -> None:
    fetched = fetch_study(url, STUDY, tmp_path / "study")
    assert (fetched.objects, fetched.present, fetched.skipped) == (4, 0, {})
    assert dicom_folders(tmp_path / "study") == [tmp_path / "study"]
    assert {path.read_bytes() for path in fetched.folders[0].iterdir()} == set(archive.objects.values())
    image, _ = read_series(fetched.folders[0])
    assert image.size == (6, 5, 4)


def test_what_is_there_is_not_fetched_again(archive: Archive, url: str, tmp_path: Path) -> None:
    fetch_study(url, STUDY, tmp_path / "study")
    again = fetch_study(url, STUDY, tmp_path / "study")
    assert (again.objects, again.present, objects_asked(archive)) == (0, 4, 4)


def test_a_damaged_file_is_fetched_again(url: str, tmp_path: Path) -> None:
    folder = fetch_study(url, STUDY, tmp_path / "study").folders[0]
    damaged = sorted(folder.iterdir())[1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-20])
    assert fetch_study(url, STUDY, tmp_path / "study").objects == 1
    assert damaged.read_bytes() == content


def test_a_series_that_has_grown_is_completed(archive: Archive, url: str, tmp_path: Path) -> None:
    late = archive.objects.popitem()
    fetch_study(url, STUDY, tmp_path / "study")
    archive.objects.update([late])
    assert fetch_study(url, STUDY, tmp_path / "study").objects == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda content: Reply(status=404), "no longer has an object of series 1 that it listed"),
        (lambda content: one_part(content, cut=300), "the connection ended within a reply"),
        (lambda content: one_part(content, end=b""), "sent an incomplete reply"),
        (lambda content: one_part(content[:-40]), "sent a damaged or another object"),
        (lambda content: one_part(b"<html>"), "sent a damaged or another object"),
        (lambda content: Reply(b"<html>", kind="text/html"), "sent no DICOM object"),
        (lambda content: one_part(content + b"\r\n--b\r\n\r\n" + content), "sent several objects"),
    ],
    ids=["gone", "cut off", "no end", "truncated object", "page", "page by its type", "two objects"],
)
def test_a_study_that_fails_half_way_leaves_no_case_and_is_continued(
    reply: object, message: str, archive: Archive, url: str, tmp_path: Path
) -> None:
    third = sorted(archive.objects)[2]
    archive.answer = lambda method, path, body: (
        reply(archive.objects[third]) if path.endswith(f"/{third}") else None  # type: ignore[operator]
    )
    with pytest.raises(ArchiveError, match=message):
        fetch_study(url, STUDY, tmp_path / "study")
    assert dicom_folders(tmp_path / "study") == []
    archive.answer = lambda method, path, body: None
    continued = fetch_study(url, STUDY, tmp_path / "study")
    assert (continued.objects, continued.present) == (2, 2)


def test_a_stopped_fetch_leaves_no_case_and_is_continued(archive: Archive, url: str, tmp_path: Path) -> None:
    second = sorted(archive.objects)[1]
    archive.answer = lambda method, path, body: (
        os.kill(os.getpid(), signal.SIGTERM) if path.endswith(f"/{second}") else None  # type: ignore[func-returns-value]
    )
    with pytest.raises(Stopped, match="2 of 4 objects are there") as stopped:
        fetch_study(url, STUDY, tmp_path / "study")
    assert stopped.value.code == 128 + signal.SIGTERM
    assert dicom_folders(tmp_path / "study") == []
    archive.answer = lambda method, path, body: None
    assert fetch_study(url, STUDY, tmp_path / "study").objects == 2


def test_an_object_of_another_series_is_not_taken(archive: Archive, url: str, tmp_path: Path) -> None:
    first, second = sorted(archive.objects)[:2]
    archive.objects[second] = archive.objects[first]
    with pytest.raises(ArchiveError, match="sent a damaged or another object"):
        fetch_study(url, STUDY, tmp_path / "study")


def test_a_series_that_changes_meanwhile_is_not_a_case(archive: Archive, url: str, tmp_path: Path) -> None:
    last = sorted(archive.objects)[-1]

    def grow(method: str, path: str, body: bytes) -> None:
        if path.endswith(f"/{last}"):
            archive.objects["9.9"] = b""

    archive.answer = grow
    with pytest.raises(ArchiveError, match="series 1 changed while it was fetched"):
        fetch_study(url, STUDY, tmp_path / "study")
    assert dicom_folders(tmp_path / "study") == []


def test_files_of_others_in_the_folder_of_a_series_are_kept(url: str, tmp_path: Path) -> None:
    folder = fetch_study(url, STUDY, tmp_path / "study").folders[0]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"contains 1 file that the series on the server does not"):
        fetch_study(url, STUDY, tmp_path / "study")
    assert (folder / "notes.txt").read_text() == "mine"


def test_other_objects_are_skipped_and_named_by_modality(archive: Archive, url: str, tmp_path: Path) -> None:
    archive.answer = lambda method, path, body: (
        listing({"0020000E": CT_UID, "00080060": "CT"}, {"0020000E": "1.9", "00080060": "SEG"})
        if path.endswith("/series")
        else None
    )
    assert fetch_study(url, STUDY, tmp_path / "study").skipped == {"SEG": 1}


@pytest.mark.parametrize("uid", ["../../etc", "1.2.3/series", "1..2", "", "9" * 65, "1.2.3\n"])
def test_uids_of_the_server_cannot_lead_elsewhere(uid: str, archive: Archive, url: str, tmp_path: Path) -> None:
    archive.answer = lambda method, path, body: (
        listing({"0020000E": uid, "00080060": "CT"}) if path.endswith("/series") else None
    )
    with pytest.raises(ArchiveError, match="sent an invalid list"):
        fetch_study(url, STUDY, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_list_longer_than_a_page_is_read_to_its_end(archive: Archive, url: str) -> None:
    def page(method: str, path: str, body: bytes) -> Reply:
        start = int(path.partition("offset=")[2] or 0)
        return listing(*({"00080018": f"1.{number}"} for number in range(start, min(start + 3, 8))))

    archive.answer = page
    with DicomWeb(url) as server:
        assert list(server.search("studies/1.2.3/series/1/instances", "00080018")) == [f"1.{n}" for n in range(8)]


def test_neither_patient_nor_uids_are_printed(
    url: str, tmp_path: Path, capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    main(["fetch", url, "--study", STUDY, "-o", str(tmp_path / "study")])
    with pytest.raises(SystemExit):
        main(["fetch", url, "--study", "1.2.77.1", "--series", "1.2.77.2", "-o", str(tmp_path / "other")])
    captured = capfd.readouterr()
    said = captured.out + captured.err + caplog.text + "".join(map(str, tmp_path.glob("study/*/*")))
    assert "4 objects fetched" in said
    assert not [secret for secret in (*SECRETS, "1.2.77", "instances") if secret in said]


def test_a_missing_study_creates_nothing(archive: Archive, url: str, tmp_path: Path) -> None:
    archive.answer = lambda method, path, body: Reply(b"", 204)
    with pytest.raises(MissingError, match="has no study with the given UID"):
        fetch_study(url, STUDY, tmp_path / "study")
    assert not (tmp_path / "study").exists()
