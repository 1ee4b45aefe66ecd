"""What stands on a street: poles, signs and lights, people and cyclists, vehicles and bins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from i2net_bundle.data.phantoms.street_scene import IDS, Colour, Scene

SKIN = np.array([0.8, 0.6, 0.5])
LAMPS = np.array([[0.95, 0.2, 0.1], [0.95, 0.75, 0.1], [0.1, 0.9, 0.4]])
RIMS = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.9, 0.8, 0.1]])
TAIL_LIGHT, LINE_NUMBER = (0.8, 0.15, 0.1), (0.95, 0.7, 0.1)

Draw = Callable[[Scene, float, float], None]
"""Draws a thing on a scene, given how near it is and its side of the street, -1 or 1."""


def paint_objects(scene: Scene) -> None:
    """Poles, signs, lights, people and vehicles, those far away first."""
    things: list[tuple[float, Draw]] = []
    for draw, most, nearest in THINGS:
        things += [(scene.rng.uniform(0.16, nearest), draw) for _ in range(scene.rng.integers(0, most + 1))]
    for near, draw in sorted(things, key=lambda thing: thing[0]):
        draw(scene, near, scene.rng.choice([-1.0, 1.0]))


def _pole(scene: Scene, near: float, side: float) -> None:
    x, y, unit = scene.place(near, side * (scene.road + 0.03))
    tall, thick = unit * scene.rng.uniform(0.55, 0.8), max(1.0, 0.02 * unit)
    scene.paint(scene.shape("rectangle", x, y - tall, x + thick, y), "pole", scene.grey(0.2, 0.55), 1.0)
    kind, wide = scene.rng.integers(3), max(3.0, 0.11 * unit)
    left, top = x + thick / 2 - wide / 2, y - tall
    if kind == 0:
        scene.paint(
            scene.shape("rectangle", left, top, left + wide, top + 2.2 * wide), "traffic light", np.full(3, 0.1)
        )
        lamp, third = scene.rng.integers(3), 0.73 * wide
        ball = scene.shape(
            "ellipse", left + 0.25 * wide, top + lamp * third, left + 0.75 * wide, top + (lamp + 0.7) * third
        )
        scene.image[ball] = LAMPS[lamp]
    elif kind == 1:
        outline = scene.rng.choice(["ellipse", "triangle", "rectangle"])
        rim = RIMS[scene.rng.integers(3)]
        scene.paint(scene.shape(outline, left, top, left + 1.3 * wide, top + 1.3 * wide), "traffic sign", rim)
        inner = scene.shape(outline, left + 0.35 * wide, top + 0.4 * wide, left + 0.95 * wide, top + wide)
        scene.image[inner] = 0.9


def _body(scene: Scene, x: float, y: float, tall: float, name: str) -> None:
    """A person standing at (x, y): legs, trunk and head."""
    wide = 0.3 * tall
    legs, coat = _any_colour(scene) * 0.6, _any_colour(scene)
    skin = SKIN * scene.rng.uniform(0.5, 1.1)
    for shift in (-0.3, 0.1):
        leg = scene.shape("rectangle", x + shift * wide, y - 0.5 * tall, x + (shift + 0.22) * wide, y)
        scene.paint(leg, name, legs)
    scene.paint(scene.shape("ellipse", x - 0.5 * wide, y - 0.85 * tall, x + 0.5 * wide, y - 0.4 * tall), name, coat)
    scene.paint(scene.shape("ellipse", x - 0.2 * wide, y - tall, x + 0.25 * wide, y - 0.82 * tall), name, skin)


def _person(scene: Scene, near: float, side: float) -> None:
    x, y, unit = scene.place(near, side * (scene.road + scene.rng.uniform(-0.05, 0.14)))
    _body(scene, x, y, unit * scene.rng.uniform(0.32, 0.45), "person")


def _wheels(scene: Scene, x: float, y: float, unit: float, name: str) -> None:
    """Two wheels and a frame; a motorcycle's are filled."""
    radius, colour = 0.09 * unit, _any_colour(scene) * 0.7
    for shift in (-0.13, 0.13):
        box = (x + shift * unit - radius, y - 2 * radius, x + shift * unit + radius, y)
        wheel = scene.shape("ellipse", *box)
        if name == "bicycle":
            inside = ndimage.binary_erosion(wheel, iterations=max(1, int(0.015 * unit)))
            scene.label[wheel] = IDS[name]
            wheel &= ~inside
        scene.paint(wheel, name, np.full(3, 0.08))
    thick = 0.03 if name == "bicycle" else 0.1
    bar = scene.shape("rectangle", x - 0.13 * unit, y - 0.16 * unit, x + 0.13 * unit, y - (0.16 - thick) * unit)
    scene.paint(bar, name, colour)


def _cyclist(scene: Scene, near: float, side: float) -> None:
    x, y, unit = scene.place(near, side * scene.rng.uniform(0.4, 0.9) * scene.road)
    _body(scene, x, y - 0.08 * unit, 0.38 * unit, "rider")
    _wheels(scene, x, y, unit, str(scene.rng.choice(["bicycle", "motorcycle"])))


