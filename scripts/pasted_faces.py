"""FERPlus validation faces pasted into colour photos that show nobody, scaled and rotated, to measure on.

A face of FERPlus ends at its 48-pixel frame, and a hard edge round it is like no photo. Its border is repeated beyond
the frame by RIM of its side, and fades there into the photo.
"""

from pathlib import Path

import cv2
import numpy as np

from ranfer.data import open_dataset
from ranfer.data.labels import label
from ranfer.faces.align import find_frame
from ranfer.faces.detection import Detection

NOBODY = ("coffee", "rocket", "chelsea", "stereo_motorcycle", "brick", "grass", "gravel", "hubble_deep_field", "retina")
NOBODY += ("immunohistochemistry", "page", "clock", "moon", "text", "cell", "horse", "colorwheel", "logo")
LARGE = 640  # shorter side of a photo, in pixels
RIM = 0.25
TINT = (1.0, 0.87, 0.76)  # grey faces become skin
NEAR = 0.35  # how far the centre of a found frame may lie from that of the pasted face, in sides of it


def photos() -> dict[str, np.ndarray]:
    """The photos of scikit-image that show no face, RGB, their shorter side LARGE."""
    from skimage import data

    found = {}
    for name in NOBODY:
        picture = getattr(data, name)()
        picture = np.asarray(picture[0] if isinstance(picture, tuple) else picture)
        if picture.dtype == bool:
            picture = picture * np.uint8(255)
        picture = np.dstack([picture] * 3) if picture.ndim == 2 else picture[..., :3]
        scale = LARGE / min(picture.shape[:2])
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        found[name] = cv2.resize(np.ascontiguousarray(picture), None, fx=scale, fy=scale, interpolation=kind)
    return found


def load_faces(data: Path, count: int | None, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """So many validation faces (None: all) with a majority label, in random order, and the columns of expressions."""
    dataset = open_dataset(f"ferplus:{data}")
    samples = dataset.split("valid")
    labels = label(samples, "majority")
    kept = np.flatnonzero(labels.kept)
    chosen = np.random.default_rng(seed).permutation(kept)[:count]
    return [dataset.image(samples[i]) for i in chosen], labels.expressions[chosen]


def place(size: int, angle: float, centre: np.ndarray, side: int) -> np.ndarray:
    """The map (2, 3) from pixels of a face of ``side`` to a photo, where it is ``size`` large and rotated clockwise."""
    radians = np.radians(angle)
    turn = size / side * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    return np.column_stack([turn, centre - turn @ np.full(2, side / 2)])


def paste(photo: np.ndarray, face: np.ndarray, to_photo: np.ndarray) -> np.ndarray:
    """The photo with a tinted face in it; ``to_photo`` (2, 3) takes pixels of the face to pixels of the photo."""
    rim = round(RIM * len(face))
    tinted = np.clip(face * TINT, 0, 255).astype(np.uint8)
    tinted = cv2.copyMakeBorder(tinted, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    fade = np.minimum(np.arange(len(tinted)) + 0.5, rim) / rim
    fade = np.minimum(fade, fade[::-1])
    cover = np.round(255 * np.outer(fade, fade)).astype(np.uint8)
    to_photo = np.column_stack([to_photo[:, :2], to_photo[:, 2] - to_photo[:, :2] @ (rim, rim)])
    fine = 4 if np.hypot(*to_photo[:, 0]) < 1 else 1  # drawn finer and averaged, so that shrinking does not alias
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * len(tinted) @ to_photo[:, :2].T + to_photo[:, 2]
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, photo.shape[1::-1])
    width, height = (high - low).tolist()
    shift = fine * np.column_stack([to_photo[:, :2], to_photo[:, 2] - low])
    shift[:, 2] += shift[:, :2] @ (0.5, 0.5) - 0.5
    kind = {"dsize": (width * fine, height * fine), "flags": cv2.INTER_CUBIC}
    drawn = cv2.warpAffine(tinted, shift, **kind, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(cover, shift, **kind)
    drawn, inside = (cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA) for x in (drawn, inside))
    result = photo.copy()
    region = result[low[1] : high[1], low[0] : high[0]]
    region[:] = np.round(region + (drawn - region.astype(float)) * inside[..., None] / 255)
    return result


def scene(
    photo: np.ndarray, face: np.ndarray, size: int, angle: float, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The photo with a face of ``size`` pixels, rotated clockwise, and where its centre is, in pixels.

    ``at`` is x and y, each 0 to 1 of the room that the face leaves.
    """
    margin = (0.5 + RIM) * size + 4
    centre = margin + at * (np.array(photo.shape[1::-1]) - 2 * margin)
    return paste(photo, face, place(size, angle, centre, len(face))), centre


def at_face(detections: list[Detection], centre: np.ndarray, size: int) -> Detection | None:
    """The best detection that is of the pasted face; None where it was missed."""
    return next((d for d in detections if np.linalg.norm(np.array(find_frame(d)[:2]) - centre) < NEAR * size), None)
