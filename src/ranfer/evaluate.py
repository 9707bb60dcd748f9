"""How well a model, or a file of predictions, does on a split and on subsets; paired with another one if wanted."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import compress
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from ranfer import metrics
from ranfer.data.dataset import Dataset, first_few, stack_faces
from ranfer.data.labels import label, require_labels
from ranfer.data.subsets import FaceList, resolve
from ranfer.errors import ConfigError, DataError, RanferError
from ranfer.shared import Shared, named_by
from ranfer.vocab import SYNONYMS, Expression, Prediction, Sample, face_id, parse_expression

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
    """What was said of n faces: the expression's column, and as much else as the source tells."""

    ids: tuple[str, ...]
    predicted: Int[np.ndarray, " n"]
    prediction: Prediction | None  # None where only the expression is known

    @property
    def attends(self) -> bool:
        """Whether the source tells how it weighs several regions of a face."""
        told = self.prediction
        return told is not None and told.boxes is not None and told.weight is not None and told.weight.shape[1] > 1

    def of(self, samples: Sequence[Sample]) -> Answers:
        """The answers about some of the faces, in the order of the samples."""
        place = {face: row for row, face in enumerate(self.ids)}
        rows = np.array([place[sample.id] for sample in samples], dtype=np.int64)
        return Answers(tuple(sample.id for sample in samples), self.predicted[rows], _take(self.prediction, rows))

    def among(self, expressions: Sequence[Expression]) -> Answers:
        """The answers, had there been these expressions alone; where probabilities are unknown, as they are.

        A face whose whole probability is elsewhere becomes undecided.
        """
        if self.prediction is None or len(expressions) == len(Expression):
            return self
        columns = [expression.column for expression in expressions]
        kept = np.maximum(self.prediction.probabilities[:, columns], np.finfo(np.float32).tiny)
        probabilities = np.zeros((len(self.ids), len(Expression)))
        probabilities[:, columns] = kept / kept.sum(axis=1, keepdims=True)
        return Answers(self.ids, probabilities.argmax(axis=1), replace(self.prediction, probabilities=probabilities))