def _parked_bicycle(scene: Scene, near: float, side: float) -> None:
    x, y, unit = scene.place(near, side * (scene.road + scene.rng.uniform(0.05, 0.12)))
    _wheels(scene, x, y, unit, str(scene.rng.choice(["bicycle", "motorcycle"], p=[0.6, 0.4])))


def _box(
    scene: Scene, near: float, aside: float, wide: float, tall: float, name: str
) -> tuple[float, float, float, float]:
    """A vehicle's body with its shadow and wheels; returns left, top, right and bottom."""
    x, y, unit = scene.place(near, aside)
    left, right, top = x - wide * unit / 2, x + wide * unit / 2, y - tall * unit
    for wheel in (left, right - 0.18 * wide * unit):
        scene.paint(
            scene.shape("rectangle", wheel, y - 0.15 * unit, wheel + 0.18 * wide * unit, y), name, np.full(3, 0.06)
        )
    body = scene.shape("rectangle", left, top, right, y - 0.05 * unit)
    scene.paint(body, name, _any_colour(scene), scene.noise(4, 0.06))
    return left, top, right, y


def _glass(scene: Scene, left: float, top: float, right: float, bottom: float) -> None:
    scene.image[scene.shape("rectangle", left, top, right, bottom)] = scene.grey(0.1, 0.35)


def _car(scene: Scene, near: float, side: float) -> None:
    left, top, right, bottom = _box(scene, near, side * scene.rng.uniform(0.3, 0.75) * scene.road, 0.42, 0.2, "car")
    wide, tall = right - left, bottom - top
    cabin = scene.shape("ellipse", left + 0.12 * wide, top - 0.75 * tall, right - 0.12 * wide, top + 0.8 * tall)
    scene.paint(cabin & (scene.rows < top), "car", _any_colour(scene) * 0.5 + 0.1)
    _glass(scene, left + 0.25 * wide, top - 0.4 * tall, right - 0.25 * wide, top - 0.05 * tall)
    for lamp in (left + 0.04 * wide, right - 0.16 * wide):
        light = scene.shape("rectangle", lamp, top + 0.3 * tall, lamp + 0.1 * wide, top + 0.45 * tall)
        scene.image[light] = TAIL_LIGHT


def _truck(scene: Scene, near: float, side: float) -> None:
    left, top, right, bottom = _box(scene, near, side * scene.rng.uniform(0.3, 0.7) * scene.road, 0.5, 0.62, "truck")
    seam = scene.shape("rectangle", (left + right) / 2, top, (left + right) / 2, bottom - 0.12 * (bottom - top))
    scene.image[seam] *= 0.4


def _bus(scene: Scene, near: float, side: float) -> None:
    left, top, right, bottom = _box(scene, near, side * scene.rng.uniform(0.3, 0.7) * scene.road, 0.52, 0.62, "bus")
    wide, tall = right - left, bottom - top
    _glass(scene, left + 0.08 * wide, top + 0.18 * tall, right - 0.08 * wide, top + 0.55 * tall)
    sign = scene.shape("rectangle", left + 0.2 * wide, top + 0.04 * tall, right - 0.2 * wide, top + 0.13 * tall)
    scene.image[sign] = LINE_NUMBER


def _tram(scene: Scene, near: float, side: float) -> None:
    aside = side * scene.rng.uniform(0.1, 0.5) * scene.road
    rails = (np.abs(np.abs(scene.aside - aside) - 0.07) < 0.012) & (scene.rows > scene.horizon)
    scene.paint(rails & (scene.label == IDS["road"]), "rail track", np.full(3, 0.75))
    left, top, right, bottom = _box(scene, near, aside, 0.4, 0.72, "train")
    wide, tall = right - left, bottom - top
    for number in range(3):
        start = left + (0.08 + 0.3 * number) * wide
        _glass(scene, start, top + 0.15 * tall, start + 0.22 * wide, top + 0.5 * tall)
    scene.image[scene.shape("rectangle", left, top + 0.6 * tall, right, top + 0.68 * tall)] *= 1.6


def _bin(scene: Scene, near: float, side: float) -> None:
    x, y, unit = scene.place(near, side * (scene.road + 0.1))
    name = str(scene.rng.choice(["static", "dynamic"]))
    scene.paint(scene.shape("rectangle", x, y - 0.18 * unit, x + 0.11 * unit, y), name, _any_colour(scene))


def _any_colour(scene: Scene) -> Colour:
    """A colour of cars and clothes."""
    return scene.rng.uniform(0.08, 0.9, 3)


THINGS: tuple[tuple[Draw, int, float], ...] = (
    (_pole, 5, 0.85),
    (_person, 4, 0.85),
    (_cyclist, 2, 0.85),
    (_parked_bicycle, 2, 0.85),
    (_car, 3, 0.6),
    (_truck, 1, 0.5),
    (_bus, 1, 0.5),
    (_tram, 1, 0.5),
    (_bin, 2, 0.85),
)
"""How each thing is drawn, how many there are at most, and how near they come."""
