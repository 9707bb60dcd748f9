"""Schematic faces, drawn from points and polygons: eight expressions, turned, lit, and covered in several ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from ranfer.vocab import Expression, Occlusion

Points = list[tuple[float, float]]
Colour = tuple[int, int, int]

_FINE = 4  # drawn this much larger, then shrunk: Pillow draws without antialiasing
_WHITE, _DARK, _LIPS = (245, 243, 238), (35, 25, 25), (150, 60, 60)


class _Features(NamedTuple):
    """How an expression moves a face, in units of half the head's width; heights count upwards."""

    inner: float = 0.0  # inner ends of the brows
    outer: float = 0.0  # outer ends of the brows
    eye: float = 1.0  # opening of the eyes, 1 at rest
    smile: float = 0.0  # corners of the mouth
    open: float = 0.0  # opening of the mouth
    width: float = 0.36  # half the mouth's width
    smirk: float = 0.0  # one corner of the mouth alone
    wrinkled: bool = False  # nose


_FEATURES = {
    Expression.NEUTRAL: _Features(),
    Expression.HAPPINESS: _Features(outer=0.03, eye=0.8, smile=0.24, open=0.30, width=0.48),
    Expression.SURPRISE: _Features(inner=0.20, outer=0.20, eye=1.6, open=0.52, width=0.22),
    Expression.SADNESS: _Features(inner=0.18, outer=-0.08, eye=0.7, smile=-0.20, width=0.32),
    Expression.ANGER: _Features(inner=-0.17, outer=0.16, eye=0.8, smile=-0.10, open=0.16, width=0.40),
    Expression.DISGUST: _Features(
        inner=-0.12, outer=-0.02, eye=0.35, smile=-0.22, open=0.12, width=0.36, wrinkled=True
    ),
    Expression.FEAR: _Features(inner=0.24, outer=0.04, eye=1.55, smile=-0.14, open=0.24, width=0.46),
    Expression.CONTEMPT: _Features(outer=0.06, eye=0.6, smirk=0.26),
}


def draw_face(
    expression: Expression,
    generator: np.random.Generator,
    size: int = 48,
    occlusion: Occlusion | None = None,
    yaw: float = 0.0,
) -> UInt8[np.ndarray, "size size 3"]:
    """A schematic face of ``size`` pixels that shows an expression, RGB.

    Position, scale, roll, colours, light, noise and the strength of the expression come from the generator. ``yaw``
    turns the features round the head, in degrees, to the right of the picture where positive. ``occlusion`` covers the
    forehead and brows (hat or hand), mouth and chin (mask or hand), one side (hand), or the eyes (glasses).
    """
    side = size * _FINE
    shade = generator.uniform(0.55, 1.0)
    skin = _scaled((238, 200, 170), shade)
    hair = _scaled((120, 80, 50), generator.uniform(0.2, 1.3))
    picture = Image.new("RGB", (side, side), _scaled((190, 200, 210), generator.uniform(0.35, 1.1)))
    pen = _Pen(
        draw=ImageDraw.Draw(picture),
        centre=(side * generator.uniform(0.46, 0.54), side * generator.uniform(0.49, 0.55)),
        unit=side * generator.uniform(0.31, 0.36),
        roll=np.radians(generator.uniform(-10, 10)),
        yaw=np.radians(yaw),
    )
    _draw_head(pen, skin, hair)
    _draw_features(pen, _FEATURES[expression], skin, hair, generator)
    if occlusion is not None:
        _COVERS[occlusion](pen, skin, generator)
    face = np.asarray(picture.resize((size, size), Image.Resampling.BOX), dtype=np.float64)
    across, down = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    light = generator.uniform(0.85, 1.1) + generator.uniform(-0.2, 0.2) * across + generator.uniform(-0.1, 0.1) * down
    noise = generator.normal(0, generator.uniform(1, 7), size=(size, size, 1))
    return np.clip(face * light[..., None] + noise, 0, 255).astype(np.uint8)


