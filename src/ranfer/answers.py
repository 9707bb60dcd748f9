"""What is said of faces, and who says it: a model, asked in batches, or a file of predictions."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from ranfer.data.dataset import Dataset, first_few, read_face, require_framed, require_read
from ranfer.errors import DataError, ImageError, RanferError
from ranfer.images import by_shape
from ranfer.shared import named_by
from ranfer.vocab import (
    SYNONYMS,
    Expression,
    Prediction,
    Progress,
    Sample,
    face_id,
    normalised,
    parse_expression,
    silent,
)

BATCH = 128
OTHER_COLUMNS = ("split", "label", "predicted", "expression")  # beside the id and the eight classes


@runtime_checkable
class Predictor(Protocol):
    """Anything that says what it sees on a batch of faces; ``description`` is what the report tells of it."""

    description: dict[str, Any]

    def __call__(self, faces: UInt8[np.ndarray, "b h w 3"], ids: Sequence[str]) -> Prediction:
        """What is seen on a batch of faces."""
        ...


@dataclass(frozen=True)
class Answers:
    """What was said of n faces: the expression's column, and as much else as the source tells.

    unreadable: by id, why other faces have no answer.
    """

    ids: tuple[str, ...]
    predicted: Int[np.ndarray, " n"]
    prediction: Prediction | None  # None where only the expression is known
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def attends(self) -> bool:
        """Whether the source tells how it weighs several regions of a face."""
        told = self.prediction
        return told is not None and told.boxes is not None and told.weight is not None and told.weight.shape[1] > 1

    def of(self, samples: Sequence[Sample]) -> Answers:
        """The answers about some of the faces, in the order of the samples."""
        place = {face: row for row, face in enumerate(self.ids)}
        rows = np.array([place[sample.id] for sample in samples], dtype=np.int64)
        told = None if self.prediction is None else _take(self.prediction, rows)
        return Answers(tuple(sample.id for sample in samples), self.predicted[rows], told)

    def among(self, expressions: Sequence[Expression]) -> Answers:
        """The answers, had there been these expressions alone; where probabilities are unknown, as they are.

        A face whose whole probability is elsewhere has equal probabilities, and the first of them is predicted.
        """
        if self.prediction is None or len(expressions) == len(Expression):
            return self
        columns = [expression.column for expression in expressions]
        probabilities = np.zeros((len(self.ids), len(Expression)))
        probabilities[:, columns] = normalised(self.prediction.probabilities[:, columns])
        told = replace(self.prediction, probabilities=probabilities)
        return replace(self, predicted=probabilities.argmax(axis=1), prediction=told)


class Source(ABC):
    """Who says what expressions faces have: a :class:`Model`, or a :class:`PredictionsFile`."""

    description: dict[str, Any]  # what a report tells of it
    names: Mapping[Expression, str]  # the expressions that it can answer, and what it calls them

    @abstractmethod
    def answers(self, dataset: Dataset, samples: Sequence[Sample], progress: Progress = silent) -> Answers:
        """What is said of the samples, without those that cannot be read.

        Raises:
            DataError: no face can be read, or some have no row in a file of predictions.
            RanferError: a model gives something else than probabilities.
        """

    @abstractmethod
    def look(self, faces: UInt8[np.ndarray, "n h w 3"], ids: Sequence[str], names: Sequence[str]) -> Answers:
        """What is said of changed pixels of faces; ``names`` are the ids of these pictures in a file of predictions.

        Raises:
            DataError: some have no row in a file of predictions.
            RanferError: a model gives something else than probabilities.
        """

    @abstractmethod
    def require(self, ids: Sequence[str]) -> None:
        """Refuse faces of which nothing is known; a model can be asked about any.

        Raises:
            DataError: some have no row in a file of predictions.
        """


def as_source(given: Predictor | Source) -> Source:
    """What was given, a predictor as a :class:`Model`."""
    return given if isinstance(given, Source) else Model(given)


class Model(Source):
    """A predictor that is asked in batches."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.description = predictor.description
        self.names = named_by(predictor.description)

    def answers(self, dataset: Dataset, samples: Sequence[Sample], progress: Progress = silent) -> Answers:
        """What the model says of the samples that can be read, which may be of several sizes."""
        require_framed(dataset)
        parts: list[Prediction] = []
        unreadable: dict[str, str] = {}
        ids: list[str] = []
        order: list[int] = []  # where the faces stand that were seen one after the other, those of one size together
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            faces: dict[str, UInt8[np.ndarray, "_ _ 3"]] = {}
            for sample in batch:
                try:
                    faces[sample.id] = read_face(dataset, sample)
                except ImageError as error:
                    unreadable[sample.id] = str(error)
            read = list(faces)
            for alike, pixels in by_shape(list(faces.values()), BATCH):
                parts.append(self._ask(pixels, [read[place] for place in alike]))
                order += [len(ids) + place for place in alike]
            ids += read
            progress(start + len(batch), len(samples))
        if not ids:
            require_read(list(unreadable.values()), samples)
        return _told(ids, _take(_join(parts), np.argsort(order)), unreadable)

    def look(self, faces: UInt8[np.ndarray, "n h w 3"], ids: Sequence[str], names: Sequence[str]) -> Answers:
        """What the model says of the pixels."""
        starts = range(0, len(ids), BATCH)
        return _told(ids, _join([self._ask(faces[i : i + BATCH], ids[i : i + BATCH]) for i in starts]))

    def require(self, ids: Sequence[str]) -> None:
        """A model can be asked about any face."""

    def _ask(self, faces: UInt8[np.ndarray, "b h w 3"], ids: Sequence[str]) -> Prediction:
        found = self._predictor(faces, ids)
        if not np.isfinite(found.probabilities).all():
            raise RanferError(f"{self.description.get('file', 'the model')}: NaN for faces such as {ids[0]}")
        return found


