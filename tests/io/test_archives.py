"""Archives are extracted only if what they unpack to is plausible, by its claimed and its real size."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from i2net_bundle.io import archives
from i2net_bundle.io.archives import extract, require_sound_zip
from i2net_bundle.io.findings import DataError
from i2net_bundle.prepare.sources import opened_source

SIZE = 2**21


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_UNCHECKED_BYTES", 2**20)


def zipped(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.nii", content)
    return path


def tarred(path: Path, content: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("a.nii")
        member.size = len(content)
        archive.addfile(member, BytesIO(content))
    return path


@pytest.mark.parametrize(("pack", "name"), [(zipped, "a.zip"), (tarred, "a.tar.gz"), (tarred, "a.tgz")])
def test_an_archive_that_unpacks_a_thousandfold_is_refused_and_nothing_is_written(
    pack: Callable[[Path, bytes], Path], name: str, tmp_path: Path
) -> None:
    archive = pack(tmp_path / name, bytes(SIZE))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"MB and unpacks to 0\.0 GB or more, as no data set does"):
        extract(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(DataError, match="as no data set does"), opened_source(archive, tmp_path):
        pass


@pytest.mark.parametrize(("pack", "name"), [(zipped, "a.zip"), (tarred, "a.tar.gz")])
def test_an_archive_of_data_is_extracted(pack: Callable[[Path, bytes], Path], name: str, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(SIZE)
    (tmp_path / "out").mkdir()
    extract(pack(tmp_path / name, content), tmp_path / "out")
    assert (tmp_path / "out" / "a.nii").read_bytes() == content


def test_a_member_that_unpacks_to_more_than_it_claims_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", bytes(SIZE))
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<I", SIZE), struct.pack("<I", 10)))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="is a damaged archive"):
        extract(archive, tmp_path / "out")
    assert all(path.stat().st_size <= 10 for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["a.zip", "a.npz"])
def test_an_encrypted_archive_is_named(name: str, tmp_path: Path) -> None:
    archive = zipped(tmp_path / name, b"content")
    content = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + flags] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: is an encrypted archive\. Extract it with its password"):
        require_sound_zip(archive)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no tar")], ids=["empty", "text", "gzip"])
def test_what_is_no_archive_is_to_be_downloaded_again(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: is a damaged archive.*\. Download it again\."):
        extract(tmp_path / name, tmp_path)


@pytest.mark.parametrize("name", ["../out.nii", "/tmp/out.nii"])
def test_members_outside_the_folder_are_not_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for archive in (tmp_path / "a.zip", tmp_path / "a.tar.gz"):
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive, "w") as opened:
                opened.writestr(name, b"x")
            extract(archive, tmp_path / "out")
        else:
            with tarfile.open(archive, "w:gz") as opened_tar:
                opened_tar.addfile(tarfile.TarInfo(name), BytesIO())
            if name.startswith(".."):
                with pytest.raises(DataError, match="is a damaged archive"):
                    extract(archive, tmp_path / "out")
    assert not (tmp_path / "out.nii").exists()
