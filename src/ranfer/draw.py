"""Pictures to show: each face in its frame, what it expresses, and where the model looked; many pictures on a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from ranfer.images import LUMA
from ranfer.recognize import Face
from ranfer.vocab import Expression

Colour = tuple[int, int, int]

# Of the palettes of Okabe and Ito, which colour-blind people can tell apart, and of ColorBrewer.
COLOURS: dict[Expression, Colour] = {
    Expression.NEUTRAL: (86, 180, 233),
    Expression.HAPPINESS: (240, 190, 40),
    Expression.SURPRISE: (204, 121, 167),
    Expression.SADNESS: (0, 114, 178),
    Expression.ANGER: (213, 94, 0),
    Expression.DISGUST: (0, 158, 115),
    Expression.FEAR: (117, 90, 170),
    Expression.CONTEMPT: (140, 105, 60),
}
GREY: Colour = (118, 118, 118)
GLOW: Colour = (255, 140, 30)
SMALLEST, LARGEST = 640, 1600  # pixels of the longer side of an annotated picture: labels fit, and memory stays bounded
FULL = 0.5  # a region of this much more weight than an equal share is shaded most
TINT = 0.16  # of the glow over a region that is shaded most: what lies under it, a mask or a hand, stays visible
CELL, GAP, CAPTION = 320, 16, 24  # pixels of the contact sheet
UNTRUSTED, SHADED = "grey and dashed: not to be trusted", "shaded: where the model looked"  # what a sheet explains


def fit(
    image: UInt8[np.ndarray, "h w 3"], smallest: int = SMALLEST, largest: int = LARGEST
) -> tuple[UInt8[np.ndarray, "H W 3"], float]:
    """A picture whose longer side has ``smallest`` to ``largest`` pixels, and the factor that its sides grew by.

    >>> import numpy as np
    >>> picture, scale = fit(np.zeros((2000, 3200, 3), dtype=np.uint8))
    >>> picture.shape, scale
    ((1000, 1600, 3), 0.5)
    """
    longer = max(image.shape[:2])
    scale = min(max(longer, smallest), largest) / longer
    if scale == 1:
        return image, 1.0
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), scale


def annotate(image: UInt8[np.ndarray, "h w 3"], faces: Sequence[Face], scale: float = 1.0) -> Image.Image:
    """A copy of a picture with its faces framed and labelled, and shaded where the model looked.

    A face that is not to be trusted is grey, its frame is dashed, and its label says why. ``scale`` takes the faces'
    pixels to those of the picture, where that has been shrunk.

    >>> import ranfer
    >>> from ranfer.images import as_rgb
    >>> image, scale = fit(as_rgb("photo.jpg", "photo.jpg"))
    >>> annotate(image, ranfer.load()("photo.jpg"), scale).save("annotated.png")
    """
    canvas = np.array(image)
    frames = [scale * np.array(face.corners) for face in faces]
    for face, frame in zip(faces, frames, strict=True):
        _shade(canvas, face, frame)
    for face, frame in zip(faces, frames, strict=True):
        _outline(canvas, frame, _colour(face), dashed=not face.trusted)
    picture = Image.fromarray(canvas)
    labels: list[_Place] = []
    for face, frame in zip(faces, frames, strict=True):
        others = [_middle(other) for other in frames if other is not frame]
        if (place := _label(picture, face, frame, [*labels, *others])) is not None:
            labels.append(place)
    return picture


def contact_sheet(pictures: Sequence[tuple[str, Image.Image]], title: str, key: str = UNTRUSTED) -> Image.Image:
    """Pictures in a grid, each over its caption; they are shrunk into their cells, and not enlarged.

    ``key`` stands below the title and explains what is drawn.

    >>> from PIL import Image
    >>> contact_sheet([("a photo", Image.open("photo.jpg"))], "one picture").save("sheet.png")
    """
    columns = max(1, min(len(pictures), round((1.4 * len(pictures)) ** 0.5)))
    rows = -(-len(pictures) // columns)
    width, height = columns * (CELL + GAP) + GAP, rows * (CELL + CAPTION + GAP) + GAP + 2 * CAPTION
    sheet = Image.new("RGB", (max(width, 2 * CELL), height), (250, 250, 248))
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), _fitting(title, _font(18), sheet.width - 2 * GAP), (40, 40, 40), font=_font(18))
    pen.text((GAP, GAP + CAPTION), _fitting(key, _font(13), sheet.width - 2 * GAP), (90, 90, 90), font=_font(13))
    for place, (caption, picture) in enumerate(pictures):
        left = GAP + place % columns * (CELL + GAP)
        top = GAP + 2 * CAPTION + place // columns * (CELL + CAPTION + GAP)
        small = picture.copy()
        small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + (CELL - small.width) // 2, top + CELL - small.height))
        words = _fitting(caption, _font(13), CELL)
        pen.text((left + CELL / 2, top + CELL + 4), words, (90, 90, 90), font=_font(13), anchor="ma")
    return sheet


def _colour(face: Face) -> Colour:
    return COLOURS[face.expression] if face.trusted else GREY


def _shade(canvas: UInt8[np.ndarray, "h w 3"], face: Face, frame: Float[np.ndarray, "4 2"]) -> None:
    """The regions of a face, each the stronger, the more weight it has beyond an equal share."""
    height, width = canvas.shape[:2]
    low = np.clip(np.floor(frame.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(frame.max(axis=0)), 0, (width, height)).astype(int)
    if (high <= low).any():
        return
    part = canvas[low[1] : high[1], low[0] : high[0]]
    origin, across, down = frame[0] - low, frame[1] - frame[0], frame[3] - frame[0]
    for region in sorted(face.regions[1:], key=lambda region: region.weight):
        strength = np.clip((region.weight * len(face.regions) - 1) / FULL, 0, 1)
        left, top, right, bottom = region.box
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        shape = [np.array([_pixel(origin + x * across + y * down) for x, y in corners])]
        filled = cv2.fillPoly(part.copy(), shape, GLOW, cv2.LINE_AA, shift=3)
        cv2.addWeighted(filled, TINT * strength, part, 1 - TINT * strength, 0, dst=part)
        lined = cv2.polylines(part.copy(), shape, True, (255, 255, 255), 1, cv2.LINE_AA, shift=3)
        cv2.addWeighted(lined, 0.2 + 0.7 * strength, part, 0.8 - 0.7 * strength, 0, dst=part)


def _outline(canvas: UInt8[np.ndarray, "h w 3"], frame: Float[np.ndarray, "4 2"], colour: Colour, dashed: bool) -> None:
    side = float(np.linalg.norm(frame[1] - frame[0]))
    width = int(np.clip(side / 60, 1, 6))
    dashes: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for start, end in zip(frame, np.roll(frame, -1, axis=0), strict=True):
        count = int(np.linalg.norm(end - start) / max(side / 12, 3)) // 2 * 2 + 1 if dashed else 1
        stops = start + np.linspace(0, 1, count + 1)[:, None] * (end - start)
        dashes += [(_pixel(first), _pixel(last)) for first, last in zip(stops[::2], stops[1::2], strict=True)]
    for ink, thickness in (((255, 255, 255), width + 2), (colour, width)):  # a pale rim, for dark pictures
        for first, last in dashes:
            cv2.line(canvas, first, last, ink, thickness, cv2.LINE_AA, shift=3)


def _pixel(point: Float[np.ndarray, 2]) -> tuple[int, int]:
    """In eighths of a pixel, as OpenCV's ``shift=3`` wants them; it counts from the centre of the first pixel."""
    x, y = np.round(8 * (np.clip(point, -1e5, 1e5) - 0.5)).astype(int).tolist()
    return x, y


