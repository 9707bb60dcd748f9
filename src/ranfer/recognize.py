"""From a picture to its faces and what they express: detection, alignment and the model, in one call."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, overload

import numpy as np
from jaxtyping import Float, UInt8

from ranfer.errors import CheckpointError, ConfigError, RanferError
from ranfer.faces.align import align, find_frame
from ranfer.faces.attributes import ATTRIBUTE_WEIGHTS, AttributeEstimate, AttributeModel
from ranfer.faces.detection import Detection, Detector, shrink_to
from ranfer.faces.detectors import open_detector, weight_files, whole_picture
from ranfer.images import Picture, as_rgb, by_shape, processing
from ranfer.provenance import file_hash
from ranfer.runtime import OnnxModel
from ranfer.session import METADATA_KEY, metadata, open_session
from ranfer.trust import if_covered, if_tiny, if_turned, if_unsure
from ranfer.vocab import ESTIMATED, Box, Expression, Occlusion, Pose, Prediction, normalised

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "default.onnx"
BATCH = 8  # faces in one call of the model: more take memory, and save no time where a network has one thread
MAX_PIXELS = 1_000_000  # of a picture that is taken as a face: the model shrinks it further in any case

Point = tuple[float, float]


class Region(NamedTuple):
    """A part of a face that the model looked at.

    box: where it lies on the aligned face.  weight: of all regions together 1.
    visible: which share of it shows the face itself and nothing that covers it, 0 to 1.
    """

    name: str
    box: Box
    weight: float
    visible: float | None = None


@dataclass(frozen=True)
class Face:
    """A face in a picture and what it expresses; pixels are those of the picture as it came.

    box: left, top, right, bottom in pixels; it may reach beyond the picture.
    score: how sure the detector is, 0 to 1.
    landmarks: x and y of left eye, right eye, nose tip, left and right mouth corner, as seen; None where the detector
        does not tell them.
    expression, probability: the likeliest of ``probabilities``, which are calibrated and sum to 1.
    regions: what the model looked at, the whole face first; the weights sum to 1.
    trusted, reason: whether to believe the expression, and why not.
    yaw, pitch, roll: how the head is turned in the picture, in degrees; signs as in :class:`ranfer.vocab.Pose`.
    occlusion: how probable it is that the upper or lower part or a side is covered, or that there are glasses.
    feature: the face representation P, where it was asked for.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[Point, ...] | None
    expression: Expression
    probability: float
    probabilities: dict[Expression, float]
    regions: tuple[Region, ...]
    trusted: bool
    reason: str | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    occlusion: dict[Occlusion, float] | None = None
    feature: Float[np.ndarray, " d"] | None = field(default=None, compare=False, repr=False)

    @property
    def corners(self) -> tuple[Point, Point, Point, Point]:
        """The square of the picture that became the aligned face: its corners clockwise, from the face's upper left.

        The square of a face without landmarks is not rotated, and holds its box. With the detector ``none`` the face is
        the whole picture, square or not: such a box begins at (0, 0), and its score is 1.
        """
        left, top, right, bottom = self.box
        if self.landmarks is None and (left, top, self.score) == (0, 0, 1):
            return (left, top), (right, top), (right, bottom), (left, bottom)
        points = None if self.landmarks is None else np.array(self.landmarks)
        x, y, side, roll = find_frame(Detection(self.box, self.score, points))
        across = side / 2 * np.array([math.cos(math.radians(roll)), math.sin(math.radians(roll))])
        down = np.array([-across[1], across[0]])
        offsets = (-across - down, across - down, across + down, down - across)
        first, second, third, fourth = ((float(x + offset[0]), float(y + offset[1])) for offset in offsets)
        return first, second, third, fourth


class Found(NamedTuple):
    """A detected face and its pixels in the form that the model gets."""

    detection: Detection
    pixels: UInt8[np.ndarray, "h w 3"]


class _Parts(NamedTuple):
    model: OnnxModel
    attributes: AttributeModel
    detect: Detector


