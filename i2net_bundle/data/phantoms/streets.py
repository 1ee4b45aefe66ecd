"""Generate street phantoms: scenes of a street in perspective, with Cityscapes' folders, file names and label ids.

A street runs towards a vanishing point. What stands on it is painted from far to near, in a texture of its kind. The
colours of different kinds overlap, so that a pixel's colour does not tell its class.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from tqdm import tqdm

from i2net_bundle.labels import label_table

CITY = "phantom"
"""The city in the names of all scenes, by which `i2net_bundle.prepare.prepare_cityscapes` knows them."""
SMALLEST_SIDE = 64
STREAM = 4
SPLITS = ("train", "val", "test")

IDS = {name: value for value, name in label_table("cityscapes").sources["labelIds"].items()}
"""Cityscapes' label ids by class name, those of ignored classes included."""

Shade = NDArray[np.float64]
Mask = NDArray[np.bool_]


def street_phantom(
    index: int, size: tuple[int, int] = (96, 192), seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Generate the image and the label ids of one scene.

    Args:
        index: number of the scene.
        size: rows and columns (H, W).
        seed: seed of the whole set.

    Returns:
        image (H, W, 3), RGB, and label ids (H, W) in Cityscapes' own numbering, with ids that are ignored.

    Raises:
        ValueError: a side is under 64 pixels.
    """
    if min(size) < SMALLEST_SIDE:
        raise ValueError(f"size {size} is too small for streets. Both sides must be at least {SMALLEST_SIDE} pixels.")
    street = _Street(np.random.default_rng((seed, index, STREAM)), size)
    street.paint_sky()
    street.paint_ground()
    street.paint_sides()
    street.paint_objects()
    street.paint_borders()
    return street.photograph(), street.label


def make_street_phantoms(
    out_dir: str | PathLike[str],
    num_training: int = 24,
    num_validation: int = 8,
    num_test: int = 2,
    size: tuple[int, int] = (96, 192),
    seed: int = 0,
) -> Path:
    """Write a set of street phantoms as Cityscapes is distributed: ``leftImg8bit`` and ``gtFine``.

    As in the public files, the annotations of test scenes are void.

    Args:
        out_dir: folder of the set.
        num_training: scenes of the split "train".
        num_validation: scenes of the split "val".
        num_test: scenes of the split "test".
        size: rows and columns (H, W).
        seed: seed of the whole set; scenes are numbered across the splits.

    Returns:
        the folder, for ``i2net prepare cityscapes``.

    Raises:
        FileExistsError: the folder holds such a set.
    """
    out_dir = Path(out_dir)
    if (out_dir / "leftImg8bit").exists():
        raise FileExistsError(f"{out_dir} already holds leftImg8bit. Delete the folder, or choose another one.")
    counts = (num_training, num_validation, num_test)
    scenes = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    for index, split in enumerate(tqdm(scenes, desc="Street phantoms", unit="scene", disable=None)):
        image, label = street_phantom(index, size, seed)
        name = f"{CITY}_{index:06d}_000019"
        files = {
            f"leftImg8bit/{split}/{CITY}/{name}_leftImg8bit.png": image,
            f"gtFine/{split}/{CITY}/{name}_gtFine_labelIds.png": np.zeros_like(label) if split == "test" else label,
        }
        for path, pixels in files.items():
            file = out_dir / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    return out_dir


class _Street:
    """A scene in progress: colours (H, W, 3) in [0, 1] and label ids (H, W).

    ``near`` is 0 at the horizon and 1 at the lower border; a thing's size is proportional to it. ``aside`` is the
    distance from the street's middle as a share of the image's width where ``near`` is 1.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng, (self.height, self.width) = rng, size
        self.image = np.zeros((*size, 3))
        self.label = np.zeros(size, np.uint8)
        self.rows, self.cols = np.mgrid[: self.height, : self.width] + 0.5
        self.horizon = self.height * rng.uniform(0.34, 0.46)
        self.middle = self.width * rng.uniform(0.35, 0.65)
        self.road = rng.uniform(0.28, 0.42)
        self.near = np.clip((self.rows - self.horizon) / (self.height - self.horizon), 1e-3, 1)
        self.aside = (self.cols - self.middle) / (self.near * self.width)
        self.edges = self.road + rng.uniform(0.28, 0.42, 2)  # of the facades on either side

    def paint(self, where: Mask, name: str, colour: NDArray[np.float64], shade: Shade | float = 1.0) -> None:
        """Paint pixels (H, W) in a colour times a shade, and label them."""
        lit = colour * np.broadcast_to(shade, where.shape)[..., None]
        self.image[where] = lit[where]
        self.label[where] = IDS[name]

    def grey(self, low: float, high: float, tint: float = 0.05) -> NDArray[np.float64]:
        """A random grey with a tint."""
        return self.rng.uniform(low, high) + self.rng.normal(0, tint, 3)

    def noise(self, grain_px: float, strength: float, rows_px: float | None = None) -> Shade:
        """A shade around 1, correlated over some pixels."""
        sigma = (grain_px if rows_px is None else rows_px, grain_px)
        noise = ndimage.gaussian_filter(self.rng.standard_normal(self.label.shape), sigma, mode="wrap")
        return 1 + strength * noise / noise.std()

    def paint_sky(self) -> None:
        """A sky, blue to grey, with clouds."""
        blue = np.array([0.55, 0.7, 0.9]) * self.rng.uniform(0.8, 1.1)
        sky = blue + self.rng.uniform(0, 1) * (blue.mean() - blue)
        fade = 1 + 0.25 * self.rows / self.height
        self.paint(np.ones_like(self.label, bool), "sky", sky, fade * self.noise(14, 0.08, 5))

    def paint_ground(self) -> None:
        """Terrain, sidewalks, and a road with its markings; sometimes a strip for parking or a railway."""
        ground, aside = self.rows > self.horizon, np.abs(self.aside)
        grass = self.grass()
        self.paint(ground, "terrain", grass, self.noise(0.8, 0.22, 2))
        walk = self.road + self.rng.uniform(0.12, 0.2)
        depth = 6 / self.near
        tiles = 1 - 0.3 * (((self.aside * 14) % 1 < 0.12) | ((depth * 1.1) % 1 < 0.16))
        self.paint(ground & (aside < walk), "sidewalk", self.grey(0.4, 0.65), tiles * self.noise(1, 0.05))
        if self.rng.random() < 0.3:
            strip = (np.sign(self.aside) == self.rng.choice([-1, 1])) & (aside < self.road + 0.07)
            self.paint(ground & strip, "parking", self.grey(0.3, 0.5), self.noise(0.7, 0.1))
        self.paint(ground & (aside < self.road), "road", self.grey(0.28, 0.5), self.noise(0.7, 0.09))
        marked = ground & (np.abs(self.aside - self.rng.uniform(-0.05, 0.05)) < 0.008) & ((depth * 0.8) % 1 < 0.5)
        self.image[marked] = self.rng.uniform(0.75, 0.95)

    def paint_sides(self) -> None:
        """On either side, one behind the other: buildings, trees, walls and fences, or nothing."""
        for side, edge in zip((-1, 1), self.edges, strict=True):
            here = np.sign(self.cols - self.middle) == side
            base_near = np.clip(np.abs(self.cols - self.middle) / (edge * self.width), 1e-3, None)
            base = self.horizon + base_near * (self.height - self.horizon)
            block = np.floor(2.2 * np.log2(1 / base_near) + self.rng.random()).astype(int)
            for number in np.unique(block[here])[::-1]:
                self._paint_block(here & (block == number), base, base_near)

    def _paint_block(self, columns: Mask, base: Shade, base_near: Shade) -> None:
        kind = self.rng.choice(["building", "vegetation", "wall", "fence", "sky"], p=[0.4, 0.2, 0.17, 0.17, 0.06])
        tall = {"building": (0.5, 1.3), "vegetation": (0.35, 0.9), "wall": (0.1, 0.24), "fence": (0.1, 0.24)}
        if kind == "sky":
            return
        if kind in ("wall", "fence") and self.rng.random() < 0.7:  # behind it stands something else
            behind = "building" if self.rng.random() < 0.6 else "vegetation"
            self._paint_facade(behind, columns, base, base_near, self.rng.uniform(*tall[behind]))
        self._paint_facade(kind, columns, base, base_near, self.rng.uniform(*tall[kind]))

    def _paint_facade(self, kind: str, columns: Mask, base: Shade, base_near: Shade, tall: float) -> None:
        ground = tall if kind in ("wall", "fence") else 0.0
        top = (base if ground else self.horizon) - tall * base_near * self.height
        up = (base - self.rows) / (base_near * self.height)  # height above the ground as a share of the image's
        along = np.log2(1 / base_near)
        if kind == "vegetation":
            top = top + 3 * (self.noise(5, 1) - 1)
            where = columns & (self.rows > top) & (self.rows < base)
            self.paint(where, kind, self.leaves(), self.noise(1.3, 0.35) * self.noise(5, 0.15))
            return
        where, solid = columns & (self.rows > top) & (self.rows < base), np.ones_like(columns)
        if kind == "building":
            windows = ((up * self.rng.uniform(7, 12)) % 1 < 0.5) & ((along * self.rng.uniform(5, 10)) % 1 < 0.5)
            colour, shade = self.grey(0.3, 0.75, 0.08), 1 - self.rng.uniform(0.3, 0.6) * windows
        elif kind == "wall":
            joints = ((up * 40) % 1 < 0.2) | ((along * 12 + 0.5 * np.floor(up * 40)) % 1 < 0.1)
            colour, shade = self.grey(0.35, 0.7, 0.07), 1 - 0.35 * joints
        else:
            solid = ((along * 30) % 1 < 0.55) | ((up * 20) % 1 < 0.25)
            colour, shade = self.grey(0.2, 0.6, 0.08), np.ones_like(up)
        self.paint(where & solid, kind, colour, shade * self.noise(1, 0.07))
        self.label[where] = IDS[kind]  # gaps of a fence belong to it, as in Cityscapes' annotations

    def paint_objects(self) -> None:
        """Poles, signs, lights, people and vehicles, those far away first."""
        things: list[tuple[float, Callable[[float, float], None]]] = []

        def add(draw: Callable[[float, float], None], most: int, nearest: float = 0.85) -> None:
            things.extend((self.rng.uniform(0.16, nearest), draw) for _ in range(self.rng.integers(0, most + 1)))

        add(self._pole, 5)
        add(self._person, 4)
        add(self._cyclist, 2)
        add(self._parked_bicycle, 2)
        add(self._car, 3, 0.6)
        add(self._truck, 1, 0.5)
        add(self._bus, 1, 0.5)
        add(self._tram, 1, 0.5)
        add(self._bin, 2)
        for near, draw in sorted(things, key=lambda thing: thing[0]):
            draw(near, self.rng.choice([-1.0, 1.0]))

    def paint_borders(self) -> None:
        """The camera's own car and the border of the rectified image, both ignored."""
        if self.rng.random() < 0.7:
            rise = self.height * self.rng.uniform(0.03, 0.09)
            arch = 1 - ((self.cols - self.width / 2) / (0.55 * self.width)) ** 2
            self.paint(self.rows > self.height - rise * arch, "ego vehicle", self.grey(0.05, 0.3), self.noise(6, 0.1))
        border = (self.cols < 2) | (self.cols > self.width - 2)
        self.paint(border, "rectification border", np.zeros(3))

    def photograph(self) -> NDArray[np.uint8]:
        """The image (H, W, 3) in one light, through one camera."""
        light = self.rng.uniform(0.7, 1.15) * self.rng.uniform(0.9, 1.1, 3)
        seen = ndimage.gaussian_filter(self.image * light, (0.5, 0.5, 0))
        seen += self.rng.normal(0, self.rng.uniform(0.01, 0.035), seen.shape)
        return np.clip(np.rint(255 * seen), 0, 255).astype(np.uint8)

    def grass(self) -> NDArray[np.float64]:
        """A colour between fresh and dry grass."""
        return np.array([0.35, 0.5, 0.2]) + self.rng.uniform(0, 0.25) * np.array([1, 0.2, 0.3])

    def leaves(self) -> NDArray[np.float64]:
        """A colour between dark and autumn leaves."""
        return np.array([0.2, 0.38, 0.15]) + self.rng.uniform(0, 0.3) * np.array([1, 0.4, 0.1])

    def any_colour(self) -> NDArray[np.float64]:
        """A colour of cars and clothes."""
        return self.rng.uniform(0.08, 0.9, 3)

    def _place(self, near: float, aside: float) -> tuple[float, float, float]:
        """Column and row of a place on the ground, and the pixels that a height of the image has there."""
        return (
            self.middle + aside * near * self.width,
            self.horizon + near * (self.height - self.horizon),
            near * self.height,
        )

    def _shape(self, kind: str, left: float, top: float, right: float, bottom: float) -> Mask:
        """Pixels (H, W) of a "rectangle", an "ellipse" or a "triangle" in a box."""
        canvas = Image.new("L", (self.width, self.height))
        draw, box = ImageDraw.Draw(canvas), (left, top, max(right, left + 1), max(bottom, top + 1))
        if kind == "triangle":
            draw.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=1)
        else:
            getattr(draw, kind)(box, fill=1)
        return np.asarray(canvas) > 0

    def _pole(self, near: float, side: float) -> None:
        x, y, unit = self._place(near, side * (self.road + 0.03))
        tall, thick = unit * self.rng.uniform(0.55, 0.8), max(1.0, 0.02 * unit)
        self.paint(self._shape("rectangle", x, y - tall, x + thick, y), "pole", self.grey(0.2, 0.55), 1.0)
        kind, wide = self.rng.integers(3), max(3.0, 0.11 * unit)
        left, top = x + thick / 2 - wide / 2, y - tall
        if kind == 0:
            self.paint(
                self._shape("rectangle", left, top, left + wide, top + 2.2 * wide), "traffic light", np.full(3, 0.1)
            )
            lamp, third = self.rng.integers(3), 0.73 * wide
            glow = np.array([[0.95, 0.2, 0.1], [0.95, 0.75, 0.1], [0.1, 0.9, 0.4]])[lamp]
            ball = self._shape(
                "ellipse", left + 0.25 * wide, top + lamp * third, left + 0.75 * wide, top + (lamp + 0.7) * third
            )
            self.image[ball] = glow
        elif kind == 1:
            outline = self.rng.choice(["ellipse", "triangle", "rectangle"])
            rim = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.9, 0.8, 0.1]])[self.rng.integers(3)]
            self.paint(self._shape(outline, left, top, left + 1.3 * wide, top + 1.3 * wide), "traffic sign", rim)
            inner = self._shape(outline, left + 0.35 * wide, top + 0.4 * wide, left + 0.95 * wide, top + wide)
            self.image[inner] = 0.9

    def _body(self, x: float, y: float, tall: float, name: str) -> None:
        """A person standing at (x, y): legs, trunk and head."""
        wide = 0.3 * tall
        legs, coat, skin = (
            self.any_colour() * 0.6,
            self.any_colour(),
            np.array([0.8, 0.6, 0.5]) * self.rng.uniform(0.5, 1.1),
        )
        for shift in (-0.3, 0.1):
            leg = self._shape("rectangle", x + shift * wide, y - 0.5 * tall, x + (shift + 0.22) * wide, y)
            self.paint(leg, name, legs)
        self.paint(self._shape("ellipse", x - 0.5 * wide, y - 0.85 * tall, x + 0.5 * wide, y - 0.4 * tall), name, coat)
        self.paint(self._shape("ellipse", x - 0.2 * wide, y - tall, x + 0.25 * wide, y - 0.82 * tall), name, skin)

    def _person(self, near: float, side: float) -> None:
        x, y, unit = self._place(near, side * (self.road + self.rng.uniform(-0.05, 0.14)))
        self._body(x, y, unit * self.rng.uniform(0.32, 0.45), "person")

    def _wheels(self, x: float, y: float, unit: float, name: str) -> None:
        """Two wheels and a frame; a motorcycle's are filled."""
        radius, colour = 0.09 * unit, self.any_colour() * 0.7
        for shift in (-0.13, 0.13):
            box = (x + shift * unit - radius, y - 2 * radius, x + shift * unit + radius, y)
            wheel = self._shape("ellipse", *box)
            if name == "bicycle":
                inside = ndimage.binary_erosion(wheel, iterations=max(1, int(0.015 * unit)))
                self.label[wheel] = IDS[name]
                wheel &= ~inside
            self.paint(wheel, name, np.full(3, 0.08))
        thick = 0.03 if name == "bicycle" else 0.1
        bar = self._shape("rectangle", x - 0.13 * unit, y - 0.16 * unit, x + 0.13 * unit, y - (0.16 - thick) * unit)
        self.paint(bar, name, colour)

    def _cyclist(self, near: float, side: float) -> None:
        x, y, unit = self._place(near, side * self.rng.uniform(0.4, 0.9) * self.road)
        self._body(x, y - 0.08 * unit, 0.38 * unit, "rider")
        self._wheels(x, y, unit, str(self.rng.choice(["bicycle", "motorcycle"])))

    def _parked_bicycle(self, near: float, side: float) -> None:
        x, y, unit = self._place(near, side * (self.road + self.rng.uniform(0.05, 0.12)))
        self._wheels(x, y, unit, str(self.rng.choice(["bicycle", "motorcycle"], p=[0.6, 0.4])))

    def _box(self, near: float, aside: float, wide: float, tall: float, name: str) -> tuple[float, float, float, float]:
        """A vehicle's body with its shadow and wheels; returns left, top, right and bottom."""
        x, y, unit = self._place(near, aside)
        left, right, top = x - wide * unit / 2, x + wide * unit / 2, y - tall * unit
        for wheel in (left, right - 0.18 * wide * unit):
            self.paint(
                self._shape("rectangle", wheel, y - 0.15 * unit, wheel + 0.18 * wide * unit, y), name, np.full(3, 0.06)
            )
        body = self._shape("rectangle", left, top, right, y - 0.05 * unit)
        self.paint(body, name, self.any_colour(), self.noise(4, 0.06))
        return left, top, right, y

    def _glass(self, left: float, top: float, right: float, bottom: float) -> None:
        self.image[self._shape("rectangle", left, top, right, bottom)] = self.grey(0.1, 0.35)

    def _car(self, near: float, side: float) -> None:
        left, top, right, bottom = self._box(near, side * self.rng.uniform(0.3, 0.75) * self.road, 0.42, 0.2, "car")
        wide, tall = right - left, bottom - top
        cabin = self._shape("ellipse", left + 0.12 * wide, top - 0.75 * tall, right - 0.12 * wide, top + 0.8 * tall)
        self.paint(cabin & (self.rows < top), "car", self.any_colour() * 0.5 + 0.1)
        self._glass(left + 0.25 * wide, top - 0.4 * tall, right - 0.25 * wide, top - 0.05 * tall)
        for lamp in (left + 0.04 * wide, right - 0.16 * wide):
            self.image[self._shape("rectangle", lamp, top + 0.3 * tall, lamp + 0.1 * wide, top + 0.45 * tall)] = (
                0.8,
                0.15,
                0.1,
            )

    def _truck(self, near: float, side: float) -> None:
        left, top, right, bottom = self._box(near, side * self.rng.uniform(0.3, 0.7) * self.road, 0.5, 0.62, "truck")
        seam = self._shape("rectangle", (left + right) / 2, top, (left + right) / 2, bottom - 0.12 * (bottom - top))
        self.image[seam] *= 0.4

    def _bus(self, near: float, side: float) -> None:
        left, top, right, bottom = self._box(near, side * self.rng.uniform(0.3, 0.7) * self.road, 0.52, 0.62, "bus")
        wide, tall = right - left, bottom - top
        self._glass(left + 0.08 * wide, top + 0.18 * tall, right - 0.08 * wide, top + 0.55 * tall)
        self.image[
            self._shape("rectangle", left + 0.2 * wide, top + 0.04 * tall, right - 0.2 * wide, top + 0.13 * tall)
        ] = (
            0.95,
            0.7,
            0.1,
        )

    def _tram(self, near: float, side: float) -> None:
        aside = side * self.rng.uniform(0.1, 0.5) * self.road
        rails = (np.abs(np.abs(self.aside - aside) - 0.07) < 0.012) & (self.rows > self.horizon)
        self.paint(rails & (self.label == IDS["road"]), "rail track", np.full(3, 0.75))
        left, top, right, bottom = self._box(near, aside, 0.4, 0.72, "train")
        wide, tall = right - left, bottom - top
        for number in range(3):
            start = left + (0.08 + 0.3 * number) * wide
            self._glass(start, top + 0.15 * tall, start + 0.22 * wide, top + 0.5 * tall)
        self.image[self._shape("rectangle", left, top + 0.6 * tall, right, top + 0.68 * tall)] *= 1.6

    def _bin(self, near: float, side: float) -> None:
        x, y, unit = self._place(near, side * (self.road + 0.1))
        name = str(self.rng.choice(["static", "dynamic"]))
        self.paint(self._shape("rectangle", x, y - 0.18 * unit, x + 0.11 * unit, y), name, self.any_colour())
