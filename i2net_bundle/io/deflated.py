"""Verify the checksum of data compressed by deflate, for readers that ignore it."""

from __future__ import annotations

import zlib
from pathlib import Path

_CHUNK_BYTES = 2**20
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32


def is_intact(path: str | Path, start: int) -> bool:
    """Whether a zlib or gzip stream can be unpacked to its end and matches its checksum; memory use is constant.

    Args:
        path: the file.
        start: position of the stream in it.
    """
    stream = zlib.decompressobj(_ZLIB_OR_GZIP)
    with open(path, "rb") as file:
        file.seek(start)
        data = file.read(_CHUNK_BYTES)
        try:
            while data and not stream.eof:
                stream.decompress(data, _CHUNK_BYTES)
                data = stream.unconsumed_tail or file.read(_CHUNK_BYTES)
        except zlib.error:
            return False
    return stream.eof
