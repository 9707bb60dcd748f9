"""The words of the project: small values that every other file speaks in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ranfer.errors import DataError


class Expression(StrEnum):
    """The eight expressions, in the order of every array of ours (that of FERPlus).

    Label orders differ between datasets, so an integer never leaves its adapter.
    """

    NEUTRAL = "neutral"
    HAPPINESS = "happiness"
    SURPRISE = "surprise"
    SADNESS = "sadness"
    ANGER = "anger"
    DISGUST = "disgust"
    FEAR = "fear"
    CONTEMPT = "contempt"

    @property
    def column(self) -> int:
        """Position in the order of this enumeration, 0 to 7."""
        return list(Expression).index(self)


NAMES = [expression.value for expression in Expression]
LabelRule = Literal["majority", "probability", "distribution"]  # see :func:`ranfer.data.labels.label`

Progress = Callable[[int, int], None]  # called with how much is done, and how much there is


def silent(done: int, total: int) -> None:
    """A progress that nobody is shown."""


# Names that datasets and other people's models use for the same expression.
SYNONYMS: dict[str, Expression] = {
    **{member.value: member for member in Expression},
    "calm": Expression.NEUTRAL,
    "happy": Expression.HAPPINESS,
    "joy": Expression.HAPPINESS,
    "surprised": Expression.SURPRISE,
    "sad": Expression.SADNESS,
    "angry": Expression.ANGER,
    "disgusted": Expression.DISGUST,
    "fearful": Expression.FEAR,
    "scared": Expression.FEAR,
    "contemptuous": Expression.CONTEMPT,
}


def parse_expression(name: str, where: str) -> Expression:
    """The expression that ``name`` stands for, whatever its case; ``where`` opens the error message.

    Raises:
        DataError: no expression goes by that name; the message lists the names that do.

    >>> parse_expression("Happy", "labels.csv:3")
    <Expression.HAPPINESS: 'happiness'>
    """
    found = SYNONYMS.get(name.strip().lower())
    if found is None:
        raise DataError(f"{where}: no expression is called {name!r}; known names: {', '.join(sorted(SYNONYMS))}")
    return found


class Occlusion(StrEnum):
    """Which part of a face is covered; a face has a set of these, and the empty set is an uncovered face.

    UNSPECIFIED: something else covers it, or a list says that it is covered, but not by what.
    """

    UPPER = "upper"
    LOWER = "lower"
    SIDE = "side"
    EYEWEAR = "eyewear"
    UNSPECIFIED = "unspecified"


# The kinds that an estimate gives a probability each; they are independent, and a face may be covered in several ways.
ESTIMATED = (Occlusion.UPPER, Occlusion.LOWER, Occlusion.SIDE, Occlusion.EYEWEAR)


class Pose(NamedTuple):
    """How a head is turned, in degrees, as the viewer sees it; zero is the frontal face of the training data.

    yaw: positive where the nose points to the right edge of the picture.
    pitch: positive where the face looks up.
    roll: positive where the head leans clockwise.
    """

    yaw: float
    pitch: float
    roll: float

    @property
    def turn(self) -> float:
        """By how many degrees the head is turned away: the larger of yaw and pitch, for roll is undone by alignment."""
        return max(abs(self.yaw), abs(self.pitch))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What hides a face from recognition, as estimated or as people said it.

    occlusion: how probable each kind is, 0 to 1; of people's labels, the share of them. A kind that is missing is
        unknown; estimates give all of :data:`ESTIMATED`.
    pose: None where nobody said it.
    turned: of people's labels, the degrees (0, 30 or 45) that yaw or pitch exceed; None where nobody said it.
    uncovered: of people's labels, the share of them who said that nothing covers the face; None for an estimate.
    codes: a dataset's own codes, as they are, by the name of their source.
    annotators: who said it; empty for an estimate.  decided: when, as ISO 8601.
    """

    occlusion: Mapping[Occlusion, float]
    pose: Pose | None = None
    turned: int | None = None
    uncovered: float | None = None
    codes: Mapping[str, int | str] = field(default_factory=dict)
    annotators: tuple[str, ...] = ()
    decided: str | None = None

    @property
    def none(self) -> float:
        """How probable it is that nothing covers the face, 0 to 1; NaN where too few kinds are told to say it.

        For an estimate the product over the kinds, which are independent there; people's kinds are not.
        """
        if self.uncovered is not None:
            return self.uncovered
        free = math.prod(1 - probability for probability in self.occlusion.values())
        return free if free == 0 or all(kind in self.occlusion for kind in ESTIMATED) else math.nan


class Box(NamedTuple):
    """A rectangle in fractions of its image, x to the right and y down."""

    left: float
    top: float
    right: float
    bottom: float


class Location(NamedTuple):
    """Where a picture lies: a file, or a member of one (a name in a zip, a row of a table)."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        """``faces.zip:Train/1.png``, the form in which messages name a picture."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled face of a dataset.

    ``votes`` counts, for the eight expressions in the order of :class:`Expression` and then for "unknown" and "no
    face", how many people chose each; a dataset with one label a face has a single vote, an unlabelled face has none.
    ``box`` (left, top, right, bottom) and ``landmarks`` (x and y of left eye, right eye, nose tip, left and right mouth
    corner, as seen) say in pixels where the face is in the picture; without both, the picture is the face. ``codes``
    are the dataset's own, by their names.
    """

    id: str
    split: str
    location: Location
    votes: tuple[int, ...]
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    codes: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """What a model says of a batch of b faces; region fields are None where the model does not tell.

    probabilities: (b, 8) in the order of :class:`Expression`, rows summing to 1.
    boxes: (b, r, 4) regions as fractions of the face.
    mu, nu: (b, r) self- and relation-attention weights.
    weight: (b, r) mu nu normalised to sum 1 over the regions of a face; 0 for an absent region.
    representation: (b, p) the face features P that the classifier sees.
    """

    probabilities: Float[np.ndarray, "b 8"]
    boxes: Float[np.ndarray, "b r 4"] | None = None
    mu: Float[np.ndarray, "b r"] | None = None
    nu: Float[np.ndarray, "b r"] | None = None
    weight: Float[np.ndarray, "b r"] | None = None
    representation: Float[np.ndarray, "b p"] | None = None


# How the names of pictures end, in small letters.
PICTURES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)


def normalised(kept: Float[np.ndarray, "*b k"]) -> Float[np.ndarray, "*b k"]:
    """Probabilities that sum to 1 along the last axis, of some that do not; where none is left, all are alike."""
    kept = np.maximum(kept, np.finfo(np.float32).tiny).astype(np.float64)
    return np.asarray(kept / kept.sum(axis=-1, keepdims=True))


def face_id(name: str) -> str:
    """The id of a face from any spelling of its file: ``FER2013Test/fer0032226.jpg`` is ``fer0032226``.

    >>> face_id("FER2013Test/fer0032226.jpg")
    'fer0032226'
    """
    name = name.encode("utf-8", "xmlcharrefreplace").decode()  # the name of a file need not be valid in any encoding
    name = name.strip().replace("\\", "/").rsplit("/", 1)[-1]
    stem, dot, ending = name.rpartition(".")
    return stem if dot + ending.lower() in PICTURES else name
