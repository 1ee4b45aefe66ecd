"""Pictures and files inside a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image


def as_base64(content: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(content).decode("ascii")


def as_webp(picture: Path | np.ndarray, quality: int = 90) -> bytes:
    """A figure or photograph as WebP; as PNG, every photograph would add several MB to the page.

    Args:
        picture: file, or RGB (H, W, 3), uint8; at most 16383 pixels on each side.
        quality: of the compression, to 100.
    """
    stream = io.BytesIO()
    with Image.fromarray(picture) if isinstance(picture, np.ndarray) else Image.open(picture) as image:
        image.convert("RGB").save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def webp_url(content: bytes) -> str:
    """Data URL of a WebP picture."""
    return f"data:image/webp;base64,{as_base64(content)}"
