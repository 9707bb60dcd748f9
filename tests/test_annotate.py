"""The annotator without its web side: questions and keys, orders, decisions, agreement."""

import numpy as np
import pytest

from ranfer.annotate.agreement import measure, measure_gold
from ranfer.annotate.decide import decide
from ranfer.annotate.questions import OCCLUSION, POSE, choose, doubt, suggest
from ranfer.annotate.queue import GOLD_EVERY, Queue, in_order, weave_gold
from ranfer.annotate.store import Answer
from ranfer.errors import ConfigError
from ranfer.vocab import ESTIMATED, Attributes, Occlusion, Pose


def said(annotator, face, *kinds, turned="0", status="answered", final=False):
    answer = {"occlusion": list(kinds) or ["none"], "pose-bin": [turned]}
    return Answer(f"{annotator}-{face}", annotator, face, status, answer, final=final, at=f"2026-01-0{1 + final}")


@pytest.mark.parametrize(
    ("names", "keys", "message"),
    [
        ("occlusion,beard", [], "unknown attribute 'beard'; choose from occlusion, pose-bin"),
        ("", [], "expected some of"),
        ("occlusion,occlusion", [], "each once"),
        ("occlusion", ["pose-bin.30=q"], "--key pose-bin.30: expected ATTRIBUTE.VALUE=KEY"),
        ("occlusion", ["occlusion.upper"], "expected a key, such as occlusion.upper=k"),
        ("occlusion", ["undo=n"], "'n' is the key of both occlusion.none and undo"),
    ],
)
def test_questions_and_keys_that_make_no_sense_are_refused(names, keys, message):
    with pytest.raises(ConfigError, match=message):
        choose(names, keys)


def test_any_key_can_be_changed():
    (question,), actions = choose("occlusion", ["occlusion.upper=K", "undo=backspace"])
    assert {value.name: value.key for value in question.values}["upper"] == "k"
    assert actions["undo"] == "backspace" and actions["skip"] == "arrowright"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["none"], None),
        (["upper", "eyewear"], None),
        (["none", "upper"], "cannot be combined"),
        ([], "got"),
        (["hat"], "no value"),
    ],
)
def test_nothing_goes_with_no_other_value(values, problem):
    found = OCCLUSION.check(values)
    assert found is None if problem is None else problem in found


def test_only_some_questions_take_several_values():
    assert POSE.check(["30"]) is None
    assert "expected one value" in POSE.check(["30", "45"])


def test_an_estimate_answers_as_people_would():
    covered = Attributes(dict.fromkeys(ESTIMATED, 0.1) | {Occlusion.UPPER: 0.5, Occlusion.EYEWEAR: 0.9})
    assert suggest(OCCLUSION, covered) == ("eyewear", "upper")
    assert suggest(OCCLUSION, Attributes(dict.fromkeys(ESTIMATED, 0.1))) == ("none",)
    assert suggest(OCCLUSION, Attributes({Occlusion.UPPER: 0.1})) == ()
    turns = {30.0: "0", -30.1: "30", 45.1: "45"}
    assert {turn: suggest(POSE, Attributes({}, Pose(turn, 3.0, 80.0)))[0] for turn in turns} == turns
    assert suggest(POSE, Attributes({}, turned=45)) == ("45",)
    assert suggest(POSE, Attributes({})) == ()


def test_doubt_is_largest_at_the_limits():
    assert doubt(OCCLUSION, Attributes({Occlusion.UPPER: 0.5, Occlusion.SIDE: 0.0})) == 1
    assert doubt(OCCLUSION, Attributes({Occlusion.UPPER: 0.0})) == 0
    assert doubt(POSE, Attributes({}, Pose(0.0, -45.0, 0.0))) == 1
    assert doubt(POSE, Attributes({}, Pose(0.0, 0.0, 0.0))) == 0


def test_orders_hold_every_face_once_and_are_each_annotators_own():
    faces = [f"f{number}" for number in range(50)]
    anna, ben = (in_order(faces, name, "random", [OCCLUSION], {}) for name in ("anna", "ben"))
    assert sorted(anna) == sorted(ben) == sorted(faces) and anna != ben
    assert anna == in_order(faces, "anna", "random", [OCCLUSION], {})
    assert set(in_order(faces, "anna", "disagreements", [OCCLUSION], {}, ["f3", "f4"])[:2]) == {"f3", "f4"}
    estimates = {face: Attributes({Occlusion.UPPER: number / 100}) for number, face in enumerate(faces[1:])}
    assert in_order(faces, "anna", "uncertain", [OCCLUSION], estimates)[:3] == ["f0", "f49", "f48"]


