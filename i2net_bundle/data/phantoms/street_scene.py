"""A street in perspective: a canvas of colours and label ids, its ground, and what lines it on either side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from i2net_bundle.labels import label_table

IDS = {name: value for value, name in label_table("cityscapes").sources["labelIds"].items()}
"""Cityscapes' label ids by class name, those of ignored classes included."""
SKY_BLUE = np.array([0.55, 0.7, 0.9])
GRASS, DRY_GRASS = np.array([0.35, 0.5, 0.2]), np.array([0.25, 0.05, 0.075])
LEAVES, AUTUMN = np.array([0.2, 0.38, 0.15]), np.array([0.3, 0.12, 0.03])
SIDES = {"building": 0.4, "vegetation": 0.2, "wall": 0.17, "fence": 0.17, "sky": 0.06}
"""What stands beside the street, with its probability."""
HEIGHTS = {"building": (0.5, 1.3), "vegetation": (0.35, 0.9), "wall": (0.1, 0.24), "fence": (0.1, 0.24)}
"""Smallest and largest height as a share of the image's, where it is nearest."""

Shade = NDArray[np.float64]
Colour = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Scene:
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

    def paint(self, where: Mask, name: str, colour: Colour, shade: Shade | float = 1.0) -> None:
        """Paint pixels (H, W) in a colour times a shade, and label them."""
        lit = colour * np.broadcast_to(shade, where.shape)[..., None]
        self.image[where] = lit[where]
        self.label[where] = IDS[name]

    def grey(self, low: float, high: float, tint: float = 0.05) -> Colour:
        """A random grey with a tint."""
        return self.rng.uniform(low, high) + self.rng.normal(0, tint, 3)

    def noise(self, grain_px: float, strength: float, rows_px: float | None = None) -> Shade:
        """A shade around 1, correlated over some pixels."""
        sigma = (grain_px if rows_px is None else rows_px, grain_px)
        noise = ndimage.gaussian_filter(self.rng.standard_normal(self.label.shape), sigma, mode="wrap")
        return 1 + strength * noise / noise.std()

    def place(self, near: float, aside: float) -> tuple[float, float, float]:
        """Column and row of a place on the ground, and the pixels that a height of the image has there."""
        return (
            self.middle + aside * near * self.width,
            self.horizon + near * (self.height - self.horizon),
            near * self.height,
        )

    def shape(self, kind: str, left: float, top: float, right: float, bottom: float) -> Mask:
        """Pixels (H, W) of a "rectangle", an "ellipse" or a "triangle" in a box."""
        canvas = Image.new("L", (self.width, self.height))
        draw, box = ImageDraw.Draw(canvas), (left, top, max(right, left + 1), max(bottom, top + 1))
        if kind == "triangle":
            draw.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=1)
        else:
            getattr(draw, kind)(box, fill=1)
        return np.asarray(canvas) > 0

    def paint_sky(self) -> None:
        """A sky, blue to grey, with clouds."""
        blue = SKY_BLUE * self.rng.uniform(0.8, 1.1)
        sky = blue + self.rng.uniform(0, 1) * (blue.mean() - blue)
        fade = 1 + 0.25 * self.rows / self.height
        self.paint(np.ones_like(self.label, bool), "sky", sky, fade * self.noise(14, 0.08, 5))

    def paint_ground(self) -> None:
        """Terrain, sidewalks, and a road with its markings; sometimes a strip for parking."""
        ground, aside = self.rows > self.horizon, np.abs(self.aside)
        grass = GRASS + self.rng.uniform() * DRY_GRASS
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
        kind = str(self.rng.choice(list(SIDES), p=list(SIDES.values())))
        if kind == "sky":
            return
        if kind in ("wall", "fence") and self.rng.random() < 0.7:  # behind it stands something else
            behind = "building" if self.rng.random() < 0.6 else "vegetation"
            self._paint_facade(behind, columns, base, base_near, self.rng.uniform(*HEIGHTS[behind]))
        self._paint_facade(kind, columns, base, base_near, self.rng.uniform(*HEIGHTS[kind]))

    def _paint_facade(self, kind: str, columns: Mask, base: Shade, base_near: Shade, tall: float) -> None:
        ground = tall if kind in ("wall", "fence") else 0.0
        top = (base if ground else self.horizon) - tall * base_near * self.height
        up = (base - self.rows) / (base_near * self.height)  # height above the ground as a share of the image's
        along = np.log2(1 / base_near)
        if kind == "vegetation":
            top = top + 3 * (self.noise(5, 1) - 1)
            where = columns & (self.rows > top) & (self.rows < base)
            self.paint(where, kind, LEAVES + self.rng.uniform() * AUTUMN, self.noise(1.3, 0.35) * self.noise(5, 0.15))
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
