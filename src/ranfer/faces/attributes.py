"""Pose and occlusion of a face, from the small model that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ranfer.errors import CheckpointError
from ranfer.provenance import file_hash
from ranfer.session import metadata, open_session
from ranfer.vocab import ESTIMATED, Attributes, Pose

ATTRIBUTE_WEIGHTS = Path(__file__).parents[1] / "weights" / "attributes.onnx"


class AttributeEstimate(NamedTuple):
    """What the model says of b faces.

    landmarks: left eye, right eye, nose tip, left and right mouth corner, as seen; x and y in fractions of the face.
    pose: yaw, pitch and roll in degrees; signs as in :class:`ranfer.vocab.Pose`.
    occlusion: probability of each kind of :data:`ranfer.vocab.ESTIMATED`; the kinds are independent.
    visible: how likely each cell of a grid over the face shows the face itself, rows from the top.
    """

    landmarks: Float[np.ndarray, "b 5 2"]
    pose: Float[np.ndarray, "b 3"]
    occlusion: Float[np.ndarray, "b 4"]
    visible: Float[np.ndarray, "b rows columns"]

    def attributes(self) -> list[Attributes]:
        """The same as a value a face."""
        return [
            Attributes(dict(zip(ESTIMATED, map(float, occlusion), strict=True)), Pose(*map(float, pose)))
            for occlusion, pose in zip(self.occlusion, self.pose, strict=True)
        ]

    def visibility(self, boxes: Float[np.ndarray, "b r 4"]) -> Float[np.ndarray, "b r"]:
        """Which share of each region shows the face itself: the mean of the grid over the region, 0 to 1.

        Parts of a region beyond the face are left out of the mean.
        """
        rows = _overlaps(boxes[..., 1], boxes[..., 3], self.visible.shape[1])
        columns = _overlaps(boxes[..., 0], boxes[..., 2], self.visible.shape[2])
        weights = rows[..., :, None] * columns[..., None, :]
        total = weights.sum(axis=(-2, -1))
        seen = (weights * self.visible[:, None]).sum(axis=(-2, -1))
        share: np.ndarray = np.divide(seen, total, out=np.zeros_like(seen), where=total > 0)
        return share


def _overlaps(
    start: Float[np.ndarray, "b r"], stop: Float[np.ndarray, "b r"], cells: int
) -> Float[np.ndarray, "b r {cells}"]:
    """How much of each cell of a side lies between start and stop, 0 to 1."""
    edges = np.arange(cells)
    low = np.maximum(start[..., None] * cells, edges)
    part: np.ndarray = np.clip(np.minimum(stop[..., None] * cells, edges + 1) - low, 0, 1)
    return part


class AttributeModel:
    """Tells pose, landmarks and occlusion of faces that are framed as FERPlus frames them; for any thread.

    Raises:
        CheckpointError: the file is missing, damaged, or not an attribute model of this version.
    """

    def __init__(self, path: Path = ATTRIBUTE_WEIGHTS, threads: int | None = None) -> None:
        self._session = open_session(path, threads)
        self.description = {
            "file": str(path),
            "sha256": file_hash(path),
            **(metadata(self._session) or {}),
        }
        if self.description.get("occlusion") != [kind.value for kind in ESTIMATED]:
            raise CheckpointError(f"{path}: not an attribute model of this version")

    def __call__(self, faces: UInt8[np.ndarray, "b h w 3"]) -> AttributeEstimate:
        """Faces of any size, RGB."""
        landmarks, turns, occlusion, visible = self._session.run(
            ["landmarks", "turns", "occlusion", "visible"], {"faces": faces}
        )
        return AttributeEstimate(landmarks, turns * 360, occlusion, visible)