def test_one_face_in_ten_is_gold_until_there_are_no_more():
    faces = [f"f{number}" for number in range(100)]
    woven = weave_gold(faces, {"f7", "f8", "f90"})
    assert sorted(woven) == sorted(faces)
    assert [place // GOLD_EVERY for place, face in enumerate(woven) if face in {"f7", "f8", "f90"}] == [0, 1, 2]
    assert sorted(weave_gold(faces[:3], faces[:3])) == faces[:3]


def test_a_queue_walks_past_what_is_answered_and_returns_to_what_is_opened_again():
    done = set()
    queue = Queue([f"f{number:04d}" for number in range(2500)], lambda faces: done & set(faces))
    assert queue.ahead(2) == ["f0000", "f0001"]
    done |= {f"f{number:04d}" for number in range(2400)}
    assert queue.ahead(2) == ["f2400", "f2401"]
    done -= {"f0005"}
    queue.reopen("f0005")
    assert queue.ahead(2) == ["f0005", "f2400"]
    done |= set(queue.order)
    assert queue.ahead(2) == []
    done -= {"f0006"}  # by another server
    assert queue.ahead(2) == ["f0006"]


def test_what_all_say_is_decided_and_what_they_differ_on_waits_for_the_adjudicator():
    answers = [
        said("anna", "a", "upper", "eyewear", turned="30"),
        said("ben", "a", "upper", "eyewear", turned="30"),
        said("anna", "b", "upper"),
        said("ben", "b"),
        said("anna", "c"),
        said("anna", "d", status="unsure"),
        said("anna", "e", status="skipped"),
    ]
    found = decide(answers, ["b", "d"])
    assert list(found.records) == ["a", "c"] and found.waiting == ["b", "d"]
    assert found.records["a"].occlusion == dict.fromkeys(ESTIMATED, 0) | {Occlusion.UPPER: 1, Occlusion.EYEWEAR: 1}
    assert found.records["a"].turned == 30 and found.records["a"].annotators == ("anna", "ben")
    shares = decide(answers, ["b", "d"], shares=True)
    assert shares.records["b"].occlusion[Occlusion.UPPER] == 0.5 and shares.waiting == ["d"]
    final = decide([*answers, said("judge", "b", "side", final=True)], ["b", "d"])
    assert final.records["b"].occlusion[Occlusion.SIDE] == 1 and final.records["b"].occlusion[Occlusion.UPPER] == 0
    assert final.records["b"].annotators == ("judge",) and final.records["b"].decided == "2026-01-02"


def figures(answers, *questions, **options):
    found = measure(answers, questions or (OCCLUSION,), replicates=50, **options)
    return {(row.value, row.coefficient): row for row in found}


def test_cohens_kappa_has_the_value_of_a_table_worked_by_hand():
    # 20 both yes, 5 only the first, 10 only the second, 15 both no: observed 0.7, expected 0.5.
    cells = [(20, "upper", "upper"), (5, "upper", "none"), (10, "none", "upper"), (15, "none", "none")]
    pairs = [pair for times, *pair in cells for _ in range(times)]
    answers = [
        said(who, f"f{number}", value)
        for number, pair in enumerate(pairs)
        for who, value in zip(("anna", "ben"), pair, strict=True)
    ]
    row = figures(answers)["upper", "Cohen's kappa"]
    assert row.figure.value == pytest.approx(0.4) and row.faces == 50 and row.annotators == ("anna", "ben")
    assert row.figure.interval.low < 0.4 < row.figure.interval.high
    assert np.isnan(figures(answers)["side", "Cohen's kappa"].figure.value)  # nobody ever said it


def test_fleiss_and_krippendorff_have_the_values_of_tables_worked_by_hand():
    rows = ["uuu", "uun", "nnn", "nnu"]
    names = {"u": "upper", "n": "none"}
    answers = [
        said(who, f"f{number}", names[letter])
        for number, row in enumerate(rows)
        for who, letter in zip(("anna", "ben", "cleo"), row, strict=True)
    ]
    found = figures(answers)
    assert found["", "Fleiss's kappa"].figure.value == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    # Coincidences: u,u 4, n,n 4, u,n 2 and n,u 2 of 12; disagreement 4/12 observed, 72/132 expected.
    assert found["", "Krippendorff's alpha"].figure.value == pytest.approx(1 - (4 / 12) / (72 / 132))
    assert len([key for key in found if key[1] == "Cohen's kappa" and key[0] == ""]) == 1


def test_pairs_of_three_annotators_are_measured_apart_and_unsure_answers_not_at_all():
    answers = [said(who, f"f{n}", "upper" if n % 2 else "none") for who in ("anna", "ben", "cleo") for n in range(6)]
    answers += [said("anna", "f9", status="unsure"), said("ben", "f9", "side"), said("judge", "f9", final=True)]
    found = measure(answers, [OCCLUSION], replicates=10)
    whole = [row for row in found if not row.value]
    assert [row.annotators for row in whole if row.coefficient == "Cohen's kappa"] == [
        ("anna", "ben"),
        ("anna", "cleo"),
        ("ben", "cleo"),
    ]
    assert all(row.faces == 6 and row.figure.value == pytest.approx(1) for row in whole)


def test_who_answered_no_question_is_no_annotator_of_it():
    answers = [said(who, f"f{n}", "upper" if n % 2 else "none") for who in ("anna", "ben", "cleo") for n in range(6)]
    others = [said("dora", "f0", status="skipped"), said("emil", "f0")._replace(said={"pose-bin": ["0"]})]
    assert repr(measure([*answers, *others], [OCCLUSION], 5)) == repr(measure(answers, [OCCLUSION], 5))  # NaN as NaN


def test_far_steps_of_pose_count_more_than_near_ones():
    def alpha(other):
        turns = ["0"] * 6 + ["30"] * 6 + ["45"] * 6
        answers = [said("anna", f"f{n}", turned=turn) for n, turn in enumerate(turns)]
        answers += [said("ben", f"f{n}", turned=other if n == 0 else turn) for n, turn in enumerate(turns)]
        return figures(answers, POSE)["", "Krippendorff's alpha"].figure.value

    assert alpha("45") < alpha("30") < 1


def test_gold_faces_measure_each_annotator():
    gold = {f"f{n}": Attributes(dict.fromkeys(ESTIMATED, 0.0)) for n in range(4)} | {"f4": Attributes({})}
    answers = [said("anna", f"f{n}") for n in range(5)] + [said("ben", "f0", "upper"), said("ben", "f1")]
    found = {row.annotator: row for row in measure_gold(answers, [OCCLUSION], gold)}
    assert found["anna"].faces == 4 and found["anna"].figure.value == 1
    assert found["ben"].faces == 2 and found["ben"].figure.value == 0.5
