"""A transparent sheet over a face, on which things are drawn in the coordinates of the mean face.

Coordinates are fractions of the frame in which the mean frontal face of the training data lies: x to the right, y down,
the eyes at :data:`MEAN_LANDMARKS`. The sheet is finer than the face, and its colours are multiplied by their opacity,
so that shrinking it gives the exact average of what was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int32

from ranfer.images import LUMA

Points = Float[np.ndarray, "_ 2"]
Colour = tuple[float, float, float]
Place = tuple[float, float]

# Left eye, right eye, nose tip, left and right corner of the mouth: medians of `scripts/measure_framing.py`.
MEAN_LANDMARKS = np.array([(0.318, 0.387), (0.684, 0.387), (0.502, 0.585), (0.365, 0.778), (0.645, 0.778)])
_FINE, _SIDE = 4, 192  # so much finer than the face, where that makes no more pixels than this a side
_SHIFT = 4  # OpenCV takes coordinates in 1/16 of a pixel


class Canvas:
    """A sheet for a face of ``height`` x ``width`` pixels with ``channels`` 1 or 3.

    to_pixels: (2, 3), from mean-face coordinates to pixels of the face, counted from its upper left corner.
    """

    def __init__(self, height: int, width: int, channels: int, to_pixels: Float[np.ndarray, "2 3"]) -> None:
        self.shape = height, width
        self.grey = channels == 1
        self.fine = max(1, min(_FINE, _SIDE // max(height, width)))
        self.sheet: np.ndarray = np.zeros((height * self.fine, width * self.fine, channels + 1), np.uint8)
        self._map = to_pixels * self.fine
        self._scale = float(np.sqrt(abs(np.linalg.det(self._map[:, :2]))))  # pixels of the sheet per unit

    def area(self, points: Points, colour: Colour, opacity: float = 1.0) -> None:
        """Fill a polygon; what lay below it is replaced."""
        cv2.fillPoly(self.sheet, [self._place(points)], self._ink(colour, opacity), cv2.LINE_AA, _SHIFT)

    def line(self, points: Points, width: float, colour: Colour, opacity: float = 1.0, closed: bool = False) -> None:
        """A line with round ends, ``width`` in mean-face units."""
        self.lines([points], width, colour, opacity, closed)

    def lines(
        self, many: Sequence[Points], width: float, colour: Colour, opacity: float = 1.0, closed: bool = False
    ) -> None:
        """Several lines alike."""
        thick = max(1, round(width * self._scale))
        cuts = np.cumsum([len(points) for points in many])[:-1]
        placed = np.split(self._place(np.concatenate(many)), cuts)
        cv2.polylines(self.sheet, placed, closed, self._ink(colour, opacity), thick, cv2.LINE_AA, _SHIFT)

    def text(self, text: str, at: tuple[float, float], height: float, colour: Colour, opacity: float) -> None:
        """A word with its lower left corner at a point, level with the picture."""
        x, y = self._place(np.array([at]))[0] >> _SHIFT
        size = height * self._scale / 22  # OpenCV's letters are 22 pixels high
        thick = max(1, round(size * 2))
        letters = np.zeros(self.sheet.shape[:2], np.uint8)  # putText takes no sheet of two channels
        cv2.putText(letters, text, (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX, size, 255, thick, cv2.LINE_AA)
        share = letters[..., None].astype(np.float32) / 255
        ink = np.array(self._ink(colour, opacity), np.float32)
        self.sheet = np.rint(self.sheet * (1 - share) + ink * share).astype(np.uint8)

    def shrunk(self) -> Float32[np.ndarray, "h w k"]:
        """The sheet at the face's size: colour times opacity, 0 to 255, then opacity, 0 to 1."""
        height, width = self.shape
        small = self.sheet
        if self.fine > 1:
            small = cv2.resize(self.sheet, (width, height), interpolation=cv2.INTER_AREA)
        layer = small.astype(np.float32)
        layer[..., -1] /= 255
        return np.asarray(layer)

    def _place(self, points: Points) -> Int32[np.ndarray, "_ 2"]:
        placed = points @ self._map[:, :2].T + (self._map[:, 2] - 0.5)
        return np.asarray(np.rint(np.clip(placed, -4000, 4000) * (1 << _SHIFT)), dtype=np.int32)

    def _ink(self, colour: Colour, opacity: float) -> tuple[float, ...]:
        values = [float(np.dot(LUMA, colour))] if self.grey else list(colour)
        return *(min(max(value, 0), 255) * opacity for value in values), 255 * opacity


def arc(
    x: float, y: float, across: float, down: float, start: float = 0.0, stop: float = 360.0, square: float = 1.0
) -> Points:
    """Points of an ellipse by its centre and radii, clockwise from the right; ``square`` below 1 makes it boxier."""
    angle = np.radians(np.linspace(start, stop, 28))
    cos, sin = np.cos(angle), np.sin(angle)
    if square != 1.0:
        cos, sin = np.sign(cos) * np.abs(cos) ** square, np.sign(sin) * np.abs(sin) ** square
    return np.column_stack([x + across * cos, y + down * sin])


def curve(points: Sequence[tuple[float, float]] | Points, closed: bool = False, steps: int = 6) -> Points:
    """A smooth curve (Catmull-Rom) through points."""
    knots = np.asarray(points, dtype=float)
    if closed:
        before, here, after, beyond = (np.roll(knots, -shift, axis=0) for shift in (-1, 0, 1, 2))
    else:
        padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
        before, here, after, beyond = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = (np.arange(steps) / steps)[None, :, None]
    before, here, after, beyond = (part[:, None] for part in (before, here, after, beyond))
    found = here + 0.5 * t * (
        after - before + t * (2 * before - 5 * here + 4 * after - beyond + t * (3 * (here - after) + beyond - before))
    )
    found = found.reshape(-1, 2)
    return np.asarray(found) if closed else np.vstack([found, knots[-1]])


def shifted(points: Points, x: float, y: float) -> Points:
    """Points moved to the right and down."""
    return np.asarray(points + np.array([x, y]))


def rotated(points: Points, degrees: float, about: tuple[float, float]) -> Points:
    """Points rotated clockwise, as seen, about one of them."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray((points - about) @ np.array([[cos, sin], [-sin, cos]]) + about)
