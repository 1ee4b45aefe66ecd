"""Hypothesis strategies that damage a file's bytes, the numbers in its text, or a JSON document."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

HOSTILE_NUMBERS = (0, 1, -1, 2, 7, 99, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**63 - 1)
HOSTILE_FLOATS = (0.0, -0.0, -1.0, 1e-45, 1e30, 1e308, float("nan"), float("inf"), -float("inf"))
HOSTILE_TEXT = (
    "",
    "-1",
    "0",
    "99",
    "1e9",
    "4294967296",
    "9" * 4000,
    "nan",
    "inf",
    "1e308",
    "\0",
    "\x1b[31m",
    "%s",
    "$1+1",
)
_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
MARKER = "CODE_WAS_RUN"
"""File that hostile text would create if it were evaluated."""


def damaged_bytes(content: bytes, header: int = 512) -> st.SearchStrategy[bytes]:
    """Apply one to four faults to a file's bytes.

    Args:
        content: of the valid file.
        header: number of leading bytes that half of the faults fall into.
    """
    return st.lists(_fault(len(content), header), min_size=1, max_size=4).map(lambda faults: _apply(content, faults))


def _apply(content: bytes, faults: list[Callable[[bytes], bytes]]) -> bytes:
    for fault in faults:
        content = fault(content)
    return content


def _fault(size: int, header: int) -> st.SearchStrategy[Callable[[bytes], bytes]]:
    last = max(size - 1, 0)
    place = st.integers(0, last) | st.integers(0, min(header, last))
    length = st.integers(1, 64)
    number = st.sampled_from(HOSTILE_NUMBERS)
    integers = st.builds(_packed, number, st.sampled_from(("<h", ">h", "<i", ">i", "<q")))
    floats = st.builds(
        struct.pack, st.sampled_from(("<f", ">f", "<d")), st.sampled_from(HOSTILE_FLOATS[:-4]) | st.just(float("nan"))
    )
    return st.one_of(
        st.builds(_flip, place, st.integers(0, 7)),
        st.builds(_overwrite, place, st.binary(min_size=1, max_size=8)),
        st.builds(_overwrite, place, integers | floats),
        st.builds(_cut, place),
        st.builds(_delete, place, length),
        st.builds(_repeat, place, length),
        st.builds(_insert, place, st.binary(min_size=1, max_size=64)),
        st.builds(_replace_number, st.integers(0, 40), st.sampled_from(HOSTILE_TEXT)),
    )


def _packed(value: int, form: str) -> bytes:
    bits = 8 * struct.calcsize(form)
    return struct.pack(form, (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1))


def _flip(place: int, bit: int) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        flipped = bytes(byte ^ 1 << bit for byte in content[place : place + 1])
        return content[:place] + flipped + content[place + 1 :]

    return flip


def _overwrite(place: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content[:place] + value + content[place + len(value) :]


def _cut(place: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:place]


def _delete(place: int, length: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:place] + content[place + length :]


def _repeat(place: int, length: int) -> Callable[[bytes], bytes]:
    return lambda content: content[: place + length] + content[place:]


def _insert(place: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content[:place] + value + content[place:]


def _replace_number(index: int, text: str) -> Callable[[bytes], bytes]:
    """Replace a number that is written as text, as in NRRD, MetaImage and DICOM."""

    def replace(content: bytes) -> bytes:
        found = list(_NUMBER.finditer(content[:4096]))
        if not found:
            return content
        match = found[index % len(found)]
        return content[: match.start()] + text.encode() + content[match.end() :]

    return replace


def with_png_checksums(content: bytes) -> bytes:
    """Correct the checksum of every chunk of a PNG file, as far as the chunks can be followed."""
    corrected, place = bytearray(content), 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            break
        struct.pack_into(">I", corrected, end, zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return bytes(corrected)


def damaged_document(content: Any) -> st.SearchStrategy[bytes]:
    """Replace, remove or add values of a JSON document.

    Args:
        content: the valid document.
    """
    places = list(_places(content))
    changes = st.lists(st.tuples(st.sampled_from(places), st.none() | _values()), min_size=1, max_size=3)
    return changes.map(lambda chosen: _changed(content, chosen))


def _values() -> st.SearchStrategy[Any]:
    command = f"touch {MARKER}"
    code = (
        f"$__import__('os').system('{command}')",
        f"$import os; os.system('{command}')",
        {"_target_": "os.system", "command": command},
        {"_target_": "subprocess.run", "args": command, "shell": True},
        {"_target_": "builtins.exec", "source": f"import os; os.system('{command}')"},
        "@network_def",
        "%dataset.json",
    )
    others = (True, [], {}, [[]], "../../etc/passwd", "/dev/zero", "x" * 10_000)
    hostile = st.sampled_from((*code, *HOSTILE_NUMBERS, *HOSTILE_FLOATS, *HOSTILE_TEXT, *others))
    names = st.text(max_size=8)
    nested = st.recursive(
        hostile | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=6,
    )
    return hostile | nested | st.integers(100, 3000).map(_deep)


def _deep(levels: int) -> str:
    """Stand in for lists nested this deep, which json cannot write; see `_changed`."""
    return f"\0deep{levels}\0"


def _places(content: Any, path: tuple[Any, ...] = ()) -> Any:
    if path:
        yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from _places(value, (*path, key))


def _changed(content: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> bytes:
    document = json.loads(json.dumps(content))
    for path, value in changes:
        parent = document
        try:
            for key in path[:-1]:
                parent = parent[key]
            if value is None:
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    text = json.dumps(document)
    text = re.sub(r'"\\u0000deep(\d+)\\u0000"', lambda match: "[" * int(match[1]) + "]" * int(match[1]), text)
    return text.encode()
