"""The child process that reads NRRD and MetaImage files: python -m i2net_bundle.io.itk_child.

ITK ends its process on some headers. It reads a request per line from stdin, as JSON, and answers on stdout: a line of
JSON, then the bytes of the voxels. See `i2net_bundle.io.itk_process`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries may print
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_memory(request["memory"])
        reader = sitk.ImageFileReader()
        reader.SetFileName(request["path"])
        image, in_header = None, True
        try:
            reader.ReadImageInformation()
            in_header = False
            if request["voxels"]:
                image = reader.Execute()
            _answer(answers, reader, image)
        except (RuntimeError, MemoryError) as cause:
            _send(answers, {"error": str(cause) or type(cause).__name__, "in_header": in_header})


def _answer(answers: BinaryIO, reader: sitk.ImageFileReader, image: sitk.Image | None) -> None:
    described = {
        "size": reader.GetSize(),
        "spacing": reader.GetSpacing(),
        "origin": reader.GetOrigin(),
        "direction": reader.GetDirection(),
        "components": reader.GetNumberOfComponents(),
        "kind": sitk.GetPixelIDValueAsString(reader.GetPixelID()),
    }
    if image is None:
        _send(answers, described)
        return
    voxels = np.asarray(sitk.GetArrayViewFromImage(image))
    described |= {"shape": voxels.shape, "dtype": voxels.dtype.str}
    _send(answers, described, voxels.reshape(-1).view(np.uint8).data)


def _send(answers: BinaryIO, described: dict[str, Any], voxels: memoryview | None = None) -> None:
    answers.write(json.dumps(described).encode() + b"\n")
    if voxels is not None:
        answers.write(voxels)
    answers.flush()


def _limit_memory(growth: int) -> None:
    """Limit the address space to ``growth`` bytes beyond its present size, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + growth
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    except (ImportError, OSError, ValueError):  # not Linux
        return


if __name__ == "__main__":
    main()