class PredictionsFile:
    """A CSV of answers: ``id`` with a column of probabilities a class, or with ``expression`` (or ``predicted``) alone.

    The file that an evaluation writes is of this form. Ids may be spelled as file names; probabilities may be off by
    rounding (0.01 in the sum) and are normalised; a class without a column has probability 0.

    Raises:
        DataError: unreadable, no or unknown columns, an id twice, or a row that holds no probabilities; with its line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict[Expression, str] = {expression: expression.value for expression in Expression}
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
            self._probabilities[:, [name.column for name in classes]] = np.array(rows).reshape(len(rows), -1)
            self._predicted = self._probabilities.argmax(axis=1)
        else:
            self._predicted = np.array(predicted, dtype=np.int64)
        self.description: dict[str, Any] = {
            "kind": "predictions" if classes else "predictions without probabilities",
            "file": str(path),
            "rows": len(self._lines),
        }

    def answers(self, samples: Sequence[Sample]) -> Answers:
        """The rows of the samples; other rows are counted in the description.

        Raises:
            DataError: some samples have no row.
        """
        self.description["other rows"] = len(self._lines) - len(samples)
        return self.look_up([sample.id for sample in samples])

    def look_up(self, ids: Sequence[str]) -> Answers:
        """The rows of these ids.

        Raises:
            DataError: some have no row.
        """
        place = {face: row for row, face in enumerate(self._lines)}
        missing = [id_ for id_ in ids if id_ not in place]
        if missing:
            raise DataError(f"{self.path}: no row for {len(missing)} of {len(ids)} faces: {first_few(missing)}")
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


def answer(
    source: Predictor | PredictionsFile,
    dataset: Dataset,
    samples: Sequence[Sample],
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """What a source says of the samples; ``progress`` is called with the number of faces done.

    Raises:
        DataError: a face cannot be read, or has no row in a file of predictions.
        RanferError: a model gives something else than probabilities.
    """
    if isinstance(source, PredictionsFile):
        return source.answers(samples)
    parts: list[Prediction] = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        found = source(stack_faces(dataset, batch, channels=3), [sample.id for sample in batch])
        if not np.isfinite(found.probabilities).all():
            raise RanferError(f"{source.description.get('file', 'the model')}: NaN for faces such as {batch[0].id}")
        parts.append(found)
        if progress is not None:
            progress(start + len(batch))
    joined = _join(parts)
    return Answers(tuple(sample.id for sample in samples), joined.probabilities.argmax(axis=1), joined)


def _take(prediction: Prediction | None, rows: Int[np.ndarray, " m"]) -> Prediction | None:
    if prediction is None:
        return None
    columns = {field.name: getattr(prediction, field.name) for field in fields(Prediction)}
    taken: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
    return Prediction(**taken)


def _join(parts: Sequence[Prediction]) -> Prediction:
    if not parts:
        return Prediction(np.empty((0, len(Expression))))
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Prediction)}
    joined: dict[str, Any] = {k: None if v[0] is None else np.concatenate(v) for k, v in columns.items()}
    return Prediction(**joined)


@dataclass(frozen=True)
class Group:
    """A split or subset, judged."""

    samples: list[Sample]
    truth: Int[np.ndarray, " n"]
    excluded: dict[str, int]  # faces that the label rule leaves out, by reason
    outside: int  # faces that do not lie in the evaluated split
    scores: metrics.Scores
    comparison: metrics.Comparison | None


@dataclass(frozen=True)
class Evaluation:
    """All that a report is written from."""

    dataset: Dataset
    split: str
    rule: str
    subset_labels: Literal["rule", "list"]
    bins: int
    replicates: int
    seed: int
    answers: Answers
    whole: Group
    subsets: dict[str, Group]
    lists: dict[str, FaceList]
    shared: Shared
    source: dict[str, Any]  # descriptions of what was evaluated, and against what
    against: dict[str, Any] | None


def evaluate(
    dataset: Dataset,
    split: str,
    source: Predictor | PredictionsFile,
    rule: str = "majority",
    *,
    subsets: Mapping[str, FaceList] | None = None,
    subset_labels: Literal["rule", "list"] = "rule",
    against: Predictor | PredictionsFile | None = None,
    only_shared: bool = False,
    bins: int = 15,
    replicates: int = 2000,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Judge a source by the labels of a split and of subsets, which may lie anywhere in the data.

    Args:
        rule: makes one label of the votes; ``majority`` or ``probability``.
        subset_labels: judge subsets by the rule, or by the labels that their own lists give.
        only_shared: leave out faces whose expression not every source can answer, and take from the answers those
            that no face of the split has.
        bins: of equal width, for calibration. replicates, seed: of the bootstrap.
        progress: called with "model" or "other", faces done, and faces in all.

    Raises:
        ConfigError: a rule that gives no single label, list labels from a list without labels, or ``only_shared``
            where less than two expressions are.
        DataError: no such split, faces of a list that the data lacks, unreadable faces, missing predictions.
    """
    lists = dict(subsets or {})
    ids = [sample.id for sample in dataset.samples]
    listed = {name: [dataset.samples[place] for place in resolve(faces, ids)] for name, faces in lists.items()}
    whole = labelled(dataset, split, rule)
    shared = Shared(
        {e: int((whole.truth == e.column).sum()) for e in Expression},
        tuple(_names(one) for one in (source, against) if one is not None),
        only_shared,
    )
    whole = _judged(whole, shared)
    parts = {
        name: _judged(_by_list(samples, lists[name]) if subset_labels == "list" else _by_rule(samples, rule), shared)
        for name, samples in listed.items()
    }
    needed = list({sample.id: sample for part in (whole, *parts.values()) for sample in part.samples}.values())

    def report(who: str) -> Callable[[int], None] | None:
        return None if progress is None else lambda done: progress(who, done, len(needed))

    answers = answer(source, dataset, needed, report("model")).among(shared.judged)
    other = None if against is None else answer(against, dataset, needed, report("other")).among(shared.judged)

    def judge(part: Labelled) -> Group:
        first = answers.of(part.samples)
        probabilities = None if first.prediction is None else first.prediction.probabilities
        return Group(
            part.samples,
            part.truth,
            part.excluded,
            outside=sum(sample.split != split for sample in part.samples),
            scores=metrics.score(
                part.truth, first.predicted, probabilities, bins=bins, replicates=replicates, seed=seed
            ),
            comparison=None
            if other is None
            else metrics.compare(
                part.truth, first.predicted, other.of(part.samples).predicted, replicates=replicates, seed=seed
            ),
        )

    return Evaluation(
        dataset=dataset,
        split=split,
        rule=rule,
        subset_labels=subset_labels,
        bins=bins,
        replicates=replicates,
        seed=seed,
        answers=answers,
        whole=judge(whole),
        subsets={name: judge(part) for name, part in parts.items()},
        lists=lists,
        shared=shared,
        source=source.description,
        against=None if against is None else against.description,
    )


