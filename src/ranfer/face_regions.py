"""The regions of given faces by any scheme; those round landmarks lie where the attribute model sees the landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ranfer.config import RegionsConfig
from ranfer.faces.attributes import AttributeModel
from ranfer.regions import regions_of


def find_landmarks(model: AttributeModel, faces: UInt8[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b 5 2"]:
    """The five landmarks of faces in fractions of each, named as in :data:`ranfer.regions.LANDMARKS`; RGB or grey."""
    return model(np.broadcast_to(faces, (*faces.shape[:3], 3))).landmarks


class FaceRegions:
    """Finds the regions of faces; opens the attribute model only where the scheme is ``landmark``.

    ``threads`` are the attribute model's; None leaves their number to the runtime.

    Raises:
        CheckpointError: the attribute model is needed, and missing or damaged.
    """

    def __init__(self, config: RegionsConfig, threads: int | None = None) -> None:
        self._config = config
        self._model = AttributeModel(threads=threads) if config.scheme == "landmark" else None

    def __call__(
        self, faces: UInt8[np.ndarray, "b h w c"], ids: Sequence[str]
    ) -> tuple[Float[np.ndarray, "k r 4"], Bool[np.ndarray, "b r"] | None]:
        """Boxes in fractions of the face, with k = 1 where all faces share them, and a mask or None.

        Faces are RGB or grey, of any size; ids seed the regions of a ``random`` scheme.
        """
        points = None if self._model is None else find_landmarks(self._model, faces)
        return regions_of(self._config, ids, points)
