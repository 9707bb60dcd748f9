"""The default detector: MTCNN's cascade with a candidate network of our own, which learnt turned and covered faces.

MTCNN's first network proposes nearly every face, whatever its pose; its later networks reject many of those that are
turned or covered, and accept many things that are no faces. The candidate network (:mod:`ranfer.candidate_net`) scores
the candidates first, and those that are surely no faces are dropped. MTCNN's later networks see the rest. The candidate
network scores these once more, at the frames that it predicted: where a face lies in the middle of what it sees, its
frame and points are more exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ranfer.errors import CheckpointError
from ranfer.faces.detection import Detection, crops, run, same_face, shrink_to, suppress
from ranfer.faces.mtcnn import MTCNN
from ranfer.session import metadata, open_session

CANDIDATE_WEIGHTS = Path(__file__).parents[1] / "weights" / "candidates.onnx"
KIND = "ranfer candidates"
SIZE = 48  # pixels of a candidate as the network sees it
CONTEXT = 1.3  # side of what the network sees of a candidate, in sides of it
HOPEFUL = 0.05  # score from which on a candidate goes to MTCNN's later networks, and is scored again at its frame
SURE = 0.999  # second score that makes a face of a candidate, whatever MTCNN says
TURNED = 0.8  # distance of the eyes, in distances from eyes to mouth, below which a face is turned by some 27 degrees
OFF, SIDES = 0.5, (-0.8, 0.4)  # how far from a candidate, in sides of it, and how large it learnt frames to be, as logs


class Cascade:
    """The faces that MTCNN accepts among the hopeful candidates, and those of which the candidate network is sure.

    For a face that is turned to a side, the candidate network's frame replaces MTCNN's box and landmarks. Thread-safe.

    Args:
        mtcnn: proposes candidates, and verifies the hopeful ones.
        threads: of the network; None leaves their number to the runtime.

    Raises:
        CheckpointError: the weights are missing, damaged, or of another kind.
    """

    def __init__(self, mtcnn: MTCNN, threads: int | None = None, path: Path = CANDIDATE_WEIGHTS) -> None:
        self._arguments = (mtcnn, threads, path)
        self._mtcnn = mtcnn
        self._network = open_session(path, threads, of_any_shape=True)
        if (metadata(self._network) or {}).get("kind") != KIND:
            raise CheckpointError(f"{path}: not the candidate network of this version")

    def __reduce__(self) -> tuple[type[Cascade], tuple[Any, ...]]:
        return Cascade, self._arguments

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        """The faces of an RGB picture: MTCNN's, best first, and then those that the candidate network adds."""
        small, zoom = shrink_to(image, self._mtcnn.max_pixels)
        candidates = self._mtcnn.propose(small)
        hopeful, sure = self.score(small, candidates)
        known = self._mtcnn.verify(small, candidates[hopeful])
        turned = [face for face in sure if face.landmarks is None]
        known = [face for face in known if not any(same_face(face, other) for other in turned)]
        new = [face for face in sure if not any(same_face(face, other) for other in known)]
        return [face.zoomed(zoom) for face in (*known, *new)]

    def score(
        self, image: UInt8[np.ndarray, "h w 3"], candidates: Float[np.ndarray, "n 4"]
    ) -> tuple[Bool[np.ndarray, " n"], list[Detection]]:
        """Which candidates may be faces, by their first score, and those that surely are, by the second, best first.

        Boxes are the frames that FERPlus would give the faces. Those that are turned to a side come without landmarks:
        the box is the better frame.
        """
        frames, scores, _ = self._predict(image, candidates)
        hopeful = scores >= HOPEFUL
        frames, scores, points = self._predict(image, frames[hopeful])
        sure = [i for i in suppress(frames, scores, 0.4, nested=True) if scores[i] >= SURE]
        return hopeful, [Detection(tuple(frames[i].tolist()), float(scores[i]), _landmarks(points[i])) for i in sure]

    def _predict(
        self, image: UInt8[np.ndarray, "h w 3"], boxes: Float[np.ndarray, "n 4"]
    ) -> tuple[Float[np.ndarray, "m 4"], Float[np.ndarray, " m"], Float[np.ndarray, "m 5 2"]]:
        """Frame, score and points of each box that touches the picture, in pixels of the picture."""
        squares, pixels = crops(image, widened(boxes), SIZE)
        scores, square, points = run(self._network, pixels)
        side = squares[:, 2:3] - squares[:, :1]
        centre = (squares[:, :2] + squares[:, 2:]) / 2
        middle, half = centre + side * square[:, :2].clip(-OFF, OFF), side * np.exp(square[:, 2:].clip(*SIDES)) / 2
        return np.hstack([middle - half, middle + half]), scores, centre[:, None] + side[:, None] * points


def widened(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """What the network sees of candidates: squares about their centres, by ``CONTEXT`` larger."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, CONTEXT / 2 * (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    return np.hstack([centre - half[:, None], centre + half[:, None]])


def _landmarks(points: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "5 2"] | None:
    """The points of a face that looks ahead; None for a profile, whose points lie near a line and give no frame."""
    left, right, _, *mouth = points
    down = np.mean(mouth, axis=0) - (left + right) / 2
    return points if np.linalg.norm(right - left) >= TURNED * np.linalg.norm(down) else None
