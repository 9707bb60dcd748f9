"""How sure a figure is: intervals and paired tests, as pure functions of counts and NumPy arrays.

Intervals are two-sided, of ``LEVEL``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
REPLICATES, SEED = 2000, 0  # of bootstraps
_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


class Interval(NamedTuple):
    """A confidence interval; NaN, NaN where there is nothing to estimate from."""

    low: float
    high: float


class Estimate(NamedTuple):
    """An estimate with its interval; NaN where there is nothing to estimate from."""

    value: float
    interval: Interval


def wilson(successes: int, n: int) -> Interval:
    """Score interval of a proportion.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212; recommended by Brown, Cai, DasGupta, Stat. Sci. 16 (2001).

    >>> low, high = wilson(90, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    if n == 0:
        return Interval(float("nan"), float("nan"))
    z = _Z
    centre = (successes + z**2 / 2) / (n + z**2)
    reach = z / (n + z**2) * sqrt(successes * (n - successes) / n + z**2 / 4)
    # At the ends the limits are exactly 0 and 1; rounding must not move them.
    return Interval(
        0.0 if successes == 0 else max(0.0, centre - reach), 1.0 if successes == n else min(1.0, centre + reach)
    )


def bootstrap(
    table: Float[np.ndarray, "n k"],
    statistic: Callable[[Float[np.ndarray, "r k"]], Float[np.ndarray, " r"]],
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Interval:
    """Percentile interval of a statistic that depends on column sums alone, by drawing faces (rows) with replacement.

    ``statistic`` takes the sums of r replicates at once. Paired comparisons put both models' columns into one table.
    Replicates for which the statistic is NaN are left out. Source: Efron, Ann. Stat. 7 (1979) 1-26.

    >>> import numpy as np
    >>> right = np.array([[1.0]] * 90 + [[0.0]] * 10)
    >>> low, high = bootstrap(right, lambda sums: sums[:, 0] / 100)
    >>> 0.8 < low < 0.9 < high < 1
    True
    """
    n = len(table)
    if n == 0:
        return Interval(float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // n)  # replicates at once; bounds the memory
    values = []
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        values.append(statistic(times.astype(float) @ table))
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(np.concatenate(values), [tail, 1 - tail])
    return Interval(float(low), float(high))


def bootstrapped(
    table: Float[np.ndarray, "n k"],
    statistic: Callable[[Float[np.ndarray, "r k"]], Float[np.ndarray, " r"]],
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Estimate:
    """A statistic of n faces with its bootstrap interval; the arguments are those of :func:`bootstrap`."""
    value = float(statistic(table.sum(axis=0, keepdims=True))[0]) if len(table) else float("nan")
    return Estimate(value, bootstrap(table, statistic, replicates, seed))


def mean(values: Float[np.ndarray, " n"], replicates: int = REPLICATES, seed: int = SEED) -> Estimate:
    """A mean over n faces with its bootstrap interval.

    >>> import numpy as np
    >>> figure = mean(np.array([1.0] * 90 + [0.0] * 10))
    >>> figure.value, 0.8 < figure.interval.low < 0.9 < figure.interval.high < 1
    (0.9, True)
    """
    n = len(values)
    return bootstrapped(values[:, None], lambda sums: sums[:, 0] / n, replicates, seed)


def bootstrap_runs(values: Float[np.ndarray, "s n"], replicates: int = REPLICATES, seed: int = SEED) -> Interval:
    """Percentile interval of the mean over s runs and n faces, by drawing faces and, apart from them, runs.

    For a difference of two models, ``values`` are the differences of their scores about each face, a row a seed. A
    single run has no spread to draw from, and with few runs the interval is too narrow: the variance that it shows
    between runs is (s - 1) / s of what they have. Source: Owen, The Pigeonhole Bootstrap, Ann. Appl. Stat. 1 (2007).

    >>> import numpy as np
    >>> low, high = bootstrap_runs(np.array([[0.0, 1.0] * 50, [0.0, 0.0] * 50]))  # one run is right by half, one never
    >>> low == 0.0, 0.5 < high < 0.7
    (True, True)
    """
    runs, n = values.shape
    generator = np.random.default_rng([seed, 1])

    def of_drawn(sums: Float[np.ndarray, "r s"]) -> Float[np.ndarray, " r"]:
        drawn = generator.integers(runs, size=sums.shape)
        return np.asarray(np.take_along_axis(sums, drawn, axis=1).mean(axis=1) / n)

    return bootstrap(values.T.astype(float), of_drawn, replicates, seed)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that two fixed models err equally often, from the faces that only one of them gets right.

    The smaller tail of the binomial (1/2) is doubled, with 1 as its bound; a tie, or no such face, gives 1.
    Source: McNemar, Psychometrika 12 (1947) 153-157, in its exact form.

    >>> mcnemar(only_first=9, only_second=1)
    0.021484375
    """
    n, least = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0
    term = tail = 1
    for i in range(least):
        term = term * (n - i) // (i + 1)  # the next binomial coefficient, as an integer
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def paired_difference(only_first: int, only_second: int, n: int) -> Interval:
    """Interval of the first model's accuracy minus the second's on the same n faces.

    Source: Bonett & Price, Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired
    Data, J. Educ. Behav. Stat. 37 (2012) 479-488.

    >>> low, high = paired_difference(only_first=30, only_second=10, n=400)
    >>> round(low, 3), round(high, 3)
    (0.019, 0.081)
    """
    if n == 0:
        return Interval(float("nan"), float("nan"))
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    reach = _Z * sqrt((first + second - (first - second) ** 2) / (n + 2))
    return Interval(max(-1.0, first - second - reach), min(1.0, first - second + reach))


def share(successes: int, n: int) -> Estimate:
    """A proportion with its Wilson interval."""
    return Estimate(successes / n if n else float("nan"), wilson(successes, n))