class PredictionsFile(Source):
    """A CSV of answers: ``id`` with a column of probabilities a class, or with ``expression`` (or ``predicted``) alone.

    The file that an evaluation writes is of this form. Ids may be spelled as file names; probabilities may be off by
    rounding (0.01 in the sum) and are normalised; a class without a column has probability 0.

    Raises:
        DataError: unreadable, no or unknown columns, an id twice, or a row that holds no probabilities; with its line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = {expression: expression.value for expression in Expression}
        self._lines: dict[str, int] = {}  # by id, in the order of the rows
        rows: list[list[float]] = []
        predicted: list[int] = []
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file)
                header = next(reader, [])
                columns = _columns(header, path)
                classes = {name: place for name, place in columns.items() if isinstance(name, Expression)}
                if classes:
                    self.names = {name: header[place].strip() for name, place in classes.items()}
                said = columns.get("expression", columns.get("predicted"))
                for row in reader:
                    where = f"{path}:{reader.line_num}"
                    if not row:
                        continue
                    if len(row) != len(columns):
                        raise DataError(f"{where}: expected {len(columns)} columns, as in the header, got {len(row)}")
                    face = face_id(row[columns["id"]])
                    if face in self._lines:
                        raise DataError(f"{where}: {face} stands in line {self._lines[face]} already")
                    self._lines[face] = reader.line_num
                    if classes:
                        rows.append(_probabilities([row[place] for place in classes.values()], where))
                    else:
                        assert said is not None  # _columns sees to it
                        predicted.append(parse_expression(row[said], where).column)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: not a readable CSV file ({error})") from error
        self._probabilities: Float[np.ndarray, "n 8"] | None = None
        if classes:
            self._probabilities = np.zeros((len(rows), len(Expression)))
            self._probabilities[:, [name.column for name in classes]] = np.array(rows).reshape(len(rows), len(classes))
            self._predicted = self._probabilities.argmax(axis=1)
        else:
            self._predicted = np.array(predicted, dtype=np.int64)
        self.description = {
            "kind": "predictions" if classes else "predictions without probabilities",
            "file": str(path),
            "rows": len(self._lines),
        }

    def answers(self, dataset: Dataset, samples: Sequence[Sample], progress: Progress = silent) -> Answers:
        """The rows of the samples; other rows are counted in the description."""
        self.description["other rows"] = len(self._lines) - len(samples)
        found = self.look_up([sample.id for sample in samples])
        progress(len(samples), len(samples))
        return found

    def look(self, faces: UInt8[np.ndarray, "n h w 3"], ids: Sequence[str], names: Sequence[str]) -> Answers:
        """The rows of these names."""
        return self.look_up(names)

    def require(self, ids: Sequence[str]) -> None:
        """Refuse ids without a row."""
        if missing := [id_ for id_ in ids if id_ not in self._lines]:
            raise DataError(f"{self.path}: no row for {len(missing)} of {len(ids)} faces: {first_few(missing)}")

    def look_up(self, ids: Sequence[str]) -> Answers:
        """The rows of these ids.

        Raises:
            DataError: some have no row.
        """
        self.require(ids)
        place = {face: row for row, face in enumerate(self._lines)}
        rows = np.array([place[id_] for id_ in ids], dtype=np.int64)
        found = None if self._probabilities is None else Prediction(self._probabilities[rows])
        return Answers(tuple(ids), self._predicted[rows], found)


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """Where each column stands; those of classes under their expression."""
    columns: dict[str, int] = {}
    for place, name in enumerate(header):
        word = name.strip().lower()
        key = word if word in ("id", *OTHER_COLUMNS) else SYNONYMS.get(word)
        if key is None or key in columns:
            what = "twice" if key else f"unknown; known are id, {', '.join(OTHER_COLUMNS)} and {', '.join(Expression)}"
            raise DataError(f"{path}:1: column {name!r} is {what}")
        columns[key] = place
    if "id" not in columns or columns.keys() <= {"id", "split", "label"}:
        raise DataError(f"{path}:1: expected the columns id and the classes, or id and expression, got {header}")
    return columns


def _probabilities(texts: list[str], where: str) -> list[float]:
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise DataError(f"{where}: expected {len(texts)} numbers, got {', '.join(texts)}") from None
    total = sum(values)
    if min(values) >= 0 and abs(total - 1) <= 0.01:
        return [value / total for value in values]
    guess = ""
    if not np.isfinite(values).all():
        guess = ": not finite"
    elif min(values) >= 0 and abs(total - 100) <= 1:
        guess = ": these look like percentages"
    elif min(values) < 0 or total > 1:
        guess = ": these look like logits; apply softmax first"
    raise DataError(f"{where}: expected probabilities that sum to 1, got {', '.join(texts)} (sum {total:.4g}){guess}")


def _told(ids: Sequence[str], prediction: Prediction, unreadable: Mapping[str, str] | None = None) -> Answers:
    return Answers(tuple(ids), prediction.probabilities.argmax(axis=1), prediction, unreadable or {})


def _take(prediction: Prediction, rows: Int[np.ndarray, " m"]) -> Prediction:
    columns = {field.name: getattr(prediction, field.name) for field in fields(Prediction)}
    taken: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
    return Prediction(**taken)


def _join(parts: Sequence[Prediction]) -> Prediction:
    if not parts:
        return Prediction(np.empty((0, len(Expression))))
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Prediction)}
    joined: dict[str, Any] = {k: None if v[0] is None else np.concatenate(v) for k, v in columns.items()}
    return Prediction(**joined)
