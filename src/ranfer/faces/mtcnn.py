"""Where the faces of a picture are: MTCNN.

Pixel coordinates count from the picture's upper left corner: the first pixel spans 0 to 1, its centre is at 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ranfer.errors import ConfigError
from ranfer.faces.detection import MARGIN, Detection, crops, run, shrink_to, suppress
from ranfer.faces.mtcnn_networks import open_networks

WINDOW, STEP = 12, 2  # the first network sees squares of 12 pixels, at every other pixel
SHRINK = 0.709  # from one level of the pyramid to the next: half the area
ANGLES = (0.0, -30.0, 30.0)  # degrees by which the later stages see a candidate rotated
SURE_ROTATED = 0.95  # score that a candidate must pass where it is seen rotated: more looks mean more false alarms


class MTCNN:
    """The cascade of Zhang et al. (2016); call it on an RGB picture, from any number of threads at once.

    The first network is fairly blind to rotation, the others are not: they see its candidates in the picture as it is
    and rotated by 30 degrees either way, and the best of a face's three scores counts. Further departures from the
    original: O-Net's threshold is 0.7 instead of 0.8 (it finds more rotated faces), crops are resampled by area, and
    suppression is greedy as in the paper (the ``mtcnn`` distribution lets suppressed boxes suppress).

    Args:
        min_face: side of the smallest face to find, in pixels, 12 or more.
        thresholds: score that a candidate must pass in each of the three stages.
        max_pixels: a larger picture is first shrunk to this many pixels, and is not rotated where that would make more
            than three times as many of it, which bounds time and memory; ``min_face`` then counts pixels of the
            shrunk picture. Faces are always reported in pixels of the picture as it came.
        threads: of each network; None leaves their number to the runtime.

    Raises:
        ConfigError: a setting out of range.
        CheckpointError: the weights are not installed.
    """

    def __init__(
        self,
        min_face: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        max_pixels: int = 4_000_000,
        threads: int | None = None,
    ) -> None:
        if not min_face >= WINDOW:
            raise ConfigError(f"min_face must be {WINDOW} pixels or more, got {min_face}")
        if len(thresholds) != 3 or not all(0 <= threshold < 1 for threshold in thresholds):
            raise ConfigError(f"thresholds must be three numbers from 0 to below 1, got {thresholds}")
        if max_pixels < 1:
            raise ConfigError(f"max_pixels must be positive, got {max_pixels}")
        self._arguments = (min_face, thresholds, max_pixels, threads)
        self._min_face, self._thresholds, self.max_pixels = min_face, thresholds, max_pixels
        self._networks = open_networks(threads)

    def __reduce__(self) -> tuple[type[MTCNN], tuple[Any, ...]]:
        return MTCNN, self._arguments

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        """The faces of an RGB picture, best first; a picture that is too small for any has none."""
        small, zoom = shrink_to(image, self.max_pixels)
        return [face.zoomed(zoom) for face in self.verify(small, self.propose(small))]

    def verify(self, image: UInt8[np.ndarray, "h w 3"], candidates: Float[np.ndarray, "n 4"]) -> list[Detection]:
        """Which candidates are faces, by R-Net and O-Net; best first."""
        if len(candidates) == 0:
            return []
        # A long strip, rotated, would be mostly margin.
        angles = [angle for angle in ANGLES if math.prod(_rotation(image.shape[:2], angle)[1]) <= 3 * self.max_pixels]
        passes = [self._verify_rotated(image, candidates, angle) for angle in angles]
        boxes, scores, points = (np.concatenate(parts) for parts in zip(*passes, strict=True))
        return [
            Detection(tuple(boxes[i].tolist()), float(scores[i]), points[i])
            for i in suppress(boxes, scores, 0.5, nested=True)
        ]

    def _verify_rotated(
        self, image: UInt8[np.ndarray, "h w 3"], candidates: Float[np.ndarray, "n 4"], angle: float
    ) -> tuple[Float[np.ndarray, "m 4"], Float[np.ndarray, " m"], Float[np.ndarray, "m 5 2"]]:
        """R-Net and O-Net on the picture rotated by an angle; what they find, in pixels of the picture as it is."""
        rotated, to_rotated = _rotate(image, angle)
        found, scores, points = self._o_net(rotated, self._r_net(rotated, _carried(candidates, to_rotated)))
        sure = scores > (SURE_ROTATED if angle else 0)
        back = cv2.invertAffineTransform(to_rotated)
        return _carried(found[sure], back), scores[sure], points[sure] @ back[:, :2].T + back[:, 2]

    def propose(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "n 4"]:
        """Candidates, by P-Net on every level of the pyramid, best first; each shows a pixel of the picture or more."""
        boxes, scores = [np.empty((0, 4))], [np.empty(0)]
        for level in _pyramid(image, WINDOW / self._min_face):
            offsets, score = self._networks.proposal.run(None, {"pixels": level[None]})
            row, column = np.nonzero(score[0] > self._thresholds[0])
            corner = STEP * np.stack([column, row], axis=1)
            found = np.hstack([corner, corner + WINDOW]) + WINDOW * offsets[0][:, row, column].T.astype(float)
            # The level's true scale: its sides are whole numbers, so it differs a little between x and y.
            found *= np.tile(np.divide(image.shape[1::-1], level.shape[1::-1]), 2)
            kept = suppress(found, score[0][row, column], 0.5)
            boxes.append(found[kept])
            scores.append(score[0][row, column][kept])
        everything = np.concatenate(boxes)
        best = everything.take(suppress(everything, np.concatenate(scores), 0.7), axis=0)
        return best[((best[:, :2] < np.subtract(image.shape[1::-1], 1)) & (best[:, 2:] > 1)).all(axis=1)]

    def _r_net(self, image: UInt8[np.ndarray, "h w 3"], boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "m 4"]:
        """R-Net on all candidates in one call."""
        squares, pixels = crops(image, boxes, 24)
        offsets, scores = run(self._networks.refinement, pixels)
        passed = scores > self._thresholds[1]
        found = _moved(squares, offsets)[passed]
        return found.take(suppress(found, scores[passed], 0.7), axis=0)

    def _o_net(
        self, image: UInt8[np.ndarray, "h w 3"], boxes: Float[np.ndarray, "n 4"]
    ) -> tuple[Float[np.ndarray, "m 4"], Float[np.ndarray, " m"], Float[np.ndarray, "m 5 2"]]:
        """O-Net on all remaining candidates in one call."""
        squares, pixels = crops(image, boxes, 48)
        offsets, points, scores = run(self._networks.output, pixels)
        passed = scores > self._thresholds[2]
        found = _moved(squares, offsets)[passed]
        kept = np.flatnonzero(passed)[suppress(found, scores[passed], 0.7, nested=True)]
        side = (squares[:, 2] - squares[:, 0])[:, None, None]
        five = squares[:, None, :2] + side * points.reshape(-1, 2, 5).transpose(0, 2, 1)  # five x, then five y
        return _moved(squares, offsets)[kept], scores[kept], five[kept]


def _rotation(shape: Sequence[int], angle: float) -> tuple[Float[np.ndarray, "2 3"], list[int]]:
    """The map from pixels of a picture to those of the picture rotated clockwise by degrees, and its width and height.

    ``shape`` is the height and width of the picture.

    >>> _rotation((100, 40), 90.0)[1]
    [100, 40]
    """
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    height, width = shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ turn.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    return np.column_stack([turn, -low]), np.ceil(np.round(high - low, 6)).astype(int).tolist()


def _rotate(
    image: UInt8[np.ndarray, "h w 3"], angle: float
) -> tuple[UInt8[np.ndarray, "rotated_h rotated_w 3"], Float[np.ndarray, "2 3"]]:
    """The whole picture rotated clockwise by degrees, and the map from its pixels to those of the rotated one."""
    to_rotated, size = _rotation(image.shape[:2], angle)
    if angle == 0:
        return image, to_rotated
    # OpenCV counts from the centre of the first pixel: hence the halves.
    turn = to_rotated[:, :2]
    shift = to_rotated[:, 2] + turn @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(image, np.column_stack([turn, shift]), size, borderValue=(MARGIN,) * 3), to_rotated


def _carried(boxes: Float[np.ndarray, "n 4"], by: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "n 4"]:
    """Boxes of the same sides, where a map takes their centres."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    centre = centre @ by[:, :2].T + by[:, 2]
    return np.hstack([centre - half, centre + half])


def _pyramid(image: UInt8[np.ndarray, "h w 3"], scale: float) -> Iterator[UInt8[np.ndarray, "level_h level_w 3"]]:
    """The picture at ``scale`` and ever smaller, as long as a window fits into it."""
    height, width = image.shape[:2]
    while min(height, width) * scale >= WINDOW:
        yield cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        scale *= SHRINK


def _moved(squares: Float[np.ndarray, "n 4"], offsets: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Each edge moved by its offset, which counts in sides of the square."""
    moved: np.ndarray = squares + offsets * (squares[:, 2] - squares[:, 0])[:, None]
    return moved
