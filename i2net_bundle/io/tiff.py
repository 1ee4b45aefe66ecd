"""Read tiled TIFF (plain, or a slide scanner's pyramid) window by window."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tifffile

from i2net_bundle.io.findings import DataError, error, reading
from i2net_bundle.io.pixel_size import recorded_um_per_px
from i2net_bundle.io.regular_files import first_bytes
from i2net_bundle.io.tiff_headers import is_tiff, require_sound_pages, stack_size

_CACHE_BYTES = 32 * 2**20
_LARGEST_TILE_BYTES = 2**28
_LONGEST_SIDE = 2**31
_RGB, _GREY, _YCBCR = tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.YCBCR
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT = 274, 282, 283, 296
_UNITS_PER_INCH = {2: 1.0, 3: 2.54}


def is_tiled_tiff(path: str | Path) -> bool:
    """Whether a file is a TIFF with a tiled largest page; False for damaged and other files."""
    if not Path(path).is_file():
        return False
    start = first_bytes(path)
    if not is_tiff(start):
        return False
    try:
        require_sound_pages(path, start)
        with tifffile.TiffFile(path) as tiff:
            return _largest(tiff.pages).is_tiled
    except Exception:  # the parser raises whatever damaged bytes lead it to
        return False


class TiledTiff:
    """The full-resolution image of a tiled TIFF, 8-bit RGB or grey.

    At most 32 MiB of decoded tiles are cached; memory does not grow with the image. Use it in a ``with`` block.

    Args:
        path: the file; see `is_tiled_tiff`.

    Attributes:
        size: rows and columns.
        um_per_px: micrometres per pixel that the file records, or None.

    Raises:
        DataError: the file cannot be read, contains several different images, or has unsupported pixels; names them
            and the remedy.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        start = first_bytes(path)
        if is_tiff(start):
            require_sound_pages(path, start)
        with reading(path, "image-unreadable"):
            self._tiff = tifffile.TiffFile(path)
            try:
                self._open()
            except BaseException:
                self._tiff.close()
                raise

    def _open(self) -> None:
        pages: list[Any] = list(self._tiff.pages)
        page = self._page = _largest(pages)
        self._refuse_other_pages(pages)
        self._refuse_other_pixels()
        self._require_sound_tiles()
        self.size: tuple[int, int] = (page.imagelength, page.imagewidth)
        self.um_per_px = recorded_um_per_px(_dpi(page), page.description or pages[0].description, _resolution(page))
        self._side = (page.tilelength, page.tilewidth)
        self._across = -(-page.imagewidth // page.tilewidth)
        self._tile = lru_cache(maxsize=max(1, _CACHE_BYTES // self._tile_bytes))(self._decoded)

    def __enter__(self) -> TiledTiff:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tile.cache_clear()
        self._tiff.close()

    def read(self, rows: slice, cols: slice) -> np.ndarray:
        """Pixels (h, w, 3), uint8, of rows and columns within the image, without steps.

        Raises:
            DataError: the tiles there are truncated or damaged.
        """
        pixels = np.empty((rows.stop - rows.start, cols.stop - cols.start, 3), np.uint8)
        length, width = self._side
        for down in range(rows.start // length, -(-rows.stop // length)):
            for along in range(cols.start // width, -(-cols.stop // width)):
                tile = self._tile(down * self._across + along)
                into_rows, of_rows = _overlap(rows, down * length, length)
                into_cols, of_cols = _overlap(cols, along * width, width)
                pixels[into_rows, into_cols] = tile[of_rows, of_cols]
        return pixels

    def _decoded(self, index: int) -> np.ndarray:
        """Decode a tile, (length, width, 3 or 1); scanners omit tiles without tissue, which become white."""
        page = self._page
        blank = np.full((*self._side, page.samplesperpixel), 255, np.uint8)
        if page.databytecounts[index] == 0:
            return blank
        stored = self._tiff.filehandle
        stored.seek(page.dataoffsets[index])
        data = stored.read(page.databytecounts[index])
        try:
            if len(data) < page.databytecounts[index]:
                raise ValueError("the file ends too early")
            segment = page.decode(data, index, jpegtables=page.jpegtables)[0][0]  # cropped at the image's border
        except Exception as cause:  # decoders raise anything on damaged bytes
            problem = f"is truncated or damaged ({cause})"
            raise _fault("image-unreadable", self.path, problem, "Download or export it again.") from cause
        blank[: segment.shape[0], : segment.shape[1]] = segment
        return blank

    def _require_sound_tiles(self) -> None:
        """Check the sizes that the header claims: of the image, of a tile, and of each stored tile."""
        page = self._page
        sides = (page.imagelength, page.imagewidth, page.tilelength, page.tilewidth)
        if not all(isinstance(side, int) and 0 < side <= _LONGEST_SIDE for side in sides):
            problem = f"is damaged: image and tiles have the sides {', '.join(map(str, sides))}"
            raise _fault("image-unreadable", self.path, problem, "Download or export it again.")
        self._tile_bytes = page.tilelength * page.tilewidth * page.samplesperpixel
        tiles = -(-page.imagelength // page.tilelength) * -(-page.imagewidth // page.tilewidth)
        stored = max(page.databytecounts, default=0)
        counts = {len(page.databytecounts), len(page.dataoffsets)}
        if counts != {tiles} or self._tile_bytes > _LARGEST_TILE_BYTES or stored > 2 * self._tile_bytes + 2**16:
            problem = f"is damaged: {tiles} tiles of {self._tile_bytes} bytes do not fit what its header lists"
            raise _fault("image-unreadable", self.path, problem, "Download or export it again.")

    def _refuse_other_pages(self, pages: Sequence[Any]) -> None:
        """Refuse pages other than smaller copies of the image and scanners' overview pictures."""
        scanner = self._tiff.is_svs or self._tiff.is_philips
        others = [
            page
            for page in pages
            if page is not self._page and not (_is_copy(page, self._page) or (scanner and not page.is_tiled))
        ]
        if others:
            problem = f"contains {len(pages)} pages that are not one image's resolutions"
            raise _fault("image-pages", self.path, problem, "Save the page you need as its own file.")
        if stack_size(pages[0].description) > 1:
            problem = f"is a stack of {stack_size(pages[0].description)} images, as ImageJ writes them"
            raise _fault("image-pages", self.path, problem, "Save it as one RGB image.")

    def _refuse_other_pixels(self) -> None:
        page, path = self._page, self.path
        if not page.is_tiled:
            raise _fault("image-tiles", path, "is not stored in tiles", "Export it as a tiled TIFF, or as PNG.")
        as_rgb = "Export it as RGB with 8 bits per channel, without transparency."
        if page.dtype != np.uint8 or page.bitspersample != 8:
            raise _fault("image-bits", path, f"has pixels of {page.bitspersample} bits ({page.dtype})", as_rgb)
        samples = {_GREY: 1, _RGB: 3, _YCBCR: 3}.get(page.photometric)
        if samples != page.samplesperpixel or page.imagedepth != 1:
            kind = getattr(page.photometric, "name", page.photometric)
            raise _fault("image-mode", path, f"contains {page.samplesperpixel} channels of kind {kind}", as_rgb)
        if samples == 3 and page.planarconfig != tifffile.PLANARCONFIG.CONTIG:
            raise _fault("image-mode", path, "contains each colour as a plane of its own", as_rgb)
        orientation = page.tags.valueof(_ORIENTATION, default=1)
        if orientation != 1:
            remedy = "Export it upright, with orientation 1."
            raise _fault(
                "image-orientation", path, f"is stored rotated or mirrored (orientation {orientation})", remedy
            )
        compression = getattr(page.compression, "name", page.compression)
        try:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
            tifffile.TIFF.UNPREDICTORS[page.predictor]
        except KeyError as cause:
            problem = f"is compressed by {compression}, which cannot be decoded here"
            remedy = "Install imagecodecs (pip install 'i2net-bundle[slides]'), or export it with deflate compression."
            raise _fault("image-compression", path, problem, remedy) from cause
        if page.photometric == _YCBCR and "JPEG" not in str(compression):
            raise _fault("image-mode", path, "contains YCbCr colours that are not compressed as JPEG", as_rgb)


def _largest(pages: Any) -> Any:
    return max(pages, key=lambda page: page.imagelength * page.imagewidth)


def _is_copy(page: Any, full: Any) -> bool:
    """Whether a page is marked as a smaller copy or an extra, or has a copy's aspect ratio within rounding."""
    if page.subfiletype & 1:
        return True
    ratio = full.imagewidth / page.imagewidth
    return ratio > 1 and abs(full.imagelength / ratio - page.imagelength) <= 1


def _dpi(page: Any) -> list[float]:
    per_inch = _UNITS_PER_INCH.get(int(page.tags.valueof(_UNIT, default=2)))
    return [] if per_inch is None else [per_inch * value for value in _resolution(page)]


def _resolution(page: Any) -> list[float]:
    """Pixels along x and y per unit of length."""
    fractions = [page.tags.valueof(code, default=(0, 1)) for code in (_X_RESOLUTION, _Y_RESOLUTION)]
    if any(denominator == 0 for _, denominator in fractions):
        return []
    return [numerator / denominator for numerator, denominator in fractions]


def _overlap(wanted: slice, start: int, side: int) -> tuple[slice, slice]:
    """Slices of the overlap within ``wanted`` and within the tile that begins at ``start``."""
    low, high = max(wanted.start, start), min(wanted.stop, start + side)
    return slice(low - wanted.start, high - wanted.start), slice(low - start, high - start)


def _fault(rule: str, path: str | Path, problem: str, remedy: str) -> DataError:
    return DataError([error(rule, path, problem, remedy)])
