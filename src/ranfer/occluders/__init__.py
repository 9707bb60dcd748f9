"""Drawn things that cover faces, seeded, and with their exact masks: masks, glasses, hands, hair, hats, phones, text.

They serve training, the attribute model, and the test under synthetic occlusion. What they cover is known, and so is
how much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from ranfer.errors import DataError
from ranfer.occluders import held, laid, worn
from ranfer.occluders.blend import blend, look_at, place
from ranfer.occluders.canvas import MEAN_LANDMARKS, Canvas, arc
from ranfer.occluders.look import Look
from ranfer.vocab import Occlusion

__all__ = ["MEAN_LANDMARKS", "Kind", "Occluded", "draw_random", "occlude"]

SMALLEST = 16  # pixels a side of a face that can be covered
TOLERANCE = 0.02  # by which a share that was asked for may be missed


class Kind(StrEnum):
    """What covers a face."""

    SURGICAL_MASK = "surgical mask"
    CLOTH_MASK = "cloth mask"
    GLASSES = "glasses"
    SUNGLASSES = "sunglasses"
    HAND_ON_MOUTH = "hand on mouth"
    FINGERS_ON_MOUTH = "fingers on mouth"
    HAND_ON_CHEEK = "hand on cheek"
    HAND_ON_FOREHEAD = "hand on forehead"
    FRINGE = "fringe"
    CURTAIN = "hair over one side"
    CAP = "cap"
    HAT = "hat"
    SCARF = "scarf"
    PHONE = "phone"
    CUP = "cup"
    MICROPHONE = "microphone"
    WATERMARK = "watermark"
    BLOCK = "block"


class _Trait(NamedTuple):
    """How a kind is drawn.

    occlusion: what it covers by its meaning; None where that depends on its place.
    anchor: what stays where it is when the thing is scaled.  weight: how often it is drawn at random.
    round: how much darker its edges are.  shadow: how dark its contact shadow is, at most.
    wander: how far from its place it may lie, in faces, either way.
    """

    draw: Callable[[Canvas, np.random.Generator, Look], None]
    occlusion: Occlusion | None
    anchor: tuple[float, float]
    weight: float
    round: float = 0.0
    shadow: float = 0.3
    wander: float = 0.015


_UPPER, _LOWER, _SIDE, _EYEWEAR = Occlusion.UPPER, Occlusion.LOWER, Occlusion.SIDE, Occlusion.EYEWEAR
_TRAITS: dict[Kind, _Trait] = {
    Kind.SURGICAL_MASK: _Trait(worn.surgical_mask, _LOWER, (0.5, 0.85), 1, 0.3),
    Kind.CLOTH_MASK: _Trait(worn.cloth_mask, _LOWER, (0.5, 0.85), 1, 0.3),
    Kind.GLASSES: _Trait(worn.glasses, _EYEWEAR, (0.5, 0.387), 2.5, 0.0, 0.2),
    Kind.SUNGLASSES: _Trait(worn.sunglasses, _EYEWEAR, (0.5, 0.387), 1.2, 0.0, 0.25),
    Kind.HAND_ON_MOUTH: _Trait(held.hand_on_mouth, _LOWER, (0.5, 0.8), 1.5, 0.1, 0.4),
    Kind.FINGERS_ON_MOUTH: _Trait(held.fingers_on_mouth, _LOWER, (0.5, 0.85), 1.5, 0.1, 0.4),
    Kind.HAND_ON_CHEEK: _Trait(held.hand_on_cheek, _SIDE, (0.5, 0.75), 2, 0.1, 0.4),
    Kind.HAND_ON_FOREHEAD: _Trait(held.hand_on_forehead, _UPPER, (0.5, 0.25), 1.5, 0.1, 0.4),
    Kind.FRINGE: _Trait(worn.fringe, _UPPER, (0.5, 0.0), 1.5, 0.0, 0.3),
    Kind.CURTAIN: _Trait(worn.curtain, _SIDE, (0.5, 0.4), 1.2, 0.0, 0.3),
    Kind.CAP: _Trait(worn.cap, _UPPER, (0.5, 0.0), 1, 0.2, 0.5),
    Kind.HAT: _Trait(worn.hat, _UPPER, (0.5, 0.0), 1, 0.2, 0.5),
    Kind.SCARF: _Trait(worn.scarf, _LOWER, (0.5, 1.0), 1, 0.1, 0.4),
    Kind.PHONE: _Trait(held.phone, _SIDE, (0.5, 0.6), 1, 0.0, 0.4),
    Kind.CUP: _Trait(held.cup, _LOWER, (0.5, 0.85), 1, 0.1, 0.3),
    Kind.MICROPHONE: _Trait(held.microphone, _LOWER, (0.5, 0.9), 1, 0.2, 0.3),
    Kind.WATERMARK: _Trait(laid.watermark, None, (0.5, 0.6), 1.5, 0.0, 0.0),
    Kind.BLOCK: _Trait(laid.block, None, (0.5, 0.5), 1, 0.0, 0.1, wander=0.3),
}
_SEEN_THROUGH = {Kind.GLASSES, Kind.SUNGLASSES, Kind.WATERMARK}  # however large, they cover nothing else
_OVAL = arc(0.5, 0.52, 0.38, 0.5)  # the face, in mean-face coordinates
_ZONES = {  # half of one of these must be gone for it to count as covered
    _UPPER: np.array([(0.2, 0.16), (0.8, 0.16), (0.8, 0.46), (0.2, 0.46)]),
    _LOWER: np.array([(0.3, 0.68), (0.7, 0.68), (0.7, 0.94), (0.3, 0.94)]),
}
_CHEEKS = [np.array([(x, 0.45), (x + 0.2, 0.45), (x + 0.2, 0.85), (x, 0.85)]) for x in (0.15, 0.65)]


@dataclass(frozen=True, eq=False)
class Occluded:
    """A covered face.

    mask: by pixel, the share of the face's own light that is gone: 1 under an opaque thing, the tint of a lens, the
        strength of a contact shadow, and exactly 0 where the face is as it was.
    share: of the face's oval that the thing covers, its shadow and blur left aside.
    """

    face: UInt8[np.ndarray, "h w c"]
    mask: Float32[np.ndarray, "h w"]
    kind: Kind
    occlusion: frozenset[Occlusion]
    share: float


def occlude(
    face: UInt8[np.ndarray, "h w c"],
    kind: Kind,
    rng: np.random.Generator,
    landmarks: Float[np.ndarray, "5 2"] | None = None,
    share: float | None = None,
) -> Occluded:
    """A face with something drawn over it, matched to the photo's light, contrast, blur and grain.

    Args:
        face: grey (1 channel) or RGB; it stays as it is, what comes back is a copy.
        landmarks: in fractions of the face: left eye, right eye, nose tip, left and right corner of the mouth, left
            and right as seen; None for those of the mean frontal face of the training data.
        share: scale the thing until it covers so much of the face's oval, 0 to 1, within ``TOLERANCE`` where the kind
            can; what it came to is told by the result.

    Raises:
        DataError: the face is no such array, or the landmarks are no five finite points that lie apart.
    """
    height, width, channels = _check(face, landmarks)
    if share is not None and not 0 <= share < 1:
        raise DataError(f"occluder: expected a share from 0 to below 1, got {share}")
    if share == 0:
        return Occluded(face.copy(), np.zeros((height, width), np.float32), kind, frozenset(), 0.0)
    to_pixels = place((height, width), landmarks)
    photo, trait = look_at(face, to_pixels, rng), _TRAITS[kind]
    tilt, nudge, seed = rng.uniform(-8, 8), rng.uniform(-trait.wander, trait.wander, 2), int(rng.integers(2**63))

    def draw(scale: float) -> Float32[np.ndarray, "h w k"]:
        about = np.array(trait.anchor)
        cos, sin = scale * np.cos(np.radians(tilt)), scale * np.sin(np.radians(tilt))
        turn = to_pixels[:, :2] @ np.array([[cos, -sin], [sin, cos]])
        shift = to_pixels[:, :2] @ (about + nudge) + to_pixels[:, 2] - turn @ about
        canvas = Canvas(height, width, channels, np.column_stack([turn, shift]))
        trait.draw(canvas, np.random.default_rng(seed), photo.look)
        return canvas.shrunk()

    oval = _inside(_OVAL, to_pixels, (height, width))
    layer = draw(rng.uniform(0.9, 1.12)) if share is None else _scaled_to(share, draw, oval)
    covered = _mean(layer[..., -1], oval)
    face, mask = blend(face, layer, photo, rng, trait.round, trait.shadow)
    occlusion = _occlusion(kind, layer[..., -1], to_pixels) if covered else frozenset()
    return Occluded(face, mask, kind, occlusion, covered)


def draw_random(
    face: UInt8[np.ndarray, "h w c"],
    rng: np.random.Generator,
    landmarks: Float[np.ndarray, "5 2"] | None = None,
) -> Occluded:
    """A face with a thing of a kind chosen at random, as for training.

    Raises:
        DataError: as of :func:`occlude`.
    """
    steps = np.cumsum([trait.weight for trait in _TRAITS.values()])
    kind = list(_TRAITS)[int(np.searchsorted(steps, rng.random() * steps[-1], side="right"))]
    return occlude(face, kind, rng, landmarks)


def _check(face: np.ndarray, landmarks: np.ndarray | None) -> tuple[int, int, int]:
    if face.dtype != np.uint8 or face.ndim != 3 or face.shape[2] not in (1, 3) or min(face.shape[:2]) < SMALLEST:
        raise DataError(
            f"occluder: expected a uint8 face (h, w, 1 or 3) of at least {SMALLEST} pixels a side, got {face.dtype} "
            f"{face.shape}"
        )
    if landmarks is not None and (
        landmarks.shape != (5, 2) or not np.isfinite(landmarks).all() or np.ptp(landmarks, axis=0).max() == 0
    ):
        raise DataError(f"occluder: expected five finite landmarks (5, 2) that lie apart, got {landmarks.tolist()}")
    height, width, channels = face.shape
    return height, width, channels


def _scaled_to(
    share: float, draw: Callable[[float], Float32[np.ndarray, "h w k"]], oval: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w k"]:
    """The drawing at the scale that covers a share of the oval, by bisection; the nearest one where none does."""
    low, high = 0.05, 5.0
    best, miss = None, np.inf
    for _ in range(12):
        scale = float(np.sqrt(low * high))
        layer = draw(scale)
        covered = _mean(layer[..., -1], oval)
        if abs(covered - share) < miss:
            best, miss = layer, abs(covered - share)
        if miss < TOLERANCE / 4:
            break
        low, high = (scale, high) if covered < share else (low, scale)
    assert best is not None
    return best


def _mean(opacity: Float32[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"]) -> float:
    """How much of a part of the face is gone; nothing of a part that lies beyond the picture."""
    return float(opacity[inside].mean()) if inside.any() else 0.0


def _inside(
    outline: Float[np.ndarray, "n 2"], to_pixels: Float[np.ndarray, "2 3"], shape: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
    """The pixels within a polygon given in mean-face coordinates."""
    inside = np.zeros(shape, np.uint8)
    points = outline @ to_pixels[:, :2].T + to_pixels[:, 2] - 0.5
    cv2.fillPoly(inside, [np.rint(points * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return inside.astype(bool)


def _occlusion(
    kind: Kind, opacity: Float32[np.ndarray, "h w"], to_pixels: Float[np.ndarray, "2 3"]
) -> frozenset[Occlusion]:
    """What a kind means, and what else its drawing covers to the greater part."""
    meant = _TRAITS[kind].occlusion
    found = set() if meant is None else {meant}
    if kind in _SEEN_THROUGH:
        return frozenset(found)

    def gone(zone: Float[np.ndarray, "n 2"]) -> float:
        return _mean(opacity, _inside(zone, to_pixels, opacity.shape))

    found |= {part for part, zone in _ZONES.items() if part not in found and gone(zone) > 0.5}
    if not found and max(map(gone, _CHEEKS)) > 0.5:
        found.add(Occlusion.SIDE)
    return frozenset(found)
