"""The child process that reads images with ITK: python -m i2net_bundle.io.itk_child.

ITK ends its process on some headers. The child reads a request per line from stdin, as JSON, and answers on stdout: a
line of JSON, then the bytes of the voxels. See `i2net_bundle.io.itk_process`.
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
        in_header = True
        try:
            if request["dicom"]:
                image = _dicom_reader(request["paths"], request["kind"]).Execute()
                _send_image(answers, image, image.GetNumberOfComponentsPerPixel(), image)
                continue
            reader = sitk.ImageFileReader()
            reader.SetFileName(request["paths"][0])
            reader.ReadImageInformation()
            in_header = False
            image = reader.Execute() if request["voxels"] else None
            _send_image(answers, reader, reader.GetNumberOfComponents(), image)
        except (RuntimeError, MemoryError) as cause:
            _send(answers, {"error": str(cause) or type(cause).__name__, "in_header": in_header})


def _dicom_reader(paths: list[str], kind: str | None) -> sitk.ImageSeriesReader:
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(paths)
    if kind is not None:
        reader.SetOutputPixelType({"int32": sitk.sitkInt32, "float32": sitk.sitkFloat32}[kind])
    return reader


def _send_image(
    answers: BinaryIO, header: sitk.ImageFileReader | sitk.Image, components: int, image: sitk.Image | None
) -> None:
    described = {
        "size": header.GetSize(),
        "spacing": header.GetSpacing(),
        "origin": header.GetOrigin(),
        "direction": header.GetDirection(),
        "components": components,
        "kind": sitk.GetPixelIDValueAsString(header.GetPixelID()),
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
