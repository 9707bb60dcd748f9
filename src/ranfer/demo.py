"""Recognition to look at: sample pictures, drawn from one public-domain portrait, through `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from rich.console import Console

from ranfer.errors import DataError
from ranfer.images import decode_image
from ranfer.occluders import Kind, occlude
from ranfer.outputs import SHEET
from ranfer.predict import predict
from ranfer.recognize import Face, load
from ranfer.summary import print_summary

PORTRAIT = Path(__file__).parent / "samples" / "portrait.jpg"  # portrait.txt beside it says whose, and why we may
WALL, WOOD, MAT = (214, 208, 196), (92, 68, 48), (246, 244, 238)


def run(folder: Path, console: Console) -> None:
    """Draw sample pictures and recognise them with the package's weights; all results lie in ``folder``.

    Raises:
        DataError: a picture could not be read, now or in an earlier run; after all others are done.
    """
    recognizer = load(threads=1)
    portrait = Image.fromarray(decode_image(PORTRAIT, PORTRAIT.name))
    (face,) = recognizer(portrait)
    pictures = write_samples(portrait, face, folder / "pictures")
    complaints: list[str] = []
    summary = predict(recognizer, pictures, folder, draw=True, complain=complaints.append)
    print_summary(summary, folder, console)
    console.print(f"To look at: {folder / SHEET}", markup=False, soft_wrap=True)
    if complaints:
        raise DataError("\n".join(complaints))


def write_samples(portrait: Image.Image, face: Face, folder: Path) -> list[Path]:
    """The portrait and what photographs do to faces, as files in their order; ``face`` says where its face is."""
    folder.mkdir(parents=True, exist_ok=True)
    grey = portrait.convert("L")
    dark = portrait.point(lambda value: round(90 * (value / 255) ** 1.3))
    blurred = portrait.filter(ImageFilter.GaussianBlur(3))
    right, left = _tilted(portrait, face, 25.0), _tilted(portrait, face, -20.0)
    mask, glasses = (_covered(portrait, face, kind, 1) for kind in (Kind.SURGICAL_MASK, Kind.SUNGLASSES))
    hand, phone = (_covered(portrait, face, kind, 1) for kind in (Kind.HAND_ON_CHEEK, Kind.PHONE))
    upper = [(mask, 180, 50, 80), (right, 220, 310, 60), (glasses, 160, 610, 100)]
    lower = [(dark, 150, 80, 345), (grey, 100, 360, 385), (phone, 140, 600, 345)]
    samples = {
        "portrait": portrait,
        "grey": grey,
        "dark": dark,
        "blurred": blurred,
        "tilted right": right,
        "tilted left": left,
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


def _tilted(portrait: Image.Image, face: Face, degrees: float) -> Image.Image:
    """The portrait, rotated clockwise in the picture about its face; beyond its border it is mirrored."""
    left, top, right, bottom = face.box
    turn = cv2.getRotationMatrix2D(((left + right) / 2, (top + bottom) / 2), -degrees, 1)
    pixels = np.asarray(portrait)
    tilted = cv2.warpAffine(pixels, turn, portrait.size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return Image.fromarray(tilted)


def _covered(portrait: Image.Image, face: Face, kind: Kind, seed: int) -> Image.Image:
    """The portrait with something drawn over its face."""
    landmarks = np.array(face.landmarks) / portrait.size
    return Image.fromarray(occlude(np.asarray(portrait), kind, np.random.default_rng(seed), landmarks).face)


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