class Recognizer:
    """Tells the expressions of all faces in pictures; call it from any number of threads at once.

    It can be pickled, and opens its files again on the other side. In a ``with`` block it gives its memory back at
    the end.

    >>> import numpy as np, ranfer
    >>> with ranfer.load(detector="none") as recognizer:  # the picture is a face
    ...     (face,) = recognizer(np.zeros((48, 48, 3), dtype=np.uint8))
    >>> len(face.probabilities)
    8

    Args:
        weights: a file that ``ranfer export`` wrote.
        detector: ``ranfer``, ``mtcnn``, ``none`` (a picture is a face), ``yunet:FILE``, or any function from
            an RGB picture to a list of :class:`ranfer.faces.detection.Detection`.
        classes: 8, or 7 to leave contempt out; the others' probabilities then sum to 1.
        features: give each face its representation, too.
        threads: of each network; None leaves their number to the runtime.

    Raises:
        CheckpointError: the weights are missing, damaged, or not written by ``ranfer export``.
        ConfigError: an unknown detector, or another number of classes.
    """

    def __init__(
        self,
        weights: Path,
        detector: str | Detector = "ranfer",
        classes: int = 8,
        features: bool = False,
        threads: int | None = None,
    ) -> None:
        if classes not in (7, 8):
            raise ConfigError(f"classes must be 8, or 7 without contempt; got {classes}")
        self._arguments = (weights, detector, classes, features, threads)
        self._classes = [e for e in Expression if classes == 8 or e is not Expression.CONTEMPT]
        model = _open_model(weights, threads)
        self.description = model.description
        try:
            self._size = int(self.description["model"]["size"])
            self.regions = tuple(map(str, self.description["regions"]))
            trust = self.description["trust"]
            self._threshold = None if trust is None else float(trust["threshold"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{weights}: its description lacks model.size, regions or trust ({error!r})"
            ) from None
        detect = open_detector(detector, threads) if isinstance(detector, str) else detector
        self._open: _Parts | None = _Parts(model, AttributeModel(threads=threads), detect)
        self._features = features
        if features:  # or raise
            tiny = Found(Detection((0.0, 0.0, 1.0, 1.0), 1.0), np.zeros((1, 1, 3), dtype=np.uint8))
            self.classify([[tiny]])

    def __reduce__(self) -> tuple[type[Recognizer], tuple[Any, ...]]:
        return Recognizer, self._arguments

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = None

    @property
    def _parts(self) -> _Parts:
        if self._open is None:
            raise RanferError("this recognizer was closed when its with block ended")
        return self._open

    @property
    def classes(self) -> tuple[Expression, ...]:
        """The expressions that it tells apart."""
        return tuple(self._classes)

    def settings(self) -> dict[str, Any]:
        """What its answers depend on, as plain values: SHA-256 of all weights, the detector, classes and features."""
        weights, detector, classes, features, _ = self._arguments
        if isinstance(detector, str):
            name, files = detector, weight_files(detector)
        else:
            name, files = getattr(detector, "__name__", type(detector).__name__), []
        return {
            "weights": file_hash(weights),
            "detector": name,
            "detector_weights": ", ".join(map(file_hash, files)),
            "attribute_weights": file_hash(ATTRIBUTE_WEIGHTS),
            "classes": classes,
            "features": features,
        }

    @overload
    def __call__(self, picture: Picture) -> list[Face]: ...

    @overload
    def __call__(self, picture: Sequence[Picture]) -> list[list[Face]]: ...

    def __call__(self, picture: Picture | Sequence[Picture]) -> list[Face] | list[list[Face]]:
        """The faces of a picture, the largest first; of a list of pictures, a list for each.

        A picture is a path, a PIL image, or an array of bytes: (h, w, 3) RGB, or (h, w) or (h, w, 1) grey. All faces
        of a list go through the model together.

        Raises:
            ImageError: a picture cannot be read or searched; the message names it.
        """
        if isinstance(picture, Sequence) and not isinstance(picture, str | bytes | bytearray):
            return self.classify([self._find(one, f"pictures[{i}]") for i, one in enumerate(picture)])
        return self.classify([self._find(picture, "the picture")])[0]

    def _find(self, picture: Picture, name: str) -> list[Found]:
        name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else name
        return self.find(as_rgb(picture, name), name)

    def find(self, image: UInt8[np.ndarray, "h w 3"], name: str = "the picture") -> list[Found]:
        """The faces of an RGB picture, the largest first, in the form that :meth:`classify` takes.

        Raises:
            ImageError: OpenCV refuses it, or memory is short; ``name`` is what the picture is called.
        """
        detect = self._parts.detect
        with processing(name):
            if detect is whole_picture:
                small, _ = shrink_to(image, MAX_PIXELS)
                return [Found(detection, small) for detection in detect(image)]
            found = sorted(detect(image), key=lambda detection: -find_frame(detection).side)
            return [Found(detection, align(image, find_frame(detection), self._size)) for detection in found]

    def classify(self, found: Sequence[Sequence[Found]]) -> list[list[Face]]:
        """What the faces of several pictures express; those of one size go through the model in batches.

        Raises:
            CheckpointError: the model gives no features, or numbers that are not finite.
        """
        flat = [one for picture in found for one in picture]
        faces: dict[int, Face] = {}
        for places, pixels in by_shape([one.pixels for one in flat], BATCH):
            ids = [hashlib.sha256(face).hexdigest() for face in pixels]  # random regions follow from the face alone
            said, seen = self._parts.model(pixels, ids), self._parts.attributes(pixels)
            if not np.isfinite(said.probabilities).all():
                raise CheckpointError(f"{self.description['file']}: its probabilities are not finite numbers")
            visible = None if said.boxes is None else seen.visibility(said.boxes)
            faces |= {
                place: self._face(flat[place].detection, said, seen, visible, row) for row, place in enumerate(places)
            }
        ends = list(accumulate(map(len, found)))
        return [[faces[place] for place in range(end - len(part), end)] for part, end in zip(found, ends, strict=True)]

    def _face(
        self,
        detection: Detection,
        said: Prediction,
        seen: AttributeEstimate,
        visible: Float[np.ndarray, "b r"] | None,
        row: int,
    ) -> Face:
        kept = normalised(said.probabilities[row, [expression.column for expression in self._classes]])
        expression, probability = self._classes[int(kept.argmax())], float(kept.max())
        pose = Pose(*map(float, seen.pose[row]))
        occlusion = dict(zip(ESTIMATED, map(float, seen.occlusion[row]), strict=True))
        left, top, right, bottom = detection.box
        reasons = [
            *if_unsure(expression, probability, self._threshold),
            *if_tiny(max(right - left, bottom - top)),
            *if_turned(pose),
            *if_covered(occlusion),
        ]
        regions: tuple[Region, ...] = ()
        if said.weight is not None and said.boxes is not None and visible is not None:
            columns = said.boxes[row].tolist(), said.weight[row].tolist(), visible[row].tolist()
            parts = zip(self.regions, *columns, strict=True)
            regions = tuple(Region(name, Box(*box), weight, share) for name, box, weight, share in parts)
        return Face(
            box=detection.box,
            score=detection.score,
            landmarks=None if detection.landmarks is None else tuple((x, y) for x, y in detection.landmarks.tolist()),
            expression=expression,
            probability=probability,
            probabilities=dict(zip(self._classes, kept.tolist(), strict=True)),
            regions=regions,
            trusted=not reasons,
            reason="; ".join(reasons) or None,
            yaw=pose.yaw,
            pitch=pose.pitch,
            roll=(pose.roll + find_frame(detection).roll + 180) % 360 - 180,  # alignment rotated the face back
            occlusion=occlusion,
            feature=self._feature(said, row) if self._features else None,
        )

    def _feature(self, said: Prediction, row: int) -> Float[np.ndarray, " d"]:
        feature = said.representation
        if feature is None:
            raise CheckpointError(f"{self.description['file']}: these weights give no features; export them anew")
        return np.array(feature[row])


def load(
    weights: Path | str | None = None,
    detector: str | Detector = "ranfer",
    *,
    classes: int = 8,
    features: bool = False,
    threads: int | None = None,
) -> Recognizer:
    """A recognizer with the weights of the package, or with a file of yours; see :class:`Recognizer`.

    >>> import ranfer
    >>> recognizer = ranfer.load()
    >>> for face in recognizer("photo.jpg"):
    ...     print(face.expression, len(face.probabilities))
    happiness 8
    """
    return Recognizer(DEFAULT_WEIGHTS if weights is None else Path(weights), detector, classes, features, threads)


def _open_model(path: Path, threads: int | None) -> OnnxModel:
    if path == DEFAULT_WEIGHTS and not path.is_file():
        raise CheckpointError(f"{path}: this copy of ranfer came without weights; name a file of your own")
    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path}: a checkpoint; make an ONNX file of it first: ranfer export --weights {path}")
    session = open_session(path, threads)
    if metadata(session) is None:
        raise CheckpointError(f"{path}: expected a file that ranfer export wrote; its metadata has no {METADATA_KEY!r}")
    return OnnxModel(path, session, threads)
