"""From votes to training targets and to the one expression that a face is evaluated by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float32, Int

from ranfer.errors import ConfigError, DataError
from ranfer.vocab import Expression, LabelRule, Sample

RULES: tuple[str, ...] = get_args(LabelRule)
EIGHT = len(Expression)
MOST_VOTES = 2**31 - 1  # of a class; sums of votes stay in 64 bits
UNLABELLED = "unlabelled"  # why a face without any vote is left out


@dataclass(frozen=True)
class Labels:
    """What a rule makes of the votes of n faces.

    kept: (n,) whether the rule has a label for the face.
    targets: (n, 8) in the order of Expression, rows summing to 1; zeros where not kept.
    expressions: (n,) index of the largest target, the first in the order of Expression on a tie; -1 where not kept.
    excluded: how many faces are not kept, by reason.
    """

    kept: Bool[np.ndarray, " n"]
    targets: Float32[np.ndarray, "n 8"]
    expressions: Int[np.ndarray, " n"]
    excluded: dict[str, int]


def label(samples: Sequence[Sample], rule: str) -> Labels:
    """The labels of the samples under a rule.

    All rules drop votes of 1 first, except that the only vote of a face stands.

    - ``majority``: the class with more than half of the remaining votes, if it is one of the eight.
    - ``probability``: the votes of up to three classes, as FERPlus's published tool picks them: from the most voted
      down until they hold 75 % of the remaining votes; see :func:`_probability`.
    - ``distribution``: the remaining votes of the eight classes. For training targets only: it keeps faces without
      a clear expression, so that nothing should be evaluated on it.

    Raises:
        ConfigError: there is no such rule.
    """
    if rule not in RULES:
        raise ConfigError(f"no label rule is called {rule!r}; there are {', '.join(RULES)}")
    votes = np.array([sample.votes for sample in samples], dtype=np.int64).reshape(len(samples), EIGHT + 2)
    remaining = np.where((votes == 1) & (votes.sum(axis=1, keepdims=True) > 1), 0, votes)
    weights, reason = {"majority": _majority, "probability": _probability, "distribution": _distribution}[rule](
        remaining
    )
    reason[remaining.sum(axis=1) == 0] = "no votes above one"
    reason[votes.sum(axis=1) == 0] = UNLABELLED
    kept = reason == ""
    weights = np.where(kept[:, None], weights, 0)
    names, counts = np.unique(reason[~kept], return_counts=True)
    return Labels(
        kept=kept,
        targets=(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1)).astype(np.float32),
        expressions=np.where(kept, weights.argmax(axis=1), -1),
        excluded={str(name): int(count) for name, count in zip(names, counts, strict=True)},
    )


@cache  # one object serves all faces of an expression
def one_vote(expression: Expression | None) -> tuple[int, ...]:
    """The votes of a face with one label, or without any."""
    return (*(int(expression is member) for member in Expression), 0, 0)


def require_labels(excluded: Mapping[str, int], n: int, where: str) -> None:
    """Refuse n faces of which a rule labels none, where labels are needed; ``where`` opens the message.

    Raises:
        DataError: all n are excluded; the message tells for which reasons.
    """
    if sum(excluded.values()) == n:
        reasons = ", ".join(f"{name}: {count:,}" for name, count in excluded.items())
        raise DataError(f"{where}: none of the {n:,} faces has a label that the rule keeps ({reasons})")


# Each rule gives the weights of the eight classes and, for a face that it leaves out, the reason.
_Weights = tuple[Int[np.ndarray, "n 8"], np.ndarray]


def _majority(votes: Int[np.ndarray, "n 10"]) -> _Weights:
    top = votes.argmax(axis=1)
    reason = _reasons(len(votes))
    reason[top == EIGHT] = "majority is unknown"
    reason[top == EIGHT + 1] = "majority is no face"
    reason[2 * votes.max(axis=1) <= votes.sum(axis=1)] = "no majority"
    return np.eye(EIGHT + 2, dtype=np.int64)[top, :EIGHT], reason


def _probability(votes: Int[np.ndarray, "n 10"]) -> _Weights:
    """Classes from the most voted down, until they hold 75 % of the votes or three are taken.

    All classes tied at the maximum are taken together. Unknown and "no face" end the taking; first of all, they exclude
    the face, else they are left out. So do at most half of the votes, and a tie that takes more than three classes.
    """
    total = votes.sum(axis=1)
    taken = np.zeros((len(votes), EIGHT), dtype=np.int64)
    ended = np.zeros(len(votes), dtype=bool)
    reason = _reasons(len(votes))
    for _ in range(3):
        going = ~ended & (4 * taken.sum(axis=1) < 3 * total) & ((taken > 0).sum(axis=1) < 3)
        left = votes.copy()
        left[:, :EIGHT] -= taken
        tied = going[:, None] & (left > 0) & (left == left.max(axis=1, keepdims=True))
        taken += np.where(tied, left, 0)[:, :EIGHT]
        ended |= tied[:, EIGHT:].any(axis=1)
    reason[2 * taken.sum(axis=1) <= total] = "the classes taken hold at most half of the votes"
    reason[(taken > 0).sum(axis=1) > 3] = "more than three classes tied"
    reason[ended & (taken.sum(axis=1) == 0)] = "unknown or no face comes first"
    return taken, reason


def _distribution(votes: Int[np.ndarray, "n 10"]) -> _Weights:
    eight = votes[:, :EIGHT]
    reason = _reasons(len(votes))
    reason[eight.sum(axis=1) == 0] = "no votes for an expression"
    return eight, reason


def _reasons(n: int) -> np.ndarray:
    return np.full(n, "", dtype=object)
