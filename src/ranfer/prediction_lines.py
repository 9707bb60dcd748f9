"""The form of ``predictions.jsonl``: a line a face, written from a :class:`ranfer.Face` and read back, checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ranfer.errors import DataError
from ranfer.recognize import Face, Region
from ranfer.vocab import Attributes, Box, Expression, Occlusion


def to_lines(
    source: str, faces: Sequence[Face], frame: int = 0, time: float | None = None, tracks: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """A line a face, in the form of ``predictions.jsonl``; a picture without any has one line, whose box is null.

    Args:
        frame, time: of a video: its number and its seconds from the start.
        tracks: the number of each face in the video.
    """
    where = {"source": source, "frame": frame, "time": None if time is None else round(time, 4), "track": None}
    numbers = [{"track": track} for track in tracks] if tracks is not None else [{} for _ in faces]
    lines = [where | number | _values(face) for face, number in zip(faces, numbers, strict=True)]
    return lines or [where | dict.fromkeys(_KEYS)]


_KEYS = (
    *("box", "score", "landmarks", "expression", "probability", "probabilities", "regions"),
    *("yaw", "pitch", "roll", "occlusion", "trusted", "reason"),
)


def _values(face: Face) -> dict[str, Any]:
    values: dict[str, Any] = {key: getattr(face, key) for key in _KEYS}
    values |= {
        "box": [round(side, 2) for side in face.box],
        "score": round(face.score, 4),
        "probability": round(face.probability, 6),
        "probabilities": {name.value: round(value, 6) for name, value in face.probabilities.items()},
        "regions": [
            {"name": region.name, "box": [round(side, 4) for side in region.box], "weight": round(region.weight, 6)}
            | ({} if region.visible is None else {"visible": round(region.visible, 4)})
            for region in face.regions
        ],
    }
    for name in ("yaw", "pitch", "roll"):
        values[name] = None if values[name] is None else round(values[name], 2)
    if face.occlusion is not None:
        values["occlusion"] = {kind.value: round(p, 4) for kind, p in face.occlusion.items()}
        values["occlusion"]["none"] = round(Attributes(face.occlusion).none, 4)
    if face.landmarks is not None:
        values["landmarks"] = [[round(x, 2), round(y, 2)] for x, y in face.landmarks]
    if face.feature is not None:
        values["feature"] = [float(f"{value:.7g}") for value in face.feature.tolist()]
    return values


def to_face(line: Mapping[str, Any]) -> Face:
    """The face that a line tells of; the line must have a box."""
    occlusion, feature = line["occlusion"], line.get("feature")
    return Face(
        box=tuple(line["box"]),
        score=line["score"],
        landmarks=None if line["landmarks"] is None else tuple((x, y) for x, y in line["landmarks"]),
        expression=Expression(line["expression"]),
        probability=line["probability"],
        probabilities={Expression(name): value for name, value in line["probabilities"].items()},
        regions=tuple(
            Region(region["name"], Box(*region["box"]), region["weight"], region.get("visible"))
            for region in line["regions"]
        ),
        trusted=line["trusted"],
        reason=line["reason"],
        yaw=line["yaw"],
        pitch=line["pitch"],
        roll=line["roll"],
        occlusion=None if occlusion is None else {Occlusion(k): p for k, p in occlusion.items() if k != "none"},
        feature=None if feature is None else np.array(feature, dtype=np.float32),
    )


def read_predictions(path: str | Path) -> Iterator[dict[str, Any]]:
    """The lines of a ``predictions.jsonl``.

    Raises:
        DataError: a line that is not of this form; the message names it.
    """
    with Path(path).open("rb") as file:
        for number, text in enumerate(file, start=1):
            yield parse_line(text, f"{path}:{number}")


def read_pictures(path: str | Path) -> Iterator[list[dict[str, Any]]]:
    """The lines of a ``predictions.jsonl``, those of a picture or of a frame of a video together."""
    for _, group in groupby(read_predictions(path), key=lambda line: (line["source"], line.get("frame"))):
        yield list(group)


# Checked as they are read, so that an edited line is told where it stands and not where its value is used.
_Number, _Whole, _Flag = (Annotated[kind, Field(strict=True)] for kind in (float, int, bool))
_Sides = tuple[_Number, _Number, _Number, _Number]


class _Place(BaseModel):
    """What every line holds, except those of errors; its source may have a name that is no text for pydantic."""

    frame: _Whole
    time: _Number | None
    track: _Whole | None


class _Region(BaseModel):
    name: str
    box: _Sides
    weight: _Number
    visible: _Number | None = None


class _Face(_Place):
    box: _Sides
    score: _Number
    landmarks: Annotated[list[tuple[_Number, _Number]], Field(min_length=5, max_length=5)] | None
    expression: Expression
    probability: _Number
    probabilities: dict[Expression, _Number]
    regions: list[_Region]
    yaw: _Number | None
    pitch: _Number | None
    roll: _Number | None
    occlusion: dict[Occlusion | Literal["none"], _Number] | None
    trusted: _Flag
    reason: str | None
    feature: list[_Number] | None = None


def parse_line(text: bytes, where: str) -> dict[str, Any]:
    """A line of a ``predictions.jsonl``, checked; ``where`` is its file and number.

    Raises:
        DataError: it is not of this form.
    """
    try:
        line = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: expected a JSON object a line ({error})") from None
    if not isinstance(line, dict) or not isinstance(line.get("source"), str) or not line.keys() & {"box", "error"}:
        raise DataError(f"{where}: expected a line with source and box, or source and error")
    if "error" in line:
        return line
    try:
        (_Place if line["box"] is None else _Face).model_validate(line)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{where}: {place}: {first['msg']}; correct it, or remove the line to have its picture classified again"
        ) from None
    return line
