"""Label rules: hand values, an oracle written after the published tool's words, properties, golden counts."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranfer.data.ferplus import read_votes
from ranfer.data.labels import RULES, label
from ranfer.errors import ConfigError
from ranfer.vocab import Expression, Location, Sample

# neutral happiness surprise sadness anger disgust fear contempt unknown nf


def face(*votes):
    return Sample("f", "train", Location(Path("f")), votes)


def one(rule, *votes):
    """The target of a single face, or the reason why it has none."""
    labels = label([face(*votes)], rule)
    if labels.kept[0]:
        assert labels.expressions[0] == labels.targets[0].argmax() and not labels.excluded
        return labels.targets[0].tolist()
    assert labels.expressions[0] == -1 and not labels.targets.any()
    ((reason, count),) = labels.excluded.items()
    assert count == 1
    return reason


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ((6, 4, 0, 0, 0, 0, 0, 0, 0, 0), [1, 0, 0, 0, 0, 0, 0, 0]),
        ((5, 5, 0, 0, 0, 0, 0, 0, 0, 0), "no majority"),
        ((4, 0, 0, 0, 1, 1, 1, 1, 1, 1), [1, 0, 0, 0, 0, 0, 0, 0]),  # the ones are dropped: 4 of 4
        ((0, 3, 0, 3, 0, 0, 0, 0, 4, 0), "no majority"),
        ((2, 0, 0, 0, 0, 0, 0, 0, 8, 0), "majority is unknown"),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), "majority is no face"),
        ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), "no votes above one"),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0, 0), "unlabelled"),
        ((0, 0, 0, 0, 0, 0, 1, 0, 0, 0), [0, 0, 0, 0, 0, 0, 1, 0]),  # the only vote of a face stands
    ],
)
def test_majority_by_hand(votes, expected):
    assert one("majority", *votes) == expected


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ((8, 2, 0, 0, 0, 0, 0, 0, 0, 0), [1, 0, 0, 0, 0, 0, 0, 0]),  # 8 are 75 % of 10
        ((6, 4, 0, 0, 0, 0, 0, 0, 0, 0), [0.6, 0.4, 0, 0, 0, 0, 0, 0]),
        ((5, 5, 0, 0, 0, 0, 0, 0, 0, 0), [0.5, 0.5, 0, 0, 0, 0, 0, 0]),
        ((6, 0, 0, 0, 0, 0, 0, 0, 4, 0), [1, 0, 0, 0, 0, 0, 0, 0]),  # unknown ends the taking and is left out
        ((4, 0, 0, 2, 0, 0, 0, 0, 4, 0), "the classes taken hold at most half of the votes"),
        ((4, 0, 0, 0, 0, 0, 0, 0, 6, 0), "unknown or no face comes first"),
        ((4, 2, 2, 2, 0, 0, 0, 0, 0, 0), "more than three classes tied"),
        ((4, 3, 2, 0, 0, 0, 0, 0, 0, 1), [4 / 7, 3 / 7, 0, 0, 0, 0, 0, 0]),  # 7 of 9 are enough
        ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), "no votes above one"),
    ],
)
def test_probability_by_hand(votes, expected):
    found = one("probability", *votes)
    assert found == (expected if isinstance(expected, str) else pytest.approx(expected))


def test_distribution_is_the_remaining_votes_of_the_eight_normalised():
    assert one("distribution", 2, 3, 0, 0, 0, 0, 0, 0, 4, 1) == pytest.approx([0.4, 0.6, 0, 0, 0, 0, 0, 0])
    assert one("distribution", 1, 0, 0, 0, 0, 0, 0, 0, 9, 0) == "no votes for an expression"


def test_on_a_tie_the_first_expression_in_order_is_the_label():
    labels = label([face(0, 0, 0, 5, 0, 5, 0, 0, 0, 0)], "probability")
    assert labels.expressions.tolist() == [Expression.SADNESS.column]


def by_the_published_words(votes):
    """The probability rule for one face, one class after the other, in exact fractions; None where it is left out."""
    left = [0 if vote == 1 and sum(votes) > 1 else vote for vote in votes]
    total, taken, stopped = sum(left), {}, False
    while sum(taken.values()) < Fraction(3, 4) * total and len(taken) < 3 and not stopped:
        top = max(left)
        for place in [place for place, vote in enumerate(left) if vote == top]:
            if place >= 8:
                stopped = True
                if not taken:
                    return None
            else:
                taken[place] = top
                left[place] = 0
    if sum(taken.values()) <= Fraction(1, 2) * total or len(taken) > 3:
        return None
    return [Fraction(taken.get(place, 0), sum(taken.values())) for place in range(8)]


ballots = st.lists(st.integers(0, 9), min_size=10, max_size=10).map(tuple)


@given(st.lists(ballots, max_size=5))
def test_probability_equals_a_plain_transcription_of_its_words(votes):
    labels = label([face(*ballot) for ballot in votes], "probability")
    for ballot, kept, target in zip(votes, labels.kept, labels.targets, strict=True):
        expected = by_the_published_words(ballot)
        assert kept == (expected is not None)
        if kept:
            assert target.tolist() == pytest.approx([float(part) for part in expected])


@given(st.lists(ballots, max_size=5), st.sampled_from(RULES))
def test_every_face_has_a_target_of_sum_one_or_a_reason(votes, rule):
    labels = label([face(*ballot) for ballot in votes], rule)
    assert labels.targets.sum(axis=1) == pytest.approx(labels.kept.astype(float))
    assert labels.kept.sum() + sum(labels.excluded.values()) == len(votes)
    assert np.array_equal(labels.expressions >= 0, labels.kept)


@given(st.lists(ballots, max_size=8))
def test_a_majority_has_the_same_label_under_every_rule(votes):
    faces = [face(*ballot) for ballot in votes]
    majority = label(faces, "majority")
    for rule in RULES:
        other = label(faces, rule)
        assert np.array_equal(other.expressions[majority.kept], majority.expressions[majority.kept])


def test_an_unknown_rule_is_refused_with_the_names_of_the_rules():
    with pytest.raises(ConfigError, match=r"'plurality'; there are majority, probability, distribution"):
        label([], "plurality")


@pytest.fixture(scope="module")
def real_votes(real_data):
    rows, _ = read_votes(real_data / "fer2013new.csv")
    assert (len(rows), sum(row is not None for row in rows)) == (35_887, 35_714)
    return list({row.id: row for row in rows if row is not None}.values())  # the last row wins


KEPT = {
    "majority": {"train": 25_057, "valid": 3_199, "test": 3_152},
    "probability": {"train": 27_953, "valid": 3_505, "test": 3_504},
    "distribution": {"train": 28_555, "valid": 3_577, "test": 3_572},
}


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_keep_the_known_numbers_of_real_faces(real_votes, rule):
    for split, kept in KEPT[rule].items():
        assert label([row for row in real_votes if row.split == split], rule).kept.sum() == kept
