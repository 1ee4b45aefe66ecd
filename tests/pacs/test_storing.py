"""Results are sent once, refusals are reported by file, and nothing is removed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from i2net_bundle.cli import main
from i2net_bundle.pacs.dicomweb import ArchiveError
from i2net_bundle.pacs.storing import store_results
from i2net_bundle.prediction.cohort import predict_files
from tests.docs.faults.prediction import small_predictor
from tests.io.dicom.files import SECRETS
from tests.pacs.phantom import write_phantom
from tests.pacs.server import Archive, Reply, serving

pytest.importorskip("requests", reason="needs the extra 'pacs'")
pytest.importorskip("highdicom", reason="needs the extra 'pacs'")


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two series."""
    folder = tmp_path_factory.mktemp("predicted")
    for name in ("a", "b"):
        write_phantom(folder / "scans" / name, uid=f"1.2.3.{ord(name)}")
    predict_files([folder / "scans"], folder / "masks", small_predictor(folder), pictures=False, rtstruct=True)
    return folder / "masks"


def objects(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.dcm"))


def refusing(reason: int, status: int = 409) -> Callable[[str, str, bytes], Reply]:
    failed = {"00081198": {"Value": [{"00081197": {"Value": [reason]}}]}}
    return lambda method, path, body: Reply(json.dumps(failed).encode(), status)


def test_every_object_is_sent_as_it_is_and_kept(masks: Path) -> None:
    sent: list[bytes] = []
    archive = Archive()
    archive.answer = lambda method, path, body: sent.append(body)  # type: ignore[func-returns-value]
    before = {path: path.read_bytes() for path in masks.rglob("*") if path.is_file()}
    with serving(archive) as url:
        result = store_results(masks, url)
    assert sorted(result.stored) == objects(masks) and not result.refused
    assert {path: path.read_bytes() for path in masks.rglob("*") if path.is_file()} == before
    assert all(any(before[masks / name] in body for body in sent) for name in objects(masks))


def test_a_refusal_is_reported_by_file_and_the_others_are_stored(
    masks: Path, capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    refused = pydicom.dcmread(masks / "a_mask.dcm").SOPInstanceUID.encode()
    archive = Archive()
    archive.answer = lambda method, path, body: refusing(0xA700)(method, path, body) if refused in body else None
    with serving(archive) as url, pytest.raises(SystemExit) as ended:
        main(["store", str(masks), url, "--json"])
    assert ended.value.code == 1
    captured = capfd.readouterr()
    answer = json.loads(captured.out)
    assert answer["refused"]["a_mask.dcm"] == "out of resources (failure reason A700)"
    assert "b_mask.dcm" in answer["stored"]
    assert re.search(r"a_mask\.dcm: 127\.0\.0\.1:\d+ did not store it \(out of resources", caplog.text)
    assert not [secret for secret in SECRETS if secret in captured.out + captured.err + caplog.text]


def test_an_object_that_the_server_has_already_is_no_refusal(masks: Path) -> None:
    archive = Archive()
    archive.answer = refusing(0x0111)
    with serving(archive) as url:
        assert not store_results(masks, url).refused


@pytest.mark.parametrize("status", [400, 409, 413, 500, 507])
def test_any_other_status_is_a_refusal(status: int, masks: Path) -> None:
    archive = Archive()
    archive.answer = lambda method, path, body: Reply(b"Doe^Jane", status, "text/plain")
    with serving(archive) as url:
        result = store_results(masks, url)
    assert set(result.refused.values()) == {f"HTTP status {status}"} and not result.stored


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"00081199": {"Value": [{}]}}', b"[" * 100_000])
def test_an_object_that_the_server_does_not_confirm_is_not_stored(body: bytes, masks: Path) -> None:
    archive = Archive()
    archive.answer = lambda method, path, _: Reply(body)
    with serving(archive) as url:
        result = store_results(masks, url)
    assert set(result.refused.values()) == {"its reply does not confirm it"} and not result.stored


def test_a_login_that_is_not_accepted_ends_the_command(masks: Path) -> None:
    archive = Archive()
    archive.answer = lambda method, path, body: Reply(b"", 401)
    with serving(archive) as url, pytest.raises(ArchiveError, match=r"HTTP status 401.*It has 0 of \d objects"):
        store_results(masks, url)
    assert len(archive.asked) == 1


def test_a_damaged_object_is_not_sent(masks: Path, tmp_path: Path) -> None:
    for name in ("prediction.json", "cases.jsonl"):
        (tmp_path / name).write_bytes((masks / name).read_bytes())
    for name in objects(masks):
        (tmp_path / name).write_bytes(b"junk")
    archive = Archive()
    with serving(archive) as url, pytest.raises(ValueError, match="is no DICOM object, or damaged"):
        store_results(tmp_path, url)
    assert archive.asked == []
