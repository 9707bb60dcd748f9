"""Make a drawn thing part of a photo: its black and white, the colour of skin, light, blur, grain, contact shadow."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from ranfer.occluders.canvas import MEAN_LANDMARKS
from ranfer.occluders.look import Look

_SKIN = np.array([(0.5, 0.5), (0.33, 0.6), (0.67, 0.6), (0.5, 0.64), (0.42, 0.28), (0.58, 0.28), (0.5, 0.9)])
_HAIR = np.array([(0.2, 0.08), (0.3, 0.02), (0.5, 0.0), (0.7, 0.02), (0.8, 0.08)])


class Photo(NamedTuple):
    """What a thing must match. slope: how much brighter, in shares, the face is a face's width to the right, and down.

    unit: pixels in 1/48 of the face's frame.  blur: of the thing's edges, the sigma of a Gaussian in pixels.
    grain: standard deviation of the noise, 0 to 255.
    """

    look: Look
    slope: tuple[float, float]
    unit: float
    blur: float
    grain: float


def place(shape: tuple[int, int], landmarks: Float[np.ndarray, "5 2"] | None) -> Float[np.ndarray, "2 3"]:
    """The map from mean-face coordinates to pixels of a face of (height, width), by landmarks in its fractions.

    Half way between the affine map that fits five points best and the best similarity: in a profile the affine map
    alone would make all things thin.
    """
    size = np.array(shape[::-1], dtype=float)
    if landmarks is None:
        return np.column_stack([np.diag(size), np.zeros(2)])
    points = landmarks * size
    centre, mean = points.mean(axis=0), MEAN_LANDMARKS.mean(axis=0)
    here, there = MEAN_LANDMARKS - mean, points - centre
    affine = np.linalg.lstsq(here, there, rcond=None)[0].T
    cos = (here * there).sum()
    sin = (here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]).sum()
    similarity = np.array([[cos, -sin], [sin, cos]]) / (here**2).sum()
    linear = (affine + similarity) / 2
    return np.column_stack([linear, centre - linear @ mean])


def look_at(face: UInt8[np.ndarray, "h w c"], to_pixels: Float[np.ndarray, "2 3"], rng: np.random.Generator) -> Photo:
    """How a photo looks, and so how things in it would."""
    height, width, channels = face.shape
    step = max(1, min(height, width) // 24)
    few = face[::step, ::step].astype(np.float32)
    levels = np.sort(few.reshape(-1, channels), axis=0)
    black, white = levels[len(levels) // 50], levels[-1 - len(levels) // 50]
    skin = np.median(_pick(face, to_pixels, _SKIN), axis=0)
    hair = _pick(face, to_pixels, _HAIR)
    hair = hair[np.argsort(hair.sum(axis=1))[1]]  # the others may be background
    grey = few.mean(axis=2)
    y, x = (np.linspace(-0.5, 0.5, length, dtype=np.float32) for length in grey.shape)
    across, down = (grey.mean(axis=0) * x).mean() / (x * x).mean(), (grey.mean(axis=1) * y).mean() / (y * y).mean()
    level = max(float(grey.mean()), 16.0)
    look = Look(*(_colour(values) for values in (black, np.maximum(white, skin * 1.1), skin, hair)))
    slope = tuple(float(np.clip(value / level, -0.8, 0.8)) for value in (across, down))
    unit = float(np.sqrt(abs(np.linalg.det(to_pixels[:, :2])))) / 48
    return Photo(look, slope, unit, rng.uniform(0.35, 0.75) * unit, rng.uniform(1.0, 4.0))  # type: ignore[arg-type]


def _pick(
    face: UInt8[np.ndarray, "h w c"], to_pixels: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n c"]:
    at = (points @ to_pixels[:, :2].T + to_pixels[:, 2]).astype(int)
    x, y = np.clip(at.T, 0, np.array(face.shape[1::-1])[:, None] - 1)
    return np.asarray(face[y, x], dtype=float)


def _colour(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = np.broadcast_to(values, 3).tolist()
    return red, green, blue


def blend(
    face: UInt8[np.ndarray, "h w c"],
    layer: Float32[np.ndarray, "h w k"],
    photo: Photo,
    rng: np.random.Generator,
    roundness: float,
    shadow: float,
) -> tuple[UInt8[np.ndarray, "h w c"], Float32[np.ndarray, "h w"]]:
    """Lay a sheet over a face; gives the covered face and its mask."""
    height, width = face.shape[:2]
    layer = cv2.GaussianBlur(layer, (0, 0), photo.blur)
    opacity = layer[..., -1]
    opacity[opacity < 1 / 64] = 0
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    light = 1 + 0.6 * (photo.slope[0] * x + photo.slope[1] * y)
    light = light + _waves(height, width, rng) * 0.05
    if roundness:
        light *= 1 - roundness * (1 - cv2.GaussianBlur(opacity, (0, 0), 2.5 * photo.unit))
    thing = layer[..., :-1] * light[..., None]
    thing += (rng.standard_normal((height, width), dtype=np.float32) * photo.grain * opacity)[..., None]
    mask = opacity
    if shadow:
        strength = shadow * rng.uniform(0.3, 1.0)
        shift = photo.unit * rng.uniform(-0.8, 0.8), photo.unit * rng.uniform(0.0, 1.5)
        moved = cv2.warpAffine(opacity, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (width, height))
        dark = strength * cv2.GaussianBlur(moved, (0, 0), 1.2 * photo.unit) * (1 - opacity)
        dark[dark < 0.02] = 0
        mask = opacity + dark
    covered = face * (1 - mask[..., None]) + thing
    covered = np.rint(np.clip(covered, 0, 255)).astype(np.uint8)
    return np.where(mask[..., None] > 0, covered, face), mask


def _waves(height: int, width: int, rng: np.random.Generator) -> Float32[np.ndarray, "{height} {width}"]:
    """Smooth unevenness."""
    coarse = rng.standard_normal((7, 7), dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
