"""Read images with SimpleITK in a child process, with limits of time and memory.

ITK ends its process on some headers of NRRD and MetaImage, and allocates gigabytes for some of DICOM. One child serves
all files of a process; it starts with the first of them, and a new one starts if it ends. Only numbers and bytes come
back from it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_START_S = 60.0
_BYTES_PER_S = 2e6
"""Slowest storage that is waited for."""
_MEMORY = 2**29


@dataclass(frozen=True)
class ItkImage:
    """What ITK reads of a file.

    Attributes:
        size: along x, y, z, ….
        spacing: of each axis, in mm.
        origin: of the first voxel, in LPS mm.
        direction: of the axes, row by row.
        components: numbers per voxel.
        kind: of the numbers, such as "16-bit signed integer".
        voxels: (z, y, x), with the components last; None if only the header was read.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    components: int
    kind: str
    voxels: np.ndarray | None = None


class ItkError(RuntimeError):
    """ITK cannot read a file.

    Args:
        message: ITK's, which may have several lines, or how its process ended.
        in_header: whether not even the header was read.
    """

    def __init__(self, message: str, in_header: bool) -> None:
        super().__init__(message)
        self.in_header = in_header


class _EndedError(ItkError):
    """The child process ended."""


def read_with_itk(path: str | Path, claimed: int, voxels: bool = True) -> ItkImage:
    """Read an image.

    Args:
        path: the file.
        claimed: size of its voxels in bytes, which the limits depend on.
        voxels: whether to read the voxels, or the header alone.

    Raises:
        ItkError: the file cannot be read, or reading it ends, blocks or fills the child process.
    """
    return _child.read({"paths": [os.path.abspath(path)], "voxels": voxels, "dicom": False}, claimed)


def read_dicom_with_itk(paths: Sequence[Path], claimed: int, kind: str | None = None) -> ItkImage:
    """Read slices as a volume with GDCM, which applies the rescale slope and intercept of each.

    Args:
        paths: the files, in the order of the slices.
        claimed: size of their pixels in bytes, which the limits depend on.
        kind: of the numbers, "int32" or "float32"; without it, what the first slice needs.

    Raises:
        ItkError: a file cannot be read, or reading it ends, blocks or fills the child process.
    """
    request = {"paths": [os.path.abspath(path) for path in paths], "voxels": True, "dicom": True, "kind": kind}
    return _child.read(request, claimed)


class _Child:
    """The child process and the only way to it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def read(self, request: dict[str, Any], claimed: int) -> ItkImage:
        request = {**request, "memory": _MEMORY + 4 * claimed}
        limit_s = _START_S + claimed / _BYTES_PER_S
        with self._lock:
            was_running = self._process is not None
            try:
                return self._read(request, limit_s)
            except _EndedError:
                if not was_running:
                    raise
                return self._read(request, limit_s)  # a child that was killed before says nothing about this file

    def _read(self, request: dict[str, Any], limit_s: float) -> ItkImage:
        process = self._started()
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limit_s, stop)
        timer.daemon = True
        timer.start()
        try:
            return _exchange(process, request)
        except (OSError, EOFError) as cause:
            process.kill()
            status = process.wait()
            self.stop()
            if late.is_set():
                raise ItkError(f"ITK took more than {limit_s:.0f} s", in_header=True) from cause
            raise _EndedError(f"it is damaged: ITK ended with status {status}", in_header=True) from cause
        finally:
            timer.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            known = os.pathsep.join(path or os.getcwd() for path in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "i2net_bundle.io.itk_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": known},
                start_new_session=True,
            )
        return self._process

    def stop(self) -> None:
        """End the child; it ends by itself when its stdin does."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # closing flushes, and a child that was killed reads nothing
                        pipe.close()
            process.wait()

    def forget(self) -> None:
        """Leave the child to the parent of a forked process, which needs one of its own."""
        self.__init__()  # type: ignore[misc]


def _exchange(process: subprocess.Popen[bytes], request: dict[str, object]) -> ItkImage:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer = json.loads(line)
    if "error" in answer:
        raise ItkError(answer["error"].strip(), answer["in_header"])
    shape, dtype = answer.pop("shape", None), answer.pop("dtype", None)
    voxels = None if shape is None else _received(process, shape, dtype)
    parts: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in answer.items()}
    return ItkImage(**parts, voxels=voxels)


def _received(process: subprocess.Popen[bytes], shape: Sequence[int], dtype: str) -> np.ndarray:
    assert process.stdout is not None
    voxels = np.empty(shape, dtype)
    if process.stdout.readinto(voxels.reshape(-1).view(np.uint8)) != voxels.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return voxels


_child = _Child()
atexit.register(_child.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_child.forget)
