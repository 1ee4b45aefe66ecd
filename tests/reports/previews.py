"""Data sets to preview, and what their pages and contact sheets show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
MARKED = "#b3261e"
"""Colour of cases with findings."""


def sheet(page: Path, number: int = 1) -> np.ndarray:
    """Pixels (H, W, 3) of a contact sheet."""
    with Image.open(page.with_name(f"page_{number:02d}.png")) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def pixels_of(picture: np.ndarray, color: str, within: int = 2) -> np.ndarray:
    """Where (rows, columns) a colour is; ``within`` allows for thin lines, which smoothing mixes with what is below."""
    return np.argwhere(np.abs(picture - np.rint(255 * np.array(to_rgb(color)))).max(axis=-1) <= within)


def html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def table_rows(page: Path) -> dict[str, list[str]]:
    """Case to the cells after its split, as written, "header" to the names of the columns."""
    rows = re.findall(r"<tr>(.*?)</tr>", html(page))
    names = re.findall(r"<th>(.*?)</th>", rows[0])
    cells = [re.findall(r"<td.*?</td>", row) for row in rows[1:]]
    return {"header": names[2:], **{re.sub("<.*?>", "", row[0]): row[2:] for row in cells}}


def written(folder: Path, **contents: Any) -> Path:
    (folder / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    return folder