class Labelled(NamedTuple):
    """Samples with one label each, and how many are left out for want of one, by reason."""

    samples: list[Sample]
    truth: Int[np.ndarray, " n"]
    excluded: dict[str, int]


def labelled(dataset: Dataset, split: str, rule: str) -> Labelled:
    """The samples of a split that the rule has a label for.

    Raises:
        ConfigError: a rule that gives no single label.
        DataError: no such split, or one without any label.
    """
    if rule == "distribution":
        raise ConfigError("label rule 'distribution' gives targets for training, not labels; evaluate with 'majority'")
    require_labels(dataset.split(split), f"{dataset.path}, split {split}")
    return _by_rule(dataset.split(split), rule)


def _names(source: Predictor | PredictionsFile) -> dict[Expression, str]:
    return source.names if isinstance(source, PredictionsFile) else named_by(source.description)


def _judged(part: Labelled, shared: Shared) -> Labelled:
    """Without the samples whose expression is not judged."""
    columns = [expression.column for expression in shared.judged]
    kept = np.isin(part.truth, columns)
    names, counts = np.unique(part.truth[~kept], return_counts=True)
    left_out = {f"{list(Expression)[column]} is not shared": int(n) for column, n in zip(names, counts, strict=True)}
    return Labelled(list(compress(part.samples, kept)), part.truth[kept], part.excluded | left_out)


def _by_rule(samples: Sequence[Sample], rule: str) -> Labelled:
    labels = label(samples, rule)
    kept = [sample for sample, keep in zip(samples, labels.kept, strict=True) if keep]
    return Labelled(kept, labels.expressions[labels.kept], labels.excluded)


def _by_list(samples: list[Sample], faces: FaceList) -> Labelled:
    columns = [entry.expression.column for entry in faces.entries if entry.expression is not None]
    if len(columns) < len(samples):
        unlabelled = [f"{entry.id} (line {entry.line})" for entry in faces.entries if entry.expression is None]
        raise ConfigError(
            f"{faces.path}: the list gives no label for {first_few(unlabelled)}; use --subset-labels rule"
        )
    return Labelled(samples, np.array(columns, dtype=np.int64), {})


def write_predictions(evaluation: Evaluation, path: Path) -> None:
    """The answers as a CSV that :class:`PredictionsFile` reads; ``label`` is the rule's, empty where it has none."""
    answers = evaluation.answers
    samples = {sample.id: sample for sample in evaluation.dataset.samples}
    ordered = [samples[face] for face in answers.ids]
    names = [expression.value for expression in Expression]
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "split", "label", "predicted", *(names if answers.prediction is not None else [])])
        truth = label(ordered, evaluation.rule).expressions
        for row, sample in enumerate(ordered):
            told = [] if answers.prediction is None else [f"{p:.7g}" for p in answers.prediction.probabilities[row]]
            known = names[truth[row]] if truth[row] >= 0 else ""
            writer.writerow([sample.id, sample.split, known, names[answers.predicted[row]], *told])
    partial.replace(path)