class _Place(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: _Place) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def _middle(frame: Float[np.ndarray, "4 2"]) -> _Place:
    """What no label of another face may cover."""
    centre, reach = frame.mean(axis=0), 0.3 * np.ptp(frame, axis=0)
    return _Place(*np.round([*(centre - reach), *(centre + reach)]).astype(int).tolist())


def _label(picture: Image.Image, face: Face, frame: Float[np.ndarray, "4 2"], taken: Sequence[_Place]) -> _Place | None:
    """Over the face, under it or inside, where nothing is hidden; in a crowd without room there is no label."""
    side, longer = float(np.linalg.norm(frame[1] - frame[0])), max(picture.size)
    size = round(float(np.clip(0.12 * side, max(11, 0.011 * longer), max(12, 0.03 * longer))))
    chip = _chip(face, size, max(1.6 * side, 0 if taken else 0.5 * picture.width))
    (left, top), (right, bottom) = frame.min(axis=0).tolist(), frame.max(axis=0).tolist()
    x = round(max(min((left + right - chip.width) / 2, picture.width - chip.width), 0))
    for y in map(round, (top - chip.height - 3, bottom + 3, bottom - chip.height - 3, top + 3)):
        place = _Place(x, y, x + chip.width, y + chip.height)
        inside = y >= 0 and place.right <= picture.width and place.bottom <= picture.height
        if inside and not any(place.overlaps(other) for other in taken):
            picture.paste(chip, place[:2], chip)
            return place
    return None


def _chip(face: Face, size: int, width: float) -> Image.Image:
    """The label on a rounded plate: expression and probability and, where it is not to be trusted, why."""
    lines = [(f"{face.expression} {face.probability:.0%}", _font(size))]
    if face.reason is not None:
        small = _font(max(round(0.72 * size), 9))
        words = face.reason if small.getlength(face.reason) <= width else face.reason.partition(":")[0]
        lines.append((words, small))
    ground = _colour(face)
    ink = (20, 20, 20) if np.dot(ground, LUMA) > 150 else (255, 255, 255)
    pad = round(0.35 * size)
    heights = [round(1.2 * font.size) for _, font in lines]
    plate = (round(max(font.getlength(text) for text, font in lines)) + 2 * pad, sum(heights) + pad)
    fine = 4  # Pillow's corners are not smooth
    mask = Image.new("L", (plate[0] * fine, plate[1] * fine))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius=0.3 * size * fine, fill=235)
    chip = Image.new("RGBA", plate, ground)
    chip.putalpha(mask.resize(plate, Image.Resampling.BOX))
    pen = ImageDraw.Draw(chip)
    y = pad / 2
    for (text, font), height in zip(lines, heights, strict=True):
        pen.text((plate[0] / 2, y + height / 2), text, ink, font=font, anchor="mm")
        y += height
    return chip


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels have FreeType
    return font


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, without its middle where it is too long."""
    text = text.encode("utf-8", "replace").decode()
    for kept in range(len(text), 2, -1):
        shown = text if kept == len(text) else f"{text[: kept // 3]}…{text[-(kept - kept // 3) :]}"
        if font.getlength(shown) <= width:
            return shown
    return "…"
