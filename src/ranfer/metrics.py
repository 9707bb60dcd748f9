"""Figures for a classifier's answers, with their intervals: pure functions of NumPy arrays.

``truth`` and ``predicted`` are columns, 0 to ``classes`` - 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from ranfer.intervals import REPLICATES, Estimate, bootstrap, bootstrapped, mcnemar, mean, paired_difference, share

BINS = 15  # of equal width, for calibration
CLIP = 1e-7  # least probability that log loss believes: about float32's resolution near 1


class PerClass(NamedTuple):
    """Figures of each class, shape (..., c); NaN where a figure is undefined."""

    precision: Float[np.ndarray, "*r c"]  # undefined for a class never predicted
    recall: Float[np.ndarray, "*r c"]  # undefined for a class absent from the truth
    f1: Float[np.ndarray, "*r c"]  # undefined for a class that is neither predicted nor in the truth
    support: Float[np.ndarray, "*r c"]  # faces of the class in the truth


class Reliability(NamedTuple):
    """Faces grouped by the probability of their top class: bins are ``(edges[i], edges[i + 1]]``."""

    edges: Float[np.ndarray, " m1"]
    faces: Int[np.ndarray, " m"]
    confidence: Float[np.ndarray, " m"]  # mean top probability, NaN in an empty bin
    accuracy: Float[np.ndarray, " m"]  # share that is right, NaN in an empty bin


def confusion(
    truth: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], classes: int = 8
) -> Int[np.ndarray, "c c"]:
    """How often each true class (row) got each answer (column).

    >>> import numpy as np
    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: Real[np.ndarray, "*r c c"]) -> PerClass:
    """Precision, recall, F1 = 2 TP / (2 TP + FP + FN) and support, from one confusion matrix or many.

    >>> import numpy as np
    >>> figures = per_class(np.array([[3, 1], [0, 4]]))
    >>> figures.recall.tolist(), figures.precision.tolist()
    ([0.75, 1.0], [1.0, 0.8])
    """
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(float)
    support = matrix.sum(axis=-1).astype(float)
    answers = matrix.sum(axis=-2).astype(float)
    return PerClass(_ratio(hits, answers), _ratio(hits, support), _ratio(2 * hits, support + answers), support)


def macro_recall(matrix: Real[np.ndarray, "*r c c"]) -> Float[np.ndarray, "*r"]:
    """Mean recall of the classes that occur in the truth (balanced accuracy); NaN without any face.

    >>> import numpy as np
    >>> float(macro_recall(np.array([[3, 1], [0, 4]])))
    0.875
    """
    figures = per_class(matrix)
    return _mean_where(figures.recall, figures.support > 0)


def macro_f1(matrix: Real[np.ndarray, "*r c c"]) -> Float[np.ndarray, "*r"]:
    """Mean F1 of the classes that occur in the truth; NaN without any face.

    A class absent from the truth does not count, also where it is predicted: those answers already cost the classes
    that they were taken from.

    >>> import numpy as np
    >>> round(float(macro_f1(np.array([[3, 1], [0, 4]]))), 4)
    0.873
    """
    figures = per_class(matrix)
    return _mean_where(figures.f1, figures.support > 0)


