"""Files of tensors: no damaged file is read, and no file runs code."""

from __future__ import annotations

import errno
import logging
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from i2net_bundle.io.writing import DiskFullError
from i2net_bundle.networks import tensor_files
from i2net_bundle.networks.tensor_files import DamagedFileError, TensorFileError, load_tensors, save_tensors


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)).state_dict()


def damaged_copies(whole: bytes, count: int) -> Iterator[bytes]:
    """Flip bits, cut off, zero and overwrite parts anywhere in a file."""
    rng = random.Random(0)
    for number in range(count):
        content = bytearray(whole)
        position = rng.randrange(len(content))
        match number % 6:
            case 0:
                content[position] ^= 1 << rng.randrange(8)
            case 1:
                for _ in range(20):
                    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            case 2:
                del content[position:]
            case 3:
                content[position : position + 512] = bytes(len(content[position : position + 512]))
            case 4:
                content[-1 - rng.randrange(200)] ^= 1 << rng.randrange(8)
            case 5:
                del content[position : position + 16]
        if bytes(content) != whole:
            yield bytes(content)


def same(found: Any, expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], value) for name, value in expected.items())


def test_other_programs_read_the_file_as_a_plain_state_dict(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_tensors(state, tmp_path / "new" / "model.pt")
    for options in ({}, {"mmap": True}):
        assert same(torch.load(tmp_path / "new" / "model.pt", weights_only=True, **options), state)
    assert same(load_tensors(tmp_path / "new" / "model.pt"), state)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.pt"]


def test_equal_contents_give_equal_bytes(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        save_tensors(state, tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_no_damaged_file_is_read(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_tensors(state, path)
    copies = list(damaged_copies(path.read_bytes(), 240))
    assert len(copies) > 200
    for content in copies:
        path.write_bytes(content)
        with pytest.raises(DamagedFileError):
            load_tensors(path)


def test_no_damaged_file_of_another_program_changes_a_number(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(state, path)
    refused = 0
    for content in damaged_copies(path.read_bytes(), 240):
        path.write_bytes(content)
        try:
            assert same(load_tensors(path), state)
        except TensorFileError:
            refused += 1
    assert refused > 200


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "model.pt")
    shutil.unpack_archive(tmp_path / "model.pt", tmp_path / "content", "zip")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "content")
    with pytest.raises(TensorFileError, match="a compressed archive"):
        load_tensors(tmp_path / "packed.zip")


def test_a_file_without_checksums_is_read_with_a_warning(
    state: dict[str, torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with caplog.at_level(logging.WARNING):
        assert same(load_tensors(tmp_path / "old.pt"), state)
    assert re.search(r"old\.pt is in PyTorch's format before version 1\.6, which has no checksums", caplog.text)


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "old format"])
def test_a_file_with_code_is_refused_by_name_and_nothing_suggests_running_it(zipped: bool, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "code_ran",)

    torch.save({"state_dict": Payload()}, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(TensorFileError, match="objects other than tensors, which could run code") as error:
        load_tensors(tmp_path / "model.pt")
    assert not zipped or "pathlib.Path" in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "code_ran").exists()


def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(1, 1), torch.zeros(1, 1)), tmp_path / "model.pt")
    with pytest.raises(TensorFileError, match=r"a TorchScript program|compressed archive"):
        load_tensors(tmp_path / "model.pt")


def test_space_is_checked_before_the_file_is_written(
    state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    save_tensors(state, path)
    before = path.read_bytes()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr(torch, "save", lambda *_: pytest.fail("the file was begun"))
    with pytest.raises(DiskFullError, match=r"model\.pt was not written: it needs 0\.1 MB, and 0\.0 MB are free"):
        save_tensors(state, path)
    assert path.read_bytes() == before


def test_a_full_disk_keeps_the_earlier_file(
    state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    save_tensors(state, path)
    before = path.read_bytes()

    def half_save(_: Any, file: Any) -> None:
        file.write(b"half a file")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_files.torch, "save", half_save)
    with pytest.raises(DiskFullError, match=r"model\.pt was not written: the disk is full"):
        save_tensors(state, path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["model.pt"]
