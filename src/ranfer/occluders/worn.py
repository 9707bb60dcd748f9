"""What people wear over their faces: masks, glasses, hair, hats, scarves; in mean-face coordinates.

Every function takes the sheet, the generator that decides all variety, and how the photo looks.
"""

from __future__ import annotations

import numpy as np

from ranfer.occluders.canvas import MEAN_LANDMARKS, Canvas, Colour, Points, arc, curve, shifted
from ranfer.occluders.look import Look, shade, side_of


def surgical_mask(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Pleated, in white, black, blue or green, held by straps."""
    colour = look.tone(*[(0.72, 0.85, 0.93), (0.95, 0.95, 0.95), (0.1, 0.1, 0.12), (0.6, 0.8, 0.75)][rng.integers(4)])
    top, rise, low = rng.uniform(0.52, 0.6), rng.uniform(0.04, 0.12), rng.uniform(1.0, 1.08)
    _straps(pen, top, shade(colour, 0.85))
    side = rng.uniform(0.33, 0.38)
    outline = [(0.5 - side, top + 0.03), (0.4, top - rise * 0.6), (0.5, top - rise), (0.6, top - rise * 0.6)]
    outline += [(0.5 + side, top + 0.03), (0.5 + 0.85 * side, 0.88), (0.5, low), (0.5 - 0.85 * side, 0.88)]
    pen.area(curve(outline, closed=True), colour)
    folds = rng.uniform(0.66, 0.72) + rng.uniform(0.07, 0.1) * np.arange(3)
    creases = [curve([(0.52 - side, y - 0.03), (0.5, y + 0.02), (0.48 + side, y - 0.03)]) for y in folds]
    pen.lines(creases, 0.012, shade(colour, rng.uniform(0.7, 0.85)))
    pen.lines([shifted(crease, 0.0, 0.014) for crease in creases], 0.012, shade(colour, 1.08))
    pen.line(shifted(curve(outline[:5]), 0.0, 0.025), 0.02, shade(colour, rng.uniform(0.85, 1.05)))


def cloth_mask(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Of any colour, plain or with a pattern."""
    colour = look.cloth(rng)
    top, low = rng.uniform(0.5, 0.6), rng.uniform(0.98, 1.1)
    _straps(pen, top, shade(colour, 0.8))
    outline = [(0.13, top + 0.04), (0.34, top), (0.5, top - 0.08), (0.66, top), (0.87, top + 0.04)]
    outline += [(0.8, 0.9), (0.5, low), (0.2, 0.9)]
    shape = curve(outline, closed=True)
    pen.area(shape, colour)
    _pattern(pen, rng, look, shape)
    pen.line(curve([(0.5, top - 0.08), (0.52, 0.72), (0.5, low)]), 0.012, shade(colour, 0.75))
    pen.line(shape, 0.014, shade(colour, rng.uniform(0.75, 1.1)), closed=True)


def _straps(pen: Canvas, top: float, colour: Colour) -> None:
    pen.lines([curve([(0.16, top + 0.05), (0.07, top - 0.06), (0.04, top - 0.14)]),
               curve([(0.84, top + 0.05), (0.93, top - 0.06), (0.96, top - 0.14)])], 0.014, colour)  # fmt: skip


def _pattern(pen: Canvas, rng: np.random.Generator, look: Look, shape: Points) -> None:
    """Stripes, checks or dots on cloth, or nothing; kept inside by drawing them short of the outline's box."""
    style = rng.random()
    other = look.cloth(rng)
    low, high = shape.min(axis=0) + 0.09, shape.max(axis=0) - 0.09
    step = rng.uniform(0.06, 0.12)
    if style < 0.15:
        rows = np.arange(low[1], high[1], step)
        pen.lines([np.array([(low[0], y), (high[0], y)]) for y in rows], step * 0.4, other)
    elif style < 0.3:
        spots = [np.array([(x, y), (x + 0.001, y)]) for x in np.arange(low[0], high[0], step)
                 for y in np.arange(low[1], high[1], step)]  # fmt: skip
        pen.lines(spots, step * 0.4, other)
    elif style < 0.4:
        x, y = (low + high) / 2
        across, down = rng.uniform(0.04, 0.12, 2)
        pen.area(arc(x, y, across, down, square=rng.uniform(0.4, 1)), other)  # a print


def glasses(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Rims, bridge and temples; the lenses are clear, or nearly so."""
    _spectacles(pen, rng, look, opacity=rng.uniform(0.02, 0.12) if rng.random() < 0.3 else 0.0, lens=look.tone(0.8))


def sunglasses(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Dark lenses, some with the sky in them."""
    _spectacles(pen, rng, look, opacity=rng.uniform(0.78, 1.0), lens=look.tone(rng.choice([0.0, 0.03, 0.08, 0.2])))


def _spectacles(pen: Canvas, rng: np.random.Generator, look: Look, opacity: float, lens: Colour) -> None:
    dark = opacity > 0.5
    across, down = rng.uniform(0.14, 0.175), rng.uniform(0.085, 0.15)
    if dark:
        across, down = max(across, 0.155), max(down, 0.11)
    square, drop = rng.uniform(0.45, 1.0), rng.uniform(0.0, 0.04)
    rim = rng.choice([0.01, 0.014, 0.02, 0.032])
    colour = look.tone(rng.choice([0.0, 0.02, 0.08, 0.2] if rng.random() < 0.8 else [0.5, 0.85]))
    eyes = MEAN_LANDMARKS[:2] + np.array([(-0.004, drop), (0.004, drop)])
    shapes = [arc(x, y, across, down, square=square) for x, y in eyes]
    for eye, outward in zip(eyes, (-1, 1), strict=True):
        hinge = eye + np.array([outward * across * 0.97, -down * 0.35])
        pen.line(np.array([hinge, (0.5 + outward * 0.46, hinge[1] + rng.uniform(-0.03, 0.03))]), rim * 1.1, colour)
    for shape, eye in zip(shapes, eyes, strict=True):
        if opacity > 0:
            pen.area(shape, lens, opacity)
            if dark and rng.random() < 0.6:  # the sky in the upper half, and a glint
                pen.area(arc(eye[0], eye[1] - down * 0.15, across * 0.8, down * 0.6, 180.0, 360.0, square),
                         shade(look.tone(0.25), rng.uniform(0.4, 1.2)), opacity)  # fmt: skip
    if rng.random() < (0.5 if dark else 0.25):
        glint = np.array([(-0.35, 0.25), (0.0, -0.55)]) * (across, down)
        pen.lines([eye + glint for eye in eyes], rng.uniform(0.01, 0.04), look.white, rng.uniform(0.3, 0.9))
    if not (dark and rng.random() < 0.3):
        half = rng.random() < 0.2
        rims = [arc(x, y, across, down, 170.0, 370.0, square) for x, y in eyes] if half else shapes
        pen.lines(rims, rim, colour, closed=not half)
    y = eyes[0][1] - down * rng.uniform(0.1, 0.5)
    inner = eyes[0][0] + across * 0.95, eyes[1][0] - across * 0.95
    pen.line(curve([(inner[0], y), (0.5, y - rng.uniform(0.0, 0.03)), (inner[1], y)]), max(rim, 0.018), colour)


def fringe(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Hair over the forehead, down to the brows or the eyes."""
    hair, sweep = look.hair_of(rng), rng.uniform(-0.5, 0.5)
    low = rng.uniform(0.24, 0.42)
    at = np.linspace(0.06, 0.94, 16)
    ends = (
        low
        + rng.normal(0, rng.uniform(0.01, 0.035), 16)
        - 0.35 * sweep * (at - 0.5)
        + 0.3 * (np.abs(at - 0.5) * 2) ** 3
    )
    tips = np.column_stack([at, ends])
    pen.area(np.vstack([[(-0.05, 0.5), (-0.05, -0.3), (1.05, -0.3), (1.05, 0.5)], tips[::-1]]), hair)
    roots = np.column_stack([at - sweep * 0.5, np.full(16, -0.25)])
    _strands(pen, rng, hair, roots, shifted(tips, 0.0, 0.02), 70)


def curtain(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Hair that falls over one side of the face."""
    hair, side = look.hair_of(rng), side_of(rng)
    edge = rng.uniform(0.08, 0.26)  # from the middle
    across = np.array([-rng.uniform(0, 0.2), edge, edge + 0.04, edge + rng.uniform(-0.05, 0.15)])
    line = np.column_stack([0.5 + side * across, [-0.2, 0.3, 0.7, 1.2]])
    inner = curve(line)
    outer = np.column_stack([np.full(len(inner), 0.5 + side * 0.8), inner[:, 1]])
    pen.area(np.vstack([inner, outer[::-1]]), hair)
    for step in (1, 2, 3):
        aside = np.column_stack([side * np.linspace(0, 1, 9), np.zeros(9)])
        _strands(pen, rng, hair, line[step - 1] + 0.5 * aside, line[step] + 0.4 * aside, 22)


def _strands(pen: Canvas, rng: np.random.Generator, hair: Colour, start: Points, end: Points, n: int) -> None:
    """``n`` hairs, in four tones, each from a point at its start to that at its end."""
    red, green, blue = hair
    for light in (0.7, 0.85, 1.15, 1.35):
        more = 6 * (light - 0.7)  # black hair has highlights, too
        chosen = rng.integers(len(start), size=n // 4)
        wander = rng.normal(0, 0.025, (n // 4, 3, 2))
        first, last = start[chosen], end[chosen]
        way = np.stack([first, (first + last) / 2, last], axis=1) + wander
        colour = red * light + more, green * light + more, blue * light + more
        pen.lines(list(way), rng.uniform(0.008, 0.018), colour)


def cap(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A cap with its brim, pulled over the forehead."""
    colour, y, lean = look.cloth(rng), rng.uniform(0.12, 0.26), rng.uniform(-0.12, 0.12)
    pen.area(np.vstack([arc(0.5, y, 0.52, 0.6, 180.0, 360.0), [(1.0, y + 0.05), (0.0, y + 0.05)]]), colour)
    pen.lines([curve([(0.5 + x, y), (0.5 + 0.8 * x, -0.2), (0.5, -0.5)]) for x in (-0.25, 0.0, 0.25)], 0.012,
              shade(colour, 0.75))  # fmt: skip
    if rng.random() < 0.4:
        pen.area(arc(0.5, y - 0.12, 0.1, 0.07, square=0.7), look.cloth(rng))
    back = [(0.02, y), (0.5 + lean, y - 0.06), (0.98, y)]
    front = [(0.9, y + 0.07), (0.5 + lean, y + rng.uniform(0.05, 0.13)), (0.1, y + 0.07)]
    brim = curve(back + front, closed=True)
    pen.area(brim, shade(colour, rng.uniform(0.5, 0.9)))
    pen.line(brim, 0.014, shade(colour, 0.5), closed=True)


def hat(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A beanie, or a hat with a brim all round."""
    colour, y = look.cloth(rng), rng.uniform(0.1, 0.26)
    if rng.random() < 0.5:  # a beanie or a helmet: ribs and a rim
        pen.area(np.vstack([arc(0.5, y, 0.5, 0.6, 180.0, 360.0), curve([(1.0, y), (0.5, y - 0.05), (0.0, y)])]), colour)
        ribs = np.linspace(0.02, 0.98, rng.integers(8, 16))
        pen.lines([curve([(x, y), (0.5 + 0.95 * (x - 0.5), y - 0.2), (0.5 + 0.7 * (x - 0.5), -0.4)]) for x in ribs],
                  0.012, shade(colour, 0.8))  # fmt: skip
        rim = curve([(-0.02, y - 0.03), (0.5, y - 0.09), (1.02, y - 0.03)])
        pen.line(rim, rng.uniform(0.05, 0.16), shade(colour, rng.uniform(0.75, 1.15)))
    else:  # a brim all round, and a band
        pen.area(np.array([(0.05, y), (0.12, -0.5), (0.88, -0.5), (0.95, y)]), colour)
        pen.line(np.array([(0.06, y - 0.08), (0.94, y - 0.08)]), 0.09, shade(colour, rng.uniform(0.4, 1.5)))
        tilt = rng.uniform(-0.06, 0.06)
        brim = curve(
            [(-0.2, y + tilt), (0.5, y - 0.05), (1.2, y - tilt), (0.5, y + rng.uniform(0.05, 0.12))], closed=True
        )
        pen.area(brim, shade(colour, rng.uniform(0.6, 0.95)))


def scarf(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Folds over the mouth, some up to the nose."""
    colour, y = look.cloth(rng), rng.uniform(0.6, 0.84)
    at = np.linspace(-0.1, 1.1, 7)
    edge = curve(np.column_stack([at, y + 0.018 * rng.normal(size=7) - 0.25 * np.abs(at - 0.5) + 0.06]))
    pen.area(np.vstack([edge, [(1.2, 1.4), (-0.2, 1.4)]]), colour)
    style = rng.random()
    for fold in range(rng.integers(2, 6)):
        drop, tilt = 0.05 + 0.07 * fold, rng.uniform(-0.12, 0.12)
        line = edge + np.column_stack([np.zeros(len(edge)), drop + tilt * (edge[:, 0] - 0.5)])
        width = rng.uniform(0.01, 0.035)
        pen.line(line, width, shade(colour, rng.uniform(0.7, 0.9)))
        pen.line(shifted(line, 0.0, width), width, shade(colour, rng.uniform(1.02, 1.12)))
        if style < 0.3:
            pen.line(shifted(line, 0.0, 2.5 * width), width, look.cloth(rng))
    pen.line(edge, 0.02, shade(colour, 1.1))