class _Pen(NamedTuple):
    """Draws in the units of the head: x and y from its middle, half its width being 1, y downwards."""

    draw: ImageDraw.ImageDraw
    centre: tuple[float, float]
    unit: float
    roll: float
    yaw: float

    def place(self, points: Points, flat: bool = False) -> Points:
        """Points on the front of the round head, or ``flat`` before it, as pixels."""
        x, y = np.array(points).T
        if not flat:
            x = np.clip(x, -1, 1)
            x = x * np.cos(self.yaw) + np.sqrt(1 - x**2) * np.sin(self.yaw)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        across = self.centre[0] + self.unit * (x * cos - y * sin)
        down = self.centre[1] + self.unit * (x * sin + y * cos)
        return list(zip(across.tolist(), down.tolist(), strict=True))

    def area(self, points: Points, colour: Colour, flat: bool = False) -> None:
        self.draw.polygon(self.place(points, flat), fill=colour)

    def line(self, points: Points, colour: Colour, width: float, flat: bool = False) -> None:
        placed, pixels = self.place(points, flat), max(1, round(width * self.unit))
        self.draw.line(placed, fill=colour, width=pixels, joint="curve")
        for x, y in (placed[0], placed[-1]):  # round ends
            self.draw.ellipse((x - pixels / 2, y - pixels / 2, x + pixels / 2, y + pixels / 2), fill=colour)


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(part * factor)) for part in colour)
    return red, green, blue


def _ellipse(x: float, y: float, width: float, height: float, start: float = 0.0, stop: float = 360.0) -> Points:
    angles = np.radians(np.linspace(start, stop, 40))
    return list(zip((x + width * np.cos(angles)).tolist(), (y + height * np.sin(angles)).tolist(), strict=True))


def _arc(left: float, right: float, y: float, rise: float, left_up: float = 0.0, right_up: float = 0.0) -> Points:
    """A parabola from corner to corner, its middle ``rise`` above the line between them."""
    at = np.linspace(0, 1, 15)
    x = left + (right - left) * at
    height = left_up + (right_up - left_up) * at + rise * 4 * at * (1 - at)
    return list(zip(x.tolist(), (y - height).tolist(), strict=True))


def _draw_head(pen: _Pen, skin: Colour, hair: Colour) -> None:
    lean = float(np.sin(pen.yaw)) * 0.18  # the back of the head shows on the far side
    pen.area(_ellipse(0.0, 2.0, 1.6, 0.75), _scaled(hair, 0.8), flat=True)  # shoulders
    pen.area([(-0.4, 0.8), (0.4, 0.8), (0.45, 1.6), (-0.45, 1.6)], _scaled(skin, 0.8), flat=True)  # neck
    pen.area(_ellipse(-lean, -0.22, 1.08, 1.18), hair, flat=True)
    for ear in (-1, 1):
        if ear * lean < 0.1:
            pen.area(_ellipse(ear * 0.98 - lean, 0.05, 0.14, 0.24), _scaled(skin, 0.9), flat=True)
    pen.area(_ellipse(0.0, 0.0, 0.95, 1.22), skin, flat=True)
    pen.area([*_ellipse(0.0, -0.1, 1.0, 1.2, 205.0, 335.0), *_arc(0.6, -0.6, -0.72, 0.16)], hair, flat=True)  # fringe


def _draw_features(pen: _Pen, features: _Features, skin: Colour, hair: Colour, generator: np.random.Generator) -> None:
    strength = generator.uniform(0.8, 1.15)
    inner, outer, smile, gape, smirk = (
        strength * value for value in (features.inner, features.outer, features.smile, features.open, features.smirk)
    )
    shadow, dark = _scaled(skin, 0.68), _scaled(hair, 0.45)
    for eye in (-1, 1):
        height = 0.12 * (1 + (features.eye - 1) * strength)
        pen.area(_ellipse(eye * 0.40, -0.18, 0.20, height), _WHITE)
        iris = min(height, 0.11)
        pen.area(_ellipse(eye * 0.40, -0.18, 0.10, iris), _DARK)
        pen.line(_ellipse(eye * 0.40, -0.18, 0.20, height, 180.0, 360.0), _DARK, 0.05)
        pen.line(
            [(eye * 0.19, -0.44 - inner), (eye * 0.42, -0.50 - (inner + outer) / 2), (eye * 0.64, -0.44 - outer)],
            dark,
            0.09,
        )
    pen.line([(0.0, -0.1), (0.10, 0.22), (-0.06, 0.26)], shadow, 0.05)
    if features.wrinkled:
        for wrinkle in (-1, 1):
            pen.line([(wrinkle * 0.10, -0.08), (wrinkle * 0.22, 0.02)], shadow, 0.05)
            pen.line([(wrinkle * 0.14, 0.28), (wrinkle * 0.40, 0.52)], shadow, 0.06)
    left, right, middle = -features.width, features.width, 0.62
    upper = _arc(left, right, middle, -smile + gape * 0.35, smile, smile + smirk)
    if gape > 0:
        lower = _arc(left, right, middle, -smile - gape * 0.9, smile, smile)
        pen.area([*upper, *reversed(lower)], _DARK)
        if features.width > 0.3:
            teeth = _arc(left * 0.85, right * 0.85, middle, -smile - gape * 0.05, smile * 0.9, smile * 0.9)
            pen.area([*upper[1:-1], *reversed(teeth)], _WHITE)
        pen.line([*lower], _LIPS, 0.07)
    pen.line(upper, _LIPS, 0.07)
    if smirk:
        pen.line([(0.44, 0.30), (0.56, 0.50)], shadow, 0.06)  # the raised cheek


