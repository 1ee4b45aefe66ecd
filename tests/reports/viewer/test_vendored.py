"""The software of others is what its table says, with its licences."""

from __future__ import annotations

import re
from pathlib import Path

from i2net_bundle.io.writing import file_sha256
from i2net_bundle.reports import viewer

FOLDER = Path(viewer.__file__).with_name("vendored")


def table() -> dict[str, str]:
    """Digests by file."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(\S+)` \|.*\| `([0-9a-f]{64})` \|$", text, re.MULTILINE))


def test_every_vendored_script_has_the_digest_of_its_table() -> None:
    scripts = {path.name for path in FOLDER.glob("*.js")}
    assert table().keys() == scripts == {"niivue.umd.js", "openseadragon.min.js"}
    assert {name: file_sha256(FOLDER / name) for name in scripts} == table()


def test_every_vendored_script_has_a_licence_beside_it() -> None:
    for name in table():
        text = (FOLDER / f"{name.partition('.')[0]}.LICENSE.txt").read_text(encoding="utf-8")
        assert "Redistributions in binary form must reproduce the above" in text


def test_no_vendored_script_could_end_the_element_that_contains_it() -> None:
    for name in table():
        text = (FOLDER / name).read_text(encoding="utf-8").lower()
        assert "</script" not in text and "<!--" not in text
