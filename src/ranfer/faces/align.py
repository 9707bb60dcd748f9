"""From a face in a picture to the face that a model expects: upright, and framed as the training faces are.

The frame hangs on four points, the eyes and the corners of the mouth: on training faces their mean and their spread
tell where the 48x48 frame lies more exactly than the detector's box does, and they do not depend on the detector.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ranfer.faces.detection import Detection

# How FERPlus training faces lie in their 48x48 frames, from `scripts/measure_framing.py DATA --faces 3000`.
SIDE = 1.89  # side of the frame, in spreads of the four points
RISE = 0.086  # from the mean of the four points up to the centre of the frame, in sides of it
# Pixels of the picture, per pixel of the face and axis, that bicubic sampling takes without shrinking first: more
# would alias, fewer blur.
DETAIL = 1.5


class Frame(NamedTuple):
    """The square of a picture that becomes the aligned face.

    x, y: its centre in pixels; side: in pixels; roll: by how many degrees it is rotated clockwise, as seen.
    """

    x: float
    y: float
    side: float
    roll: float


def find_frame(detection: Detection) -> Frame:
    """Where the training faces' frame lies round a detected face.

    A detection without points is taken for a face that is framed already: the square that holds its box.

    >>> from ranfer.faces.detection import Detection
    >>> find_frame(Detection((10.0, 20.0, 50.0, 60.0), score=1.0))
    Frame(x=30.0, y=40.0, side=40.0, roll=0.0)
    """
    left, top, right, bottom = detection.box
    if detection.landmarks is None:
        return Frame((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top), 0.0)
    four = np.asarray(detection.landmarks, dtype=float)[[0, 1, 3, 4]]
    centre = four.mean(axis=0)
    # In a profile the eyes coincide; the distance from eyes to mouth remains, and keeps spread and direction stable.
    side = SIDE * math.sqrt(((four - centre) ** 2).sum())
    across = four[1] - four[0]
    down = (four[2] + four[3] - four[0] - four[1]) / 2
    roll = math.atan2(across[1] - down[0], across[0] + down[1])
    x, y = centre + RISE * side * np.array([math.sin(roll), -math.cos(roll)])
    return Frame(float(x), float(y), side, math.degrees(roll))


def align(image: UInt8[np.ndarray, "h w 3"], frame: Frame, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """What a frame holds as ``size`` x ``size`` pixels; the picture's border is repeated beyond it."""
    return _warp(image, face_map(frame, size), size)


def face_map(frame: Frame, size: int) -> Float[np.ndarray, "2 3"]:
    """The affine map from pixels of the picture to those of the face that :func:`align` gives.

    Both count from the upper left corner of the first pixel.
    """
    scale = size / max(frame.side, 1e-6)  # points that coincide make a face of one point
    cos, sin = scale * math.cos(math.radians(frame.roll)), scale * math.sin(math.radians(frame.roll))
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([turn, size / 2 - turn @ (frame.x, frame.y)])


def _warp(
    image: UInt8[np.ndarray, "h w 3"], to_face: Float[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Resample without aliasing: shrink what the face covers by area, then sample that once, bicubically."""
    height, width = image.shape[:2]
    to_image = cv2.invertAffineTransform(to_face)
    step = float(np.hypot(*to_image[:, 0]))  # pixels of the picture per pixel of the face
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ to_image[:, :2].T + to_image[:, 2]
    reach = np.array([width, height])
    # Only what the face covers is touched, and a margin for the filters; at least one pixel of the picture remains.
    low = np.clip(np.floor(corners.min(axis=0) - 2 * step - 2), 0, reach - 1).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + 2 * step + 2), low + 1, reach).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    if step > DETAIL:
        shrunk = np.maximum(np.ceil((high - low) * DETAIL / step), 1).astype(int)
        part = cv2.resize(part, shrunk.tolist(), interpolation=cv2.INTER_AREA)
    factor = (high - low) / part.shape[1::-1]
    # From the face's pixels to the part's. OpenCV counts from the centre of the first pixel: hence the halves.
    turn = to_image[:, :2] / factor[:, None]
    shift = (to_image[:, 2] - low) / factor + turn @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(
        part,
        np.column_stack([turn, shift]),
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