def _cover_upper(pen: _Pen, skin: Colour, generator: np.random.Generator) -> None:
    if generator.random() < 0.5:
        cap = _scaled((70, 90, 140), generator.uniform(0.5, 1.5))
        pen.area([*_ellipse(0.0, -0.5, 1.1, 1.0, 180.0, 360.0), (1.1, -0.32), (-1.1, -0.32)], cap, flat=True)
        pen.area(_ellipse(0.0, -0.32, 1.25, 0.14), _scaled(cap, 0.7), flat=True)
    else:
        _hand(pen, skin, (0.9, -0.75), (-0.75, -0.5))


def _cover_lower(pen: _Pen, skin: Colour, generator: np.random.Generator) -> None:
    if generator.random() < 0.6:
        mask = _scaled((205, 222, 232), generator.uniform(0.6, 1.1))
        for ear in (-1, 1):
            pen.line([(ear * 0.8, 0.3), (ear * 0.97, -0.05)], mask, 0.05)
        pen.area([(-0.85, 0.22), (0.0, 0.06), (0.85, 0.22), (0.72, 0.85), (0.0, 1.28), (-0.72, 0.85)], mask)
        for fold in (0.42, 0.66):
            pen.line(_arc(-0.66, 0.66, fold, -0.08), _scaled(mask, 0.8), 0.04)
    else:
        _hand(pen, skin, (0.7, 1.0), (-0.55, 0.6))


def _cover_side(pen: _Pen, skin: Colour, generator: np.random.Generator) -> None:
    cheek = 1 if generator.random() < 0.5 else -1
    _hand(pen, skin, (cheek * 0.85, 1.15), (cheek * 0.55, -0.35))


def _cover_eyes(pen: _Pen, skin: Colour, generator: np.random.Generator) -> None:
    glass = _scaled((60, 60, 70), generator.uniform(0.3, 1.2))
    for eye in (-1, 1):
        pen.area(_ellipse(eye * 0.42, -0.17, 0.34, 0.28), glass)
        pen.line([(eye * 0.5, -0.25), (eye * 0.36, -0.07)], _scaled(glass, 1.8), 0.04)  # a glint
        pen.line([(eye * 0.72, -0.22), (eye * 0.98, -0.26)], glass, 0.06)
    pen.line([(-0.12, -0.2), (0.12, -0.2)], glass, 0.06)


def _hand(pen: _Pen, skin: Colour, wrist: tuple[float, float], tips: tuple[float, float]) -> None:
    """A hand from its wrist to the tips of four fingers, flat before the face."""
    start, end = np.array(wrist), np.array(tips)
    along, across = end - start, np.array([-(end - start)[1], (end - start)[0]]) / np.hypot(*(end - start))
    palm = start + 0.3 * along
    edge = _scaled(skin, 0.7)
    for shape, grow in ((edge, 0.05), (_scaled(skin, 0.92), 0.0)):  # outline, then the hand
        pen.line([tuple(start - 0.3 * along), tuple(palm)], shape, 0.42 + grow, flat=True)
        pen.line([tuple(palm), tuple(start + 0.45 * along)], shape, 0.62 + grow, flat=True)
    for finger in (-0.27, -0.09, 0.09, 0.27):
        bones: Points = [tuple(start + 0.4 * along + finger * across), tuple(end + 1.25 * finger * across)]
        pen.line(bones, edge, 0.21, flat=True)
        pen.line(bones, _scaled(skin, 0.92), 0.16, flat=True)


_Cover = Callable[[_Pen, Colour, np.random.Generator], None]
_COVERS: dict[Occlusion, _Cover] = {
    Occlusion.UPPER: _cover_upper,
    Occlusion.LOWER: _cover_lower,
    Occlusion.SIDE: _cover_side,
    Occlusion.EYEWEAR: _cover_eyes,
}
