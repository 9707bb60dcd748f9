"""How far annotators agree, and how often each is correct on gold faces, with intervals.

Coefficients are those of statsmodels (Cohen, Fleiss) and of krippendorff (Krippendorff's alpha); intervals are
percentiles over faces drawn with replacement. All leave answers out that are unsure or skipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from krippendorff import alpha
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from ranfer.annotate.questions import Question, suggest
from ranfer.annotate.store import Answer
from ranfer.files import write_text
from ranfer.intervals import LEVEL, SEED, Estimate, Interval, share
from ranfer.vocab import Attributes, Progress, silent

Codes = Int[np.ndarray, "n a"]  # what a annotators said of n faces, as columns; -1 where they said nothing
Rows = Int[np.ndarray, "m k"]  # what a coefficient is of: codes of a pair, or how many said each value, face by face


class Coefficient(NamedTuple):
    """One coefficient: of what, among whom, of how many faces."""

    attribute: str
    value: str  # empty for the attribute as a whole
    coefficient: str
    annotators: tuple[str, ...]
    faces: int
    figure: Estimate


class Gold(NamedTuple):
    """How often an annotator gave the gold answer."""

    annotator: str
    attribute: str
    faces: int
    figure: Estimate


def measure(
    answers: Sequence[Answer],
    questions: Sequence[Question],
    replicates: int,
    progress: Progress = silent,
) -> list[Coefficient]:
    """Every coefficient, of each attribute as a whole and of each of its values against the others.

    An answer of several values counts as one value of its own where the attribute is taken as a whole. Cohen's kappa is
    that of two annotators and the faces of both, Fleiss's that of three or more and the faces of all, Krippendorff's
    alpha that of all and the faces of at least two; it is ordinal where the values are steps of a scale. A coefficient
    is NaN where only one value occurs. So are some replicates, which the interval leaves out; that of perfect
    agreement is 1 to 1, however few the faces.
    """
    found: list[Coefficient] = []
    said = [answer for answer in answers if not answer.final and answer.status == "answered"]
    faces = {face: row for row, face in enumerate(dict.fromkeys(answer.face for answer in said))}
    total = sum(1 + len(question.values) for question in questions)
    done = 0
    for question in questions:
        # Only who answered it: Fleiss's kappa would take no face where somebody said nothing.
        people = tuple(sorted({answer.annotator for answer in said if question.name in answer.said}))
        given: dict[tuple[int, int], tuple[str, ...]] = {}
        for answer in said:
            if question.name in answer.said:
                given[faces[answer.face], people.index(answer.annotator)] = tuple(answer.said[question.name])
        single = [(value.name,) for value in question.values]
        kinds = single + sorted(set(given.values()) - set(single))
        whole = _codes(len(faces), len(people), {place: kinds.index(chosen) for place, chosen in given.items()})
        found += _coefficients(question.name, "", people, whole, question.ordered, replicates)
        progress(done := done + 1, total)
        for value in question.values:
            held = _codes(
                len(faces), len(people), {place: int(value.name in chosen) for place, chosen in given.items()}
            )
            found += _coefficients(question.name, value.name, people, held, False, replicates)
            progress(done := done + 1, total)
    return found


def measure_gold(
    answers: Sequence[Answer], questions: Sequence[Question], gold: Mapping[str, Attributes]
) -> list[Gold]:
    """How often each annotator, where sure, gave exactly the answer of a gold face, with Wilson intervals."""
    found = []
    said = [answer for answer in answers if not answer.final and answer.status == "answered" and answer.face in gold]
    for person in sorted({answer.annotator for answer in said}):
        for question in questions:
            pairs = [
                (suggest(question, gold[answer.face]), tuple(answer.said[question.name]))
                for answer in said
                if answer.annotator == person and question.name in answer.said
            ]
            right = [set(true) == set(told) for true, told in pairs if true]
            found.append(Gold(person, question.name, len(right), share(sum(right), len(right))))
    return found


def _codes(n: int, people: int, given: Mapping[tuple[int, int], int]) -> Codes:
    codes = np.full((n, people), -1)
    for place, code in given.items():
        codes[place] = code
    return codes


def _coefficients(
    attribute: str, value: str, people: tuple[str, ...], codes: Codes, ordered: bool, replicates: int
) -> list[Coefficient]:
    kinds = int(codes.max(initial=0)) + 1

    def row(name: str, who: tuple[str, ...], rows: Rows, of: Callable[[Rows], float]) -> Coefficient:
        return Coefficient(attribute, value, name, who, len(rows), _figure(rows, of, replicates))

    found = []
    for first, second in combinations(range(len(people)), 2):
        pair = codes[:, [first, second]]
        both = pair[(pair >= 0).all(axis=1)]
        found.append(row("Cohen's kappa", (people[first], people[second]), both, partial(_cohen, kinds=kinds)))
    if len(people) > 2:
        found.append(row("Fleiss's kappa", people, _count(codes[(codes >= 0).all(axis=1)], kinds), _fleiss))
    if len(people) > 1:
        several = codes[(codes >= 0).sum(axis=1) > 1]
        of = partial(_krippendorff, ordered=ordered)
        found.append(row("Krippendorff's alpha", people, _count(several, kinds), of))
    return found


def _figure(rows: Rows, of: Callable[[Rows], float], replicates: int) -> Estimate:
    if not len(rows):
        return Estimate(math.nan, Interval(math.nan, math.nan))
    generator = np.random.default_rng(SEED)
    drawn = [of(rows[generator.integers(len(rows), size=len(rows))]) for _ in range(replicates)]
    defined = [one for one in drawn if not math.isnan(one)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if defined else (math.nan, math.nan)
    return Estimate(of(rows), Interval(float(low), float(high)))


def _cohen(pairs: Int[np.ndarray, "m 2"], kinds: int) -> float:
    table = np.bincount(pairs[:, 0] * kinds + pairs[:, 1], minlength=kinds**2).reshape(kinds, kinds)
    return float(cohens_kappa(table, return_results=False)) if np.unique(pairs).size > 1 else math.nan


def _fleiss(counts: Int[np.ndarray, "m k"]) -> float:
    return float(fleiss_kappa(counts)) if _differ(counts) else math.nan


def _krippendorff(counts: Int[np.ndarray, "m k"], ordered: bool) -> float:
    if not _differ(counts):
        return math.nan
    return float(alpha(value_counts=counts, level_of_measurement="ordinal" if ordered else "nominal"))


def _count(codes: Codes, kinds: int) -> Int[np.ndarray, "n k"]:
    """How many annotators said each value of each face."""
    return np.stack([(codes == kind).sum(axis=1) for kind in range(kinds)], axis=1)


def _differ(counts: Int[np.ndarray, "m k"]) -> bool:
    """Whether more than one value occurs."""
    return bool((counts.sum(axis=0) > 0).sum() > 1)


def write_agreement(path: Path, about: Mapping[str, Any], found: Sequence[Coefficient], gold: Sequence[Gold]) -> None:
    """The report as JSON, null where a figure is undefined."""

    def plain(row: Coefficient | Gold) -> dict[str, Any]:
        numbers = zip(("value", "low", "high"), (row.figure.value, *row.figure.interval), strict=True)
        figures = {name: None if math.isnan(number) else round(number, 6) for name, number in numbers}
        return {name: value for name, value in row._asdict().items() if name != "figure"} | {"figure": figures}

    report = {**about, "level": LEVEL, "agreement": [plain(row) for row in found], "gold": [plain(row) for row in gold]}
    write_text(path, json.dumps(report, indent=2) + "\n")
