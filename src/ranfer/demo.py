"""Recognition to look at: sample pictures, drawn from one public-domain portrait, through `predict`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from rich.console import Console

from ranfer.draw import Colour
from ranfer.images import decode_image
from ranfer.predict import SHEET, predict, print_summary
from ranfer.recognize import Face, load

PORTRAIT = Path(__file__).parent / "samples" / "portrait.jpg"  # portrait.txt beside it says whose, and why we may
FINE = 4  # covers are drawn so much larger, for smooth edges

Points = Sequence[tuple[float, float]]
Shape = tuple[Colour, Points]  # a filled polygon, in fractions of the face's frame

SKIN, SKIN_EDGE = (208, 152, 124), (168, 112, 88)
WALL, WOOD, MAT = (214, 208, 196), (92, 68, 48), (246, 244, 238)


def run(folder: Path, console: Console) -> None:
    """Draw sample pictures and recognise them with the package's weights; all that comes of it lies in ``folder``."""
    recognizer = load(threads=1)
    portrait = Image.fromarray(decode_image(PORTRAIT, PORTRAIT.name))
    (face,) = recognizer(portrait)
    pictures = write_samples(portrait, face, folder / "pictures")
    summary = predict(recognizer, pictures, folder, draw=True, complain=console.print)
    print_summary(summary, folder, console)
    console.print(f"To look at: {folder / SHEET}", markup=False, soft_wrap=True)


def write_samples(portrait: Image.Image, face: Face, folder: Path) -> list[Path]:
    """The portrait and what photographs do to faces, as files in their order; ``face`` says where its face is."""
    folder.mkdir(parents=True, exist_ok=True)
    grey = portrait.convert("L")
    dark = portrait.point(lambda value: round(90 * (value / 255) ** 1.3))
    blurred = portrait.filter(ImageFilter.GaussianBlur(3))
    right, left = _turned(portrait, face, 25.0), _turned(portrait, face, -20.0)
    mask, glasses = _cover(portrait, face, _mask()), _cover(portrait, face, _sunglasses())
    hand, phone = _cover(portrait, face, _hand()), _cover(portrait, face, _phone())
    upper = [(mask, 180, 50, 80), (right, 220, 310, 60), (glasses, 160, 610, 100)]
    lower = [(dark, 150, 80, 345), (grey, 100, 360, 385), (phone, 140, 600, 345)]
    samples = {
        "portrait": portrait,
        "grey": grey,
        "dark": dark,
        "blurred": blurred,
        "turned right": right,
        "turned left": left,
        "surgical mask": mask,
        "sunglasses": glasses,
        "hand": hand,
        "phone": phone,
        "small": _on_wall([(portrait, 120, 420, 190)]),
        "several": _on_wall([*upper, *lower]),
    }
    paths = [folder / f"{number:02d} {name}.png" for number, name in enumerate(samples, start=1)]
    for path, picture in zip(paths, samples.values(), strict=True):
        picture.save(path)
    return paths