def log_losses(probabilities: Float[np.ndarray, "n c"], truth: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The loss of each face, -ln p(true class), with p no less than ``CLIP``; their mean is the log loss.

    >>> import numpy as np
    >>> log_losses(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([0, 1])).round(3).tolist()
    [0.693, 2.303]
    """
    true_class = probabilities[np.arange(len(truth)), truth].astype(float)
    return np.asarray(-np.log(np.maximum(true_class, CLIP)))


def reliability(confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], bins: int = BINS) -> Reliability:
    """The table behind a reliability diagram: ``bins`` bins of equal width over [0, 1], each closed above.

    >>> import numpy as np
    >>> table = reliability(np.array([0.6, 0.9, 1.0]), np.array([False, True, True]), bins=2)
    >>> table.faces.tolist(), table.accuracy[1].round(2)
    ([0, 3], np.float64(0.67))
    """
    place = confidence_bins(confidence, bins)
    count = np.bincount(place, minlength=bins)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        faces=count,
        confidence=_ratio(np.bincount(place, weights=confidence, minlength=bins), count),
        accuracy=_ratio(np.bincount(place, weights=correct, minlength=bins), count),
    )


def confidence_bins(confidence: Float[np.ndarray, " n"], bins: int) -> Int[np.ndarray, " n"]:
    """The bin of each confidence, 0 to ``bins`` - 1; 0 itself falls into the first."""
    return np.asarray(np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1))


def calibration_error(confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], bins: int = BINS) -> float:
    """Expected calibration error: mean over faces of |accuracy - confidence| of their bin; NaN without any face.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.

    >>> import numpy as np
    >>> round(calibration_error(np.array([0.9, 0.9]), np.array([True, False])), 2)
    0.4
    """
    if not len(confidence):
        return float("nan")
    table = reliability(confidence, correct, bins)
    return float(np.nansum(table.faces * np.abs(table.accuracy - table.confidence)) / len(confidence))


def confusion_table(
    truth: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], classes: int = 8
) -> Float[np.ndarray, "n cells"]:
    """A row for each face with a one in its cell of the flattened confusion matrix, for the bootstrap."""
    return np.asarray(np.arange(classes**2) == (truth * classes + predicted)[:, None], dtype=float)


def calibration_table(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n m1"]:
    """A row for each face: correct - confidence in the column of its bin, and a last column of ones.

    The calibration error of resampled sums s is then ``abs(s[:, :-1]).sum(1) / s[:, -1]``.
    """
    table = np.zeros((len(confidence), BINS + 1))
    table[np.arange(len(confidence)), confidence_bins(confidence, BINS)] = correct - confidence
    table[:, -1] = 1
    return table


@dataclass(frozen=True)
class Scores:
    """All figures of n answers; those of probabilities are None where there are none."""

    n: int
    accuracy: Estimate  # Wilson
    macro_recall: Estimate  # bootstrap, as all below but the shares
    macro_f1: Estimate
    confusion: Int[np.ndarray, "c c"]
    recall: tuple[Estimate, ...]  # Wilson
    precision: tuple[Estimate, ...]  # Wilson
    f1: Float[np.ndarray, " c"]
    log_loss: Estimate | None
    calibration_error: Estimate | None
    reliability: Reliability | None


@dataclass(frozen=True)
class Comparison:
    """Two fixed models on the same faces; differences are the first's figure minus the other's."""

    other: Estimate  # accuracy of the other
    only_first: int  # faces that the first alone gets right
    only_other: int
    p_value: float  # exact McNemar
    accuracy_difference: Estimate  # Bonett and Price
    macro_f1_difference: Estimate  # paired bootstrap


def score(
    truth: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n c"] | None = None,
    *,
    classes: int = 8,
    replicates: int = REPLICATES,
) -> Scores:
    """Every figure with its interval; ``replicates`` are those of bootstraps.

    >>> import numpy as np
    >>> scores = score(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), classes=2)
    >>> scores.accuracy.value, scores.confusion.tolist()
    (0.75, [[1, 1], [0, 2]])
    """
    matrix = confusion(truth, predicted, classes)
    hits, cells = np.diagonal(matrix), confusion_table(truth, predicted, classes)

    def over_matrices(statistic: Callable[..., Float[np.ndarray, "*r"]]) -> Estimate:
        return bootstrapped(cells, lambda sums: statistic(sums.reshape(-1, classes, classes)), replicates)

    log_loss = calibration = table = None
    if probabilities is not None:
        confidence, correct = probabilities.max(axis=1), predicted == truth
        log_loss = mean(log_losses(probabilities, truth), replicates)
        gaps = calibration_table(confidence, correct)
        calibration = Estimate(
            calibration_error(confidence, correct),
            bootstrap(gaps, lambda s: np.abs(s[:, :-1]).sum(axis=1) / s[:, -1], replicates),
        )
        table = reliability(confidence, correct)
    return Scores(
        n=len(truth),
        accuracy=share(int(hits.sum()), len(truth)),
        macro_recall=over_matrices(macro_recall),
        macro_f1=over_matrices(macro_f1),
        confusion=matrix,
        recall=tuple(share(int(k), int(n)) for k, n in zip(hits, matrix.sum(axis=1), strict=True)),
        precision=tuple(share(int(k), int(n)) for k, n in zip(hits, matrix.sum(axis=0), strict=True)),
        f1=per_class(matrix).f1,
        log_loss=log_loss,
        calibration_error=calibration,
        reliability=table,
    )


def compare(
    truth: Int[np.ndarray, " n"],
    first: Int[np.ndarray, " n"],
    other: Int[np.ndarray, " n"],
    *,
    classes: int = 8,
    replicates: int = REPLICATES,
) -> Comparison:
    """Two sets of answers about the same faces.

    >>> import numpy as np
    >>> truth = np.array([0, 1, 0, 1])
    >>> found = compare(truth, truth, np.array([0, 0, 0, 0]), classes=2)
    >>> found.only_first, found.p_value, found.accuracy_difference.value
    (2, 0.5, 0.5)
    """
    n = len(truth)
    only_first = int(((first == truth) & (other != truth)).sum())
    only_other = int(((first != truth) & (other == truth)).sum())
    cells = np.hstack([confusion_table(truth, first, classes), confusion_table(truth, other, classes)])

    def f1_difference(sums: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
        both = macro_f1(sums.reshape(-1, 2, classes, classes))
        return np.asarray(both[:, 0] - both[:, 1])

    return Comparison(
        other=share(int((other == truth).sum()), n),
        only_first=only_first,
        only_other=only_other,
        p_value=mcnemar(only_first, only_other),
        accuracy_difference=Estimate(
            (only_first - only_other) / n if n else float("nan"), paired_difference(only_first, only_other, n)
        ),
        macro_f1_difference=bootstrapped(cells, f1_difference, replicates),
    )


def _ratio(part: Real[np.ndarray, "*r c"], whole: Real[np.ndarray, "*r c"]) -> Float[np.ndarray, "*r c"]:
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0))


def _mean_where(values: Float[np.ndarray, "*r c"], where: Bool[np.ndarray, "*r c"]) -> Float[np.ndarray, "*r"]:
    total, count = np.where(where, values, 0).sum(axis=-1), where.sum(axis=-1)
    return np.asarray(np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0))
