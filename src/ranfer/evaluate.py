"""How well a model, or a file of predictions, does on a split and on subsets; paired with another one if wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from ranfer import metrics
from ranfer.answers import Answers, Predictor, Source, as_source
from ranfer.data.dataset import Dataset, first_few
from ranfer.data.face_lists import FaceList, resolve
from ranfer.data.labels import label, require_labels
from ranfer.data.textfiles import to_csv
from ranfer.errors import ConfigError
from ranfer.files import write_text
from ranfer.intervals import REPLICATES
from ranfer.shared import Shared
from ranfer.vocab import NAMES, Expression, Progress, Sample, silent

UNREADABLE = "cannot be read"


@dataclass(frozen=True)
class Group:
    """A split or subset, evaluated."""

    samples: list[Sample]
    truth: Int[np.ndarray, " n"]
    excluded: dict[str, int]  # faces that are left out, by reason
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
    replicates: int  # of bootstraps
    answers: Answers
    whole: Group
    subsets: dict[str, Group]
    lists: dict[str, FaceList]
    shared: Shared
    unreadable: Mapping[str, str]  # why, by id
    source: dict[str, Any]  # descriptions of what was evaluated, and against what
    against: dict[str, Any] | None

    @property
    def surprises(self) -> list[str]:
        """What was odd in the data and in the lists, a line each."""
        return [*self.dataset.surprises, *(line for faces in self.lists.values() for line in faces.surprises)]

    @property
    def titles(self) -> list[str]:
        """What the models are called in headings: their files' names, with the folders that tell them apart."""
        files = [Path(str(told.get("file", "model"))) for told in (self.source, self.against) if told is not None]
        parts = 1
        while len({file.parts[-parts:] for file in files}) < len(set(files)):
            parts += 1
        return ["/".join(file.parts[-parts:]) for file in files]


def evaluate(
    dataset: Dataset,
    split: str,
    source: Predictor | Source,
    rule: str = "majority",
    *,
    subsets: Mapping[str, FaceList] | None = None,
    subset_labels: Literal["rule", "list"] = "rule",
    against: Predictor | Source | None = None,
    only_shared: bool = False,
    replicates: int = REPLICATES,
    progress: Progress = silent,
) -> Evaluation:
    """Evaluate a source by the labels of a split and of subsets, which may lie anywhere in the data.

    Faces that a model cannot be shown, because they are unreadable, are left out for both sources.

    Args:
        rule: makes one label of the votes; ``majority`` or ``probability``.
        subset_labels: label subsets by the rule, or by the labels that their own lists give.
        only_shared: leave out faces whose expression not every source can answer, and take from the answers those
            that no face of the split has.
        replicates: of bootstraps.
        progress: called with the faces done and in all, those of both sources together.

    Raises:
        ConfigError: a rule that gives no single label, list labels from a list without labels, or ``only_shared``
            where less than two expressions are.
        DataError: no such split, faces of a list that the data lacks, no readable face, missing predictions.
    """
    lists = dict(subsets or {})
    ids = [sample.id for sample in dataset.samples]
    listed = {name: [dataset.samples[place] for place in resolve(faces, ids)] for name, faces in lists.items()}
    whole = labelled(dataset, split, rule)
    sources = [as_source(given) for given in (source, against) if given is not None]
    shared = sharing(whole, sources, only_shared)
    whole = _among(whole, shared)
    parts = {
        name: _among(_by_list(samples, lists[name]) if subset_labels == "list" else _by_rule(samples, rule), shared)
        for name, samples in listed.items()
    }
    needed = list({sample.id: sample for part in (whole, *parts.values()) for sample in part.samples}.values())

    said = [
        one.answers(dataset, needed, _part(progress, number, len(sources))).among(shared.evaluated)
        for number, one in enumerate(sources)
    ]
    unreadable = {face: why for answers in said for face, why in answers.unreadable.items()}

    return Evaluation(
        dataset=dataset,
        split=split,
        rule=rule,
        subset_labels=subset_labels,
        replicates=replicates,
        answers=said[0],
        whole=_group(whole, split, said, unreadable, replicates),
        subsets={name: _group(part, split, said, unreadable, replicates) for name, part in parts.items()},
        lists=lists,
        shared=shared,
        unreadable=unreadable,
        source=sources[0].description,
        against=sources[1].description if len(sources) > 1 else None,
    )


def _part(progress: Progress, number: int, parts: int) -> Progress:
    """The progress of one of several parts that are equally large."""
    return lambda done, total: progress(number * total + done, parts * total)


def _group(
    part: Labelled, split: str, said: Sequence[Answers], unreadable: Mapping[str, str], replicates: int
) -> Group:
    """The figures of some faces, by the answers of one source, or of two that are compared."""
    part = _readable(part, unreadable)
    first, *other = [answers.of(part.samples) for answers in said]
    probabilities = None if first.prediction is None else first.prediction.probabilities
    return Group(
        part.samples,
        part.truth,
        part.excluded,
        outside=sum(sample.split != split for sample in part.samples),
        scores=metrics.score(part.truth, first.predicted, probabilities, replicates=replicates),
        comparison=metrics.compare(part.truth, first.predicted, other[0].predicted, replicates=replicates)
        if other
        else None,
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
        DataError: no such split, or one of which the rule keeps no face.
    """
    if rule == "distribution":
        raise ConfigError("label rule 'distribution' gives targets for training, not labels; evaluate with 'majority'")
    samples = dataset.split(split)
    found = _by_rule(samples, rule)
    require_labels(found.excluded, len(samples), f"{dataset.path}, split {split}")
    return found


def sharing(faces: Labelled, sources: Sequence[Source], only_shared: bool) -> Shared:
    """Which expressions the faces have and which each source can answer.

    Raises:
        ConfigError: ``only_shared`` where less than two expressions are.
    """
    support = {e: int((faces.truth == e.column).sum()) for e in Expression}
    return Shared(support, tuple(source.names for source in sources), only_shared)


def _among(part: Labelled, shared: Shared) -> Labelled:
    """Without the samples whose expression is not evaluated."""
    columns = [expression.column for expression in shared.evaluated]
    kept = np.isin(part.truth, columns)
    names, counts = np.unique(part.truth[~kept], return_counts=True)
    left_out = {f"{list(Expression)[column]} is not shared": int(n) for column, n in zip(names, counts, strict=True)}
    return Labelled(list(compress(part.samples, kept)), part.truth[kept], part.excluded | left_out)


def _readable(part: Labelled, unreadable: Mapping[str, str]) -> Labelled:
    kept = [sample.id not in unreadable for sample in part.samples]
    if all(kept):
        return part
    left_out = {UNREADABLE: kept.count(False)}
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
    """The answers as a CSV of predictions; ``label`` is the rule's, empty where it has none."""
    answers = evaluation.answers
    samples = {sample.id: sample for sample in evaluation.dataset.samples}
    ordered = [samples[face] for face in answers.ids]
    table = [["id", "split", "label", "predicted", *(NAMES if answers.prediction is not None else [])]]
    truth = label(ordered, evaluation.rule).expressions
    for row, sample in enumerate(ordered):
        told = [] if answers.prediction is None else [f"{p:.7g}" for p in answers.prediction.probabilities[row]]
        known = NAMES[truth[row]] if truth[row] >= 0 else ""
        table.append([sample.id, sample.split, known, NAMES[answers.predicted[row]], *told])
    write_text(path, to_csv(table))
