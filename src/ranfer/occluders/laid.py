"""What is laid over a picture afterwards: text and plain blocks; in mean-face coordinates.

Every function takes the sheet, the generator that decides all variety, and how the photo looks.
"""

from __future__ import annotations

import numpy as np

from ranfer.occluders.canvas import Canvas, arc, rotated
from ranfer.occluders.look import Look

_LETTERS = list("abcdefghiklmnoprstuvwxyzABCDEFGHKLMNOPRSTUVW0123456789.@ ")


def watermark(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A word across the picture, translucent, or now and then a caption."""
    colour = look.tone(rng.choice([0.0, 0.5, 1.0, 1.1]))
    opacity, height = rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.2)
    if rng.random() < 0.15:
        opacity = 1.0  # a caption
    text = "".join(rng.choice(_LETTERS, rng.integers(6, 14)))
    pen.text(text, (rng.uniform(-0.4, 0.3), rng.uniform(0.3, 1.0)), height, colour, opacity)


def block(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A plain rectangle or ellipse."""
    across, down = rng.uniform(0.12, 0.34, 2)
    x, y = 0.5 + across, 0.5 + down
    shape = np.array([(1 - x, 1 - y), (x, 1 - y), (x, y), (1 - x, y)])
    if rng.random() < 0.3:
        shape = arc(0.5, 0.5, across, down)
    pen.area(rotated(shape, rng.uniform(-30, 30), (0.5, 0.5)), look.cloth(rng))
