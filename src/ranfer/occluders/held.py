"""What people hold before their faces: hands, a phone, a cup, a microphone; in mean-face coordinates.

Every function takes the sheet, the generator that decides all variety, and how the photo looks.
"""

from __future__ import annotations

import numpy as np

from ranfer.occluders.canvas import Canvas, Colour, Place, arc, curve, rotated, shifted
from ranfer.occluders.look import Look, shade, side_of


def hand_on_mouth(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A flat hand, or both, over the mouth."""
    skin, side = look.skin_of(rng), side_of(rng)
    if rng.random() < 0.3:  # both hands, fingers up
        for each in (-1, 1):
            _hand(pen, rng, skin, (0.5 + each * 0.3, 1.25), (0.5 + each * rng.uniform(0.03, 0.08), 0.66))
    elif rng.random() < 0.5:  # from the side, across
        _hand(pen, rng, skin, (0.5 + side * 0.7, 1.05), (0.5 - side * 0.22, rng.uniform(0.74, 0.82)), thumb=side)
    else:  # from below
        _hand(pen, rng, skin, (0.5 + side * rng.uniform(0.1, 0.4), 1.4), (0.5 - side * 0.03, 0.62), thumb=side)


def fingers_on_mouth(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Fingers on the lips, or a fist at mouth or chin."""
    skin, side = look.skin_of(rng), side_of(rng)
    if rng.random() < 0.4:  # one finger on the lips, or two, of a fist below
        x = 0.5 + rng.uniform(-0.05, 0.05)
        base = x + side * rng.uniform(0.02, 0.1)
        for number in range(rng.integers(1, 3)):
            _finger(pen, skin, (base + number * side * 0.08, 1.05), (x + number * side * 0.09, 0.66), 0.085)
        _fist(pen, rng, skin, (base + side * 0.08, 1.04), rng.uniform(0.2, 0.26), -20.0 * side)
    else:  # a fist at mouth or chin
        at = 0.5 + side * rng.uniform(0, 0.12), rng.uniform(0.82, 0.95)
        _limb(pen, skin, (at[0] + side * 0.25, at[1] + 0.5), at, 0.26)
        _fist(pen, rng, skin, at, rng.uniform(0.2, 0.3), rng.uniform(-40, 40))


def hand_on_cheek(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A hand or a fist that props the cheek, or one on either side."""
    skin, sides = look.skin_of(rng), [side_of(rng)]
    if rng.random() < 0.35:
        sides = [-1, 1]
    fist, tip, inward = rng.random() < 0.35, rng.uniform(0.42, 0.6), rng.uniform(0.26, 0.38)
    for side in sides:
        if fist:
            at = 0.5 + side * inward, rng.uniform(0.72, 0.85)
            _limb(pen, skin, (at[0] + side * 0.15, at[1] + 0.6), at, 0.26)
            _fist(pen, rng, skin, at, rng.uniform(0.2, 0.27), side * rng.uniform(0, 50))
        else:
            _hand(pen, rng, skin, (0.5 + side * (inward + 0.1), 1.3), (0.5 + side * inward, tip))


def hand_on_forehead(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A hand across the forehead or over the eyes, or both at the temples."""
    skin, side = look.skin_of(rng), side_of(rng)
    style = rng.random()
    if style < 0.4:  # across the forehead
        y = rng.uniform(0.12, 0.26)
        _hand(pen, rng, skin, (0.5 + side * 0.8, rng.uniform(0.1, 0.5)), (0.5 - side * 0.1, y), thumb=0)
    elif style < 0.7:  # over the eyes
        y = rng.uniform(0.3, 0.42)
        _hand(pen, rng, skin, (0.5 + side * 0.85, y + 0.3), (0.5 - side * 0.2, y), thumb=0)
    else:  # hands at the temples, or before the eyes
        for each in (-1, 1):
            _hand(pen, rng, skin, (0.5 + each * 0.5, 0.9), (0.5 + each * rng.uniform(0.12, 0.24), 0.18), thumb=0)


def phone(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A telephone at the ear, and the hand that holds it."""
    side, skin = side_of(rng), look.skin_of(rng)
    x, y = 0.5 + side * rng.uniform(0.28, 0.42), rng.uniform(0.5, 0.72)
    turn, about = side * rng.uniform(-5, 25), (x, y)
    body = look.tone(rng.choice([0.02, 0.05, 0.15, 0.5, 0.9]))
    wide, high = rng.uniform(0.1, 0.14), rng.uniform(0.24, 0.32)
    _limb(pen, skin, (x + side * 0.2, y + 0.9), (x + side * 0.1, y + 0.2), 0.28)
    pen.area(rotated(arc(x, y, wide, high, square=0.28), turn, about), shade(body, 0.7))
    pen.area(rotated(arc(x, y, wide * 0.9, high * 0.95, square=0.28), turn, about), body)
    if rng.random() < 0.5:
        pen.area(rotated(arc(x, y - high * 0.7, 0.025, 0.025), turn, about), look.tone(0.02))
    glint = np.array([(x - wide * 0.5, y - high * 0.8), (x - wide * 0.5, y + high * 0.3)])
    pen.line(rotated(glint, turn, about), 0.015, shade(body, 1.5))
    for i in range(4):
        root = np.array(
            [(x + side * wide * 1.3, y + 0.12 - 0.085 * i + 0.1), (x - side * wide * 0.1, y + 0.1 - 0.085 * i)]
        )
        root = rotated(root, turn, about)
        _finger(pen, skin, tuple(root[0]), tuple(root[1]), 0.09)


def cup(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A cup at the mouth, with or without the hand that holds it."""
    colour, side = look.cloth(rng), side_of(rng)
    x, top, wide, high = (
        0.5 + rng.uniform(-0.06, 0.06),
        rng.uniform(0.66, 0.76),
        rng.uniform(0.15, 0.24),
        rng.uniform(0.3, 0.5),
    )
    taper, turn = rng.uniform(0.65, 1.0), rng.uniform(-15, 15)
    about = (x, top)
    body = np.vstack([[(x - wide, top), (x + wide, top)], arc(x, top + high, wide * taper, 0.05, 0.0, 180.0)])
    pen.area(rotated(body, turn, about), colour)
    for at, light in ((-0.7, 0.7), (-0.35, 1.15), (0.75, 0.75)):
        line = np.array([(x + wide * at, top + 0.03), (x + wide * at * taper, top + high)])
        pen.line(rotated(line, turn, about), wide * 0.3, shade(colour, light))
    pen.area(rotated(arc(x, top, wide, 0.035), turn, about), shade(colour, rng.uniform(0.5, 1.2)))
    pen.line(rotated(arc(x, top, wide, 0.035), turn, about), 0.014, shade(colour, 1.2), closed=True)
    if rng.random() < 0.75:
        skin = look.skin_of(rng)
        _limb(pen, skin, (x + side * 0.5, top + high + 0.4), (x + side * wide * 1.1, top + high * 0.7), 0.26)
        for i in range(4):
            y = top + high * 0.3 + 0.085 * i
            _finger(pen, skin, (x + side * wide * 1.25, y + 0.06), (x - side * wide * 0.5, y), 0.09)


def microphone(pen: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A microphone before mouth or chin, with or without the hand that holds it."""
    x, y, size = 0.5 + rng.uniform(-0.14, 0.14), rng.uniform(0.8, 0.95), rng.uniform(0.09, 0.15)
    colour, lean = look.tone(rng.choice([0.03, 0.1, 0.35, 0.6])), rng.uniform(-0.5, 0.5)
    pen.line(np.array([(x, y), (x + lean * 1.2, y + 0.9)]), size * 0.95, look.tone(0.06))
    pen.line(np.array([(x, y), (x + lean * 1.2, y + 0.9)]) - (size * 0.2, 0), size * 0.25, look.tone(0.3))
    pen.area(arc(x, y, size, size * 1.1), colour)
    rings = [arc(x, y, size * r, size * 1.1, 90.0, 270.0) for r in (0.25, 0.6)]
    pen.lines(rings, 0.008, shade(colour, 1.4))
    pen.line(np.array([(x - size, y + size * 0.5), (x + size, y + size * 0.5)]), size * 0.25, shade(colour, 0.6))
    pen.line(
        arc(x - size * 0.2, y - size * 0.3, size * 0.4, size * 0.4, 180.0, 270.0),
        size * 0.3,
        shade(look.tone(0.3), 1.2),
    )
    if rng.random() < 0.6:
        skin = look.skin_of(rng)
        for i in range(3):
            at = np.array([x + lean * (0.25 + 0.1 * i), y + size + 0.08 + 0.09 * i])
            _finger(pen, skin, (at[0] + 0.16, at[1] + 0.02), (at[0] - 0.1, at[1]), 0.095)


def _hand(pen: Canvas, rng: np.random.Generator, skin: Colour, wrist: Place, tips: Place, thumb: int = 0) -> None:
    """A flat hand with its back to the viewer, from the wrist to the tip of the middle finger."""
    start, end = np.array(wrist), np.array(tips)
    length = float(np.hypot(*(end - start)))
    along = (end - start) / length
    across = np.array([-along[1], along[0]]) * side_of(rng)
    width = rng.uniform(0.095, 0.115)  # of a finger
    knuckles = end - along * rng.uniform(0.36, 0.44)
    spread = rng.uniform(0.8, 1.5)
    _limb(pen, skin, tuple(start - 0.2 * along), tuple(knuckles - 0.2 * along), 3 * width)
    offsets = (np.arange(4) - 1.5) * width * 0.95
    palm = [start, *(knuckles + across * offset * 1.12 for offset in offsets[::3])]
    back = [palm[1] - along * 0.3, palm[1], knuckles + along * 0.04, palm[2], palm[2] - along * 0.3]
    pen.area(curve(np.array(back), closed=True), shade(skin, 0.96))
    if thumb:
        root = knuckles - along * 0.22 + across * thumb * 1.4 * width
        _finger(pen, skin, tuple(root), tuple(root + along * 0.2 + across * thumb * 0.16), width * 1.1)
    short = np.array([0.08, 0.015, 0.0, 0.05])
    order = rng.permutation(4)
    for i in order:
        tip = end + across * offsets[i] * spread - along * (short[i] + rng.uniform(0, 0.03))
        _finger(pen, skin, tuple(knuckles + across * offsets[i]), tuple(tip), width, bend=rng.uniform(-0.02, 0.02))


def _finger(pen: Canvas, skin: Colour, root: Place, tip: Place, width: float, bend: float = 0.0) -> None:
    start, end = np.array(root), np.array(tip)
    across = np.array([-(end - start)[1], (end - start)[0]])
    bones = curve(np.array([start, (start + end) / 2 + across * bend * 3, end]), steps=4)
    pen.line(bones, width, shade(skin, 0.7))
    pen.line(bones, width * 0.84, shade(skin, 0.92))
    pen.line(shifted(bones, -0.1 * width, -0.06 * width), width * 0.45, shade(skin, 1.04))
    half = across / max(np.hypot(*across), 1e-6) * width * 0.25
    creases = [start + t * (end - start) + half * np.array([[-1], [1]]) for t in (0.45, 0.5)]
    pen.lines(creases, 0.008, shade(skin, 0.84))
    pen.line(np.array([end, end + (end - start) * 0.001]), width * 0.4, shade(skin, 1.1))  # the nail


def _limb(pen: Canvas, skin: Colour, start: Place, end: Place, width: float) -> None:
    bones = np.array([start, end])
    pen.line(bones, width, shade(skin, 0.76))
    pen.line(bones, width * 0.9, shade(skin, 0.94))
    pen.line(shifted(bones, -0.1 * width, 0.0), width * 0.4, shade(skin, 1.0))


def _fist(pen: Canvas, rng: np.random.Generator, skin: Colour, at: Place, size: float, turn: float) -> None:
    """A closed hand seen from its knuckles."""
    x, y = at
    pen.area(rotated(arc(x, y, size * 0.8, size * 0.62, square=0.75), turn, at), shade(skin, 0.8))
    pen.area(rotated(arc(x, y, size * 0.74, size * 0.56, square=0.75), turn, at), shade(skin, 0.95))
    for i in range(4):
        left = x + (i - 1.5) * size * 0.36
        bone = rotated(np.array([(left, y - size * 0.42), (left, y + size * 0.05)]), turn, at)
        pen.line(bone, size * 0.4, shade(skin, 0.7))
        pen.line(bone, size * 0.32, shade(skin, rng.uniform(0.94, 1.06)))
    thumb = rotated(np.array([(x - size * 0.55, y + size * 0.35), (x + size * 0.25, y + size * 0.18)]), turn, at)
    pen.line(thumb, size * 0.36, shade(skin, 0.74))
    pen.line(thumb, size * 0.29, shade(skin, 1.0))
