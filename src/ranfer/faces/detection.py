"""What detectors share: a detected face, suppression of overlapping boxes, and the crops that their networks see.

Pixel coordinates count from the picture's upper left corner: the first pixel spans 0 to 1, its centre is at 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import onnxruntime
from jaxtyping import Float, Int, UInt8

BATCH = 512  # crops in one call of a network
MARGIN = 128  # what lies beyond the picture's border, about 0 after normalisation


@dataclass(frozen=True, eq=False)
class Detection:
    """A face in a picture, in pixels of that picture.

    box: left, top, right, bottom; it may reach beyond the picture.
    score: how sure the detector is, 0 to 1.
    landmarks: x and y of left eye, right eye, nose tip, left and right mouth corner, left and right as seen in the
        picture; None from a detector that does not tell them.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: Float[np.ndarray, "5 2"] | None = None

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    def zoomed(self, zoom: tuple[float, float]) -> Detection:
        """The same face in a picture scaled by factors for x and y."""
        points = None if self.landmarks is None else self.landmarks * zoom
        return replace(self, box=tuple((np.array(self.box) * np.tile(zoom, 2)).tolist()), landmarks=points)


Detector = Callable[[UInt8[np.ndarray, "h w 3"]], list[Detection]]


def same_face(one: Detection, other: Detection) -> bool:
    """Whether more than half of the smaller box lies in the other."""
    upper, lower = np.maximum(one.box[:2], other.box[:2]), np.minimum(one.box[2:], other.box[2:])
    return bool(np.maximum(lower - upper, 0).prod() > 0.5 * min(one.area, other.area))


def suppress(
    boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"], threshold: float, *, nested: bool = False
) -> Int[np.ndarray, " k"]:
    """Greedy non-maximum suppression: which boxes stay, best first.

    A box goes where it overlaps a better one that stays by more than ``threshold``: intersection over union or, with
    ``nested``, over the smaller of the two areas.
    """
    order = np.argsort(-scores, kind="stable")
    upper, lower = boxes[order, :2], boxes[order, 2:]
    area = (lower - upper).prod(axis=1)
    stays = np.ones(len(order), dtype=bool)
    for best in range(len(order)):
        if stays[best]:
            rest = slice(best + 1, None)
            sides = np.minimum(lower[best], lower[rest]) - np.maximum(upper[best], upper[rest])
            both = np.maximum(sides, 0).prod(axis=1)
            whole = np.minimum(area[best], area[rest]) if nested else area[best] + area[rest] - both
            stays[rest] &= both <= threshold * whole
    return order[stays]


def shrink_to(
    image: UInt8[np.ndarray, "h w 3"], max_pixels: int
) -> tuple[UInt8[np.ndarray, "small_h small_w 3"], tuple[float, float]]:
    """A picture of at most about ``max_pixels``, and the factors that take its x and y back to the original's."""
    height, width = image.shape[:2]
    scale = math.sqrt(max_pixels / max(height * width, 1))
    if scale >= 1:
        return image, (1.0, 1.0)
    small = cv2.resize(image, (max(int(width * scale), 1), max(int(height * scale), 1)), interpolation=cv2.INTER_AREA)
    return small, (width / small.shape[1], height / small.shape[0])


def crops(
    image: UInt8[np.ndarray, "h w 3"], boxes: Float[np.ndarray, "n 4"], size: int
) -> tuple[Float[np.ndarray, "m 4"], UInt8[np.ndarray, "m {size} {size} 3"]]:
    """The boxes as squares of whole pixels, and what they show, resampled to ``size``; those off the picture go."""
    height, width = image.shape[:2]
    sides = np.round((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)).astype(int)
    corners = np.round((boxes[:, :2] + boxes[:, 2:]) / 2 - sides[:, None] / 2).astype(int)
    inside = (sides > 0) & (corners < (width, height)).all(axis=1) & (corners + sides[:, None] > 0).all(axis=1)
    sides, corners = sides[inside], corners[inside]
    crops = np.empty((len(sides), size, size, 3), dtype=np.uint8)
    for crop, (left, top), side in zip(crops, corners.tolist(), sides.tolist(), strict=True):
        beyond = max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0)
        content = image[max(top, 0) : top + side, max(left, 0) : left + side]
        if any(beyond):
            content = cv2.copyMakeBorder(content, *beyond, cv2.BORDER_CONSTANT, value=(MARGIN,) * 3)
        cv2.resize(content, (size, size), dst=crop, interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return np.hstack([corners, corners + sides[:, None]]).astype(float), crops


def run(network: onnxruntime.InferenceSession, crops: UInt8[np.ndarray, "n size size 3"]) -> list[np.ndarray]:
    """All crops in one call, or in several where a picture has so many candidates that memory would swell."""
    starts = range(0, max(len(crops), 1), BATCH)
    parts = [network.run(None, {"pixels": crops[start : start + BATCH]}) for start in starts]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
