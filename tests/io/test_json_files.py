"""JSON files are written completely; missing and damaged ones are read as empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.io.json_files import read_json_or_empty, write_json


def test_an_object_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    content = {"name": "Größe", "values": [1, None, 0.5]}
    write_json(tmp_path / "new" / "a.json", content)
    assert read_json_or_empty(tmp_path / "new" / "a.json") == content


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "\xff", "[" * 100_000])
def test_a_missing_or_damaged_file_or_another_kind_of_value_is_an_empty_object(
    text: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    assert read_json_or_empty(path) == {}
