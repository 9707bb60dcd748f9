"""Where a model looks: the regions of a face, as boxes in fractions of it. Region 0 is always the whole face.

Source: Wang et al., Region Attention Networks, IEEE TIP 29 (2020), section III-B, and the published code's crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from jaxtyping import Bool, Float

from ranfer.config import RegionsConfig
from ranfer.errors import ConfigError
from ranfer.vocab import Box

FACE = Box(0.0, 0.0, 1.0, 1.0)
FIXED5 = (
    Box(0.0, 0.0, 0.75, 0.75),  # top-left
    Box(0.25, 0.0, 1.0, 0.75),  # top-right
    Box(0.125, 0.25, 0.875, 1.0),  # centre-bottom
    Box(0.05, 0.05, 0.95, 0.95),  # centre, .9 of the side
    Box(0.075, 0.075, 0.925, 0.925),  # centre, .85 of the side
)
CENTRE_80 = Box(0.1, 0.1, 0.9, 0.9)  # what the published code takes for the last of the five
FIXED7 = (
    *FIXED5[:4],
    CENTRE_80,
    Box(0.125, 0.125, 0.875, 0.875),  # centre, .75 of the side
    Box(0.125, 0.0, 0.875, 0.75),  # centre-top
)
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
MIRRORED = [1, 0, 2, 4, 3]  # the order in which the mirror image has them
_FIXED5_NAMES = ("top left", "top right", "centre bottom", "centre .9", "centre .85")
_FIXED7_NAMES = (*_FIXED5_NAMES[:4], "centre .8", "centre .75", "centre top")


def names(config: RegionsConfig) -> tuple[str, ...]:
    """What the regions of a model are called, the face first.

    >>> from ranfer.config import RegionsConfig
    >>> names(RegionsConfig(scheme="fixed5"))
    ('face', 'top left', 'top right', 'centre bottom', 'centre .9', 'centre .85')
    """
    match config.scheme:
        case "none":
            crops: tuple[str, ...] = ()
        case "fixed5":
            crops = _FIXED5_NAMES
        case "fixed7":
            crops = _FIXED7_NAMES
        case "boxes":
            crops = tuple(f"box {i}" for i in range(1, len(config.boxes) + 1))
        case "random":
            crops = tuple(f"random {i}" for i in range(1, config.count + 1))
        case "landmark":
            crops = tuple(f"{point}, radius {radius:g}" for radius in config.radii for point in LANDMARKS)
    return ("face", *crops)


def fixed_regions(config: RegionsConfig) -> Float[np.ndarray, "r 4"] | None:
    """The boxes that all faces share, or None where each face has its own (``random``, ``landmark``).

    >>> from ranfer.config import RegionsConfig
    >>> fixed_regions(RegionsConfig(scheme="fixed5"))[:2].tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.75, 0.75]]
    """
    shared = {"none": (), "fixed5": FIXED5, "fixed7": FIXED7, "boxes": config.boxes}.get(config.scheme)
    return None if shared is None else np.array([FACE, *shared], dtype=np.float32)


def random_regions(
    faces: Sequence[str], count: int, seed: int = 0, scale: tuple[float, float] = (0.7, 0.95)
) -> Float[np.ndarray, "b r 4"]:
    """``count`` square crops a face at uniform scale and position, the whole face before them.

    They depend on the seed and the face's id alone, not on the batch that the face comes in.

    >>> boxes = random_regions(["fer0000001", "fer0000002"], count=5)
    >>> boxes.shape, boxes[0, 0].tolist()
    ((2, 6, 4), [0.0, 0.0, 1.0, 1.0])
    """
    boxes = np.empty((len(faces), count + 1, 4), dtype=np.float32)
    boxes[:, 0] = FACE
    for row, face in zip(boxes, faces, strict=True):
        generator = np.random.default_rng([seed, crc32(face.encode())])
        side = generator.uniform(*scale, size=(count, 1))
        corner = generator.uniform(size=(count, 2)) * (1 - side)
        row[1:] = np.hstack([corner, corner + side])
    return boxes


def landmark_regions(
    points: Float[np.ndarray, "b 5 2"], radii: Sequence[float]
) -> tuple[Float[np.ndarray, "b r 4"], Bool[np.ndarray, "b r"]]:
    """Square crops of each radius (in fractions of the face's side) round the five points, the whole face first.

    A crop keeps its point in the middle, also where it leaves the face; cropping then repeats the border. A point that
    is NaN gives an absent region: False in the mask.

    >>> import numpy as np
    >>> points = np.array([[[0.25, 0.5], [0.75, 0.5], [0.5, 0.625], [np.nan, np.nan], [0.625, 0.75]]])
    >>> boxes, mask = landmark_regions(points, radii=[0.25])
    >>> boxes[0, 1].tolist(), mask[0].tolist()
    ([0.0, 0.25, 0.5, 0.75], [True, True, True, True, False, True])
    """
    face = np.array(FACE, dtype=np.float32)
    reach = np.asarray(radii, dtype=np.float32)[None, :, None, None]
    centre = points[:, None]  # (b, 1, 5, 2) against radii (1, n, 1, 1)
    crops = np.concatenate([centre - reach, centre + reach], axis=-1).reshape(len(points), -1, 4)
    boxes = np.concatenate([np.tile(face, (len(points), 1, 1)), crops], axis=1).astype(np.float32)
    mask = np.asarray(~np.isnan(boxes).any(axis=-1))
    return np.where(mask[..., None], boxes, face), mask


def regions_of(
    config: RegionsConfig, faces: Sequence[str], points: Float[np.ndarray, "b 5 2"] | None = None
) -> tuple[Float[np.ndarray, "k r 4"], Bool[np.ndarray, "b r"] | None]:
    """The regions of a batch of faces, by any scheme: boxes, with k = 1 where all faces share them, and a mask or None.

    Raises:
        ConfigError: the scheme is ``landmark`` and no points are given.
    """
    shared = fixed_regions(config)
    if shared is not None:
        return shared[None], None
    if config.scheme == "random":
        return random_regions(faces, config.count, config.seed, config.scale), None
    if points is None:
        raise ConfigError("landmark regions need five points a face; ranfer.face_regions finds them")
    return landmark_regions(points, config.radii)
