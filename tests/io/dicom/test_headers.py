"""DICOM headers are read without patient attributes, with or without a preamble, and their sizes are checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from i2net_bundle.io.dicom.dicom_slice import DicomSlice, OtherObject
from i2net_bundle.io.dicom.headers import DamagedFileError, is_dicom, read_header
from i2net_bundle.io.dicom.volume import read_series
from i2net_bundle.io.findings import DataError
from tests.io.dicom.files import SECRETS, edit, write_ct, write_slice


def without_preamble(path: Path) -> Path:
    """Rewrite a file as old archives do: no preamble, no file meta information, no suffix."""
    content = pydicom.dcmread(path)
    content.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    bare = pydicom.Dataset(content)
    target = path.with_suffix("")
    pydicom.dcmwrite(target, bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    path.unlink()
    assert target.read_bytes()[128:132] != b"DICM"
    return target


def test_a_header_contains_nothing_of_the_patient(tmp_path: Path) -> None:
    write_slice(tmp_path / "0.dcm", (0, 0, 0))
    item = read_header(tmp_path / "0.dcm")
    assert isinstance(item, DicomSlice) and item.position_mm == (0, 0, 0)
    assert not any(secret in repr(item) for secret in ("Doe", "JD-4711", "19700131"))


def test_files_without_a_preamble_are_read(tmp_path: Path) -> None:
    write_ct(tmp_path)
    for path in sorted(tmp_path.glob("*.dcm")):
        assert is_dicom(without_preamble(path))
    assert read_series(tmp_path)[0].size == (6, 5, 4)


@pytest.mark.parametrize("name", ["README.txt", "a.nii", "IM1"])
@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x08\x00\x05\x00", b"\x08\x00\x10\x00\xff\xff\xff\xffzz", bytes(999)]
)
def test_other_files_are_not_dicom(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_header(tmp_path / name) is None


def test_a_damaged_object_of_unknown_kind_is_not_taken_for_a_slice(tmp_path: Path) -> None:
    (tmp_path / "SR000001").write_bytes(bytes(128) + b"DICM" + bytes(99))
    assert read_header(tmp_path / "SR000001") == OtherObject(tmp_path / "SR000001", "damaged")


@pytest.mark.parametrize("content", [b"", b"text", b"<!doctype html>", bytes(128) + b"DICM", bytes(999)])
def test_a_file_that_is_dicom_by_its_name_only_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_bytes(content)
    with pytest.raises(DamagedFileError, match="truncated or damaged"):
        read_header(tmp_path / "1.dcm")


def test_hidden_files_and_pipes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "._1.dcm").write_bytes(b"Mac OS X")
    os.mkfifo(tmp_path / "2.dcm")
    assert not is_dicom(tmp_path / "._1.dcm")
    assert not is_dicom(tmp_path / "2.dcm")


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_file_cut_off_anywhere_is_damaged(kept: float, tmp_path: Path) -> None:
    write_slice(tmp_path / "1.dcm", (0, 0, 0))
    whole = (tmp_path / "1.dcm").read_bytes()
    (tmp_path / "1.dcm").write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DamagedFileError, match="truncated or damaged"):
        read_header(tmp_path / "1.dcm")


@pytest.mark.parametrize(
    "claim", [{"Rows": 65535, "Columns": 65535}, {"Rows": 0}, {"NumberOfFrames": 10**6}, {"BitsAllocated": 0}], ids=str
)
def test_a_small_file_that_claims_other_pixels_than_it_stores_is_damaged(claim: dict[str, int], tmp_path: Path) -> None:
    write_slice(tmp_path / "1.dcm", (0, 0, 0))
    edit(tmp_path, lambda content, _: [setattr(content, name, value) for name, value in claim.items()])
    with pytest.raises(DamagedFileError, match="truncated or damaged"):
        read_header(tmp_path / "1.dcm")


def compressed(content: Any, syntax: str, frame: bytes) -> None:
    content.file_meta.TransferSyntaxUID = syntax
    content.Rows, content.Columns = 65535, 32767
    content.PixelData = encapsulate([frame])
    content["PixelData"].is_undefined_length = True


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=["RLE", "JPEG 2000"])
def test_a_small_compressed_file_that_claims_gigabytes_is_refused(syntax: str, tmp_path: Path) -> None:
    write_slice(tmp_path / "1.dcm", (0, 0, 0))
    edit(tmp_path, lambda content, _: compressed(content, syntax, bytes(2000)))
    with pytest.raises(DamagedFileError, match="truncated or damaged"):
        read_header(tmp_path / "1.dcm")


def test_many_small_compressed_files_that_claim_gigabytes_together_are_refused(tmp_path: Path) -> None:
    write_ct(tmp_path, range(0, 150, 5))

    def change(content: Any, _: int) -> None:
        compressed(content, RLELossless, bytes(2000))
        content.Rows, content.Columns = 4096, 8000  # 62.5 MiB each

    edit(tmp_path, change)
    with pytest.raises(DataError, match=r"claims more pixels than its files can hold\. Copy or export"):
        read_series(tmp_path)


@pytest.mark.parametrize("syntax", ["1.2.3", "1.2.840.10008.5.1.4.1.1.2"], ids=["unknown", "another class"])
def test_a_file_in_an_unknown_transfer_syntax_is_damaged(syntax: str, tmp_path: Path) -> None:
    write_slice(tmp_path / "1.dcm", (0, 0, 0))
    whole = (tmp_path / "1.dcm").read_bytes()
    known = pydicom.dcmread(tmp_path / "1.dcm").file_meta.TransferSyntaxUID.encode()
    (tmp_path / "1.dcm").write_bytes(whole.replace(known, syntax.encode()[: len(known)].ljust(len(known), b"\0"), 1))
    with pytest.raises(DamagedFileError, match="truncated or damaged"):
        read_header(tmp_path / "1.dcm")


def test_a_deflated_file_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    write_slice(tmp_path / "1.dcm", (0, 0, 0))
    edit(tmp_path, lambda content, _: setattr(content.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
    with pytest.raises(DataError, match=r"1 slice that cannot be read: deflated as a whole \(1\.dcm\)"):
        read_series(tmp_path)


def test_a_damaged_slice_of_3_kb_costs_no_memory(tmp_path: Path) -> None:
    write_ct(tmp_path, size=(30, 30))
    edit(tmp_path, lambda content, _: setattr(content, "Rows", 65535) or setattr(content, "Columns", 65535))
    code = (
        "import resource, sys\nfrom i2net_bundle.io.dicom.volume import read_series\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_series(sys.argv[1])\nexcept ValueError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    reported = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, encoding="utf-8", check=True
    )
    assert int(reported.stdout) * (1 if sys.platform == "darwin" else 1024) < 2**26


@pytest.mark.parametrize("attribute", ["Rows", "PixelSpacing", "NumberOfFrames", "RescaleSlope", "PixelPaddingValue"])
def test_a_value_that_is_not_a_number_is_not_printed(
    attribute: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_ct(tmp_path)

    def change(content: Any, _: int) -> None:
        content.add_new(attribute, "LO", "Doe^Jane")

    edit(tmp_path, change)
    with pytest.raises(DataError) as caught:
        read_series(tmp_path)
    reported = str(caught.value) + "".join(capfd.readouterr()) + caplog.text
    assert not any(secret in reported for secret in SECRETS)