def _turned(portrait: Image.Image, face: Face, degrees: float) -> Image.Image:
    """The portrait, clockwise about its face; beyond its border it is mirrored."""
    left, top, right, bottom = face.box
    turn = cv2.getRotationMatrix2D(((left + right) / 2, (top + bottom) / 2), -degrees, 1)
    pixels = np.asarray(portrait)
    turned = cv2.warpAffine(pixels, turn, portrait.size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return Image.fromarray(turned)


def _cover(portrait: Image.Image, face: Face, shapes: Sequence[Shape]) -> Image.Image:
    """The portrait with shapes before its face, smooth at the edges."""
    upper_left, upper_right, _, lower_left = np.array(face.corners)
    across, down = upper_right - upper_left, lower_left - upper_left
    layer = Image.new("RGBA", (portrait.width * FINE, portrait.height * FINE))
    pen = ImageDraw.Draw(layer)
    for colour, points in shapes:
        pixels = [FINE * (upper_left + x * across + y * down) for x, y in points]
        pen.polygon([(float(x), float(y)) for x, y in pixels], fill=colour)
    layer = layer.resize(portrait.size, Image.Resampling.BOX)
    return Image.alpha_composite(portrait.convert("RGBA"), layer).convert("RGB")


def _mask() -> list[Shape]:
    outline = [(0.08, 0.58), (0.3, 0.58), (0.5, 0.5), (0.7, 0.58), (0.93, 0.6), (0.88, 0.95), (0.66, 1.16), (0.5, 1.19)]
    outline += [(0.34, 1.16), (0.12, 0.95)]
    strap, cloth, fold = (226, 232, 236), (136, 190, 212), (104, 160, 186)
    straps = [_stroke((0.1, 0.62), (0.03, 0.5), 0.03), _stroke((0.91, 0.64), (0.97, 0.52), 0.03)]
    straps += [_stroke((0.13, 0.93), (0.04, 0.68), 0.03), _stroke((0.87, 0.94), (0.96, 0.7), 0.03)]
    folds = [_stroke((0.17, y - 0.01), (0.84, y), 0.014) for y in (0.74, 0.86, 0.98)]
    return [*((strap, points) for points in straps), (cloth, _rounded(outline)), *((fold, points) for points in folds)]


def _sunglasses() -> list[Shape]:
    left = [(0.11, 0.33), (0.46, 0.33), (0.45, 0.5), (0.36, 0.57), (0.22, 0.57), (0.13, 0.5)]
    right = [(1 - x, y) for x, y in left]
    black, glint = (24, 24, 28), (70, 74, 84)
    arms = [_stroke((0.12, 0.37), (0.04, 0.4), 0.04), _stroke((0.88, 0.37), (0.97, 0.4), 0.04)]
    arms.append(_stroke((0.42, 0.38), (0.58, 0.38), 0.04))
    glints = [_stroke((x, 0.4), (x + 0.06, 0.36), 0.02) for x in (0.19, 0.63)]
    shapes = [*((black, points) for points in arms), (black, _rounded(left)), (black, _rounded(right))]
    return [*shapes, *((glint, points) for points in glints)]


def _hand() -> list[Shape]:
    """At the cheek, over a corner of the mouth."""
    back = [(0.8, 0.84), (1.02, 0.8), (1.2, 1.05), (1.45, 1.4), (1.2, 1.6), (0.95, 1.32), (0.78, 1.2)]
    tips = ((0.66, 0.62), (0.54, 0.75), (0.52, 0.9), (0.6, 1.04))
    fingers = [_finger((0.92, 0.9 + 0.09 * n), tip, 0.12) for n, tip in enumerate(tips)]
    palm = [(SKIN_EDGE, _rounded([(1.02 * x - 0.02, y + 0.012) for x, y in back])), (SKIN, _rounded(back))]
    return [*palm, *(shape for finger in fingers for shape in finger)]


def _phone() -> list[Shape]:
    """Before one cheek, held from the right."""
    case, lens, rim = (44, 48, 58), (14, 16, 20), (96, 102, 114)
    outline = [(0.6, 0.5), (0.82, 0.5), (1.04, 0.5), (1.04, 0.9), (1.04, 1.4), (0.82, 1.4), (0.6, 1.4), (0.6, 0.9)]
    lenses = [
        shape
        for y in (0.6, 0.71)
        for shape in ((rim, _stroke((0.69, y), (0.69, y), 0.09)), (lens, _stroke((0.69, y), (0.69, y), 0.07)))
    ]
    fingers = [_finger((1.22, 0.85 + 0.13 * n), (0.95 - 0.02 * n, 0.83 + 0.13 * n), 0.12) for n in range(4)]
    return [(case, _rounded(outline)), *lenses, *(shape for finger in fingers for shape in finger)]


def _finger(start: tuple[float, float], end: tuple[float, float], width: float) -> list[Shape]:
    return [(SKIN_EDGE, _stroke(start, end, width)), (SKIN, _stroke(start, end, width - 0.02))]


def _stroke(start: tuple[float, float], end: tuple[float, float], width: float) -> Points:
    """A line with round ends; a disc, where they coincide."""
    direction = math.atan2(end[1] - start[1], end[0] - start[0])
    half = [direction + math.pi * (step / 12 - 0.5) for step in range(13)]
    cap = [(width / 2 * math.cos(angle), width / 2 * math.sin(angle)) for angle in half]
    return [(end[0] + x, end[1] + y) for x, y in cap] + [(start[0] - x, start[1] - y) for x, y in cap]


def _rounded(points: Points) -> Points:
    """A closed outline with its corners cut three times (Chaikin), which looks smooth."""
    for _ in range(3):
        following = [*points[1:], points[0]]
        points = [
            ((1 - part) * x + part * u, (1 - part) * y + part * v)
            for (x, y), (u, v) in zip(points, following, strict=True)
            for part in (0.25, 0.75)
        ]
    return points


def _on_wall(hung: Sequence[tuple[Image.Image, int, int, int]]) -> Image.Image:
    """A room's wall with pictures on it: each with its side in pixels, left and top."""
    wall = Image.new("RGB", (800, 600), WALL)
    pen = ImageDraw.Draw(wall)
    pen.rectangle((0, 560, wall.width, wall.height), fill=(150, 124, 96))
    pen.rectangle((0, 546, wall.width, 560), fill=MAT)
    for picture, side, left, top in hung:
        rim = side // 12
        for reach, colour in ((2 * rim, WOOD), (rim, MAT)):
            pen.rectangle((left - reach, top - reach, left + side + reach - 1, top + side + reach - 1), fill=colour)
        wall.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (left, top))
    return wall
