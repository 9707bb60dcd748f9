"""Covered faces: the same for everybody, as much covered as is said, and evaluated so that a fall in accuracy shows."""

import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from ranfer import synthetic_occlusion_report
from ranfer.data import open_dataset
from ranfer.data.drawn import write_ferplus
from ranfer.errors import ConfigError, DataError
from ranfer.evaluate import evaluate, labelled
from ranfer.images import decode_image
from ranfer.intervals import Interval
from ranfer.occluders import Kind
from ranfer.report import write_report
from ranfer.runtime import open_onnx
from ranfer.synthetic_occlusion import (
    KINDS,
    SHARES,
    OcclusionResult,
    answer_covered,
    choose,
    cover,
    parse_kinds,
    write_covered,
)
from ranfer.vocab import Expression, Prediction
from test_cli import run, run_evaluate
from test_evaluate import truth
from test_runtime import ours

E = Expression


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_ferplus(tmp_path_factory.mktemp("covered") / "faces", {"train": 24, "valid": 60})


@pytest.fixture(scope="module")
def dataset(drawn):
    return open_dataset(f"ferplus:{drawn.data}")


@pytest.fixture(scope="module")
def evaluated(dataset):
    """All labelled faces of the split, and their labels."""
    group = evaluate(dataset, "valid", Sighted(dataset, 1.0), replicates=1).whole
    return group.samples, group.truth


class Sighted:
    """Is right about a face as long as no more than a share of its pixels differ from the face as it was."""

    def __init__(self, dataset, share, name="sighted"):
        self.faces = {sample.id: dataset.image(sample).astype(int) for sample in dataset.samples}
        self.right, self.share, self.description = truth(dataset), share, {"file": f"{name}.onnx"}

    def __call__(self, faces, ids):
        probabilities = np.zeros((len(ids), 8))
        for row, (face, id_) in enumerate(zip(faces, ids, strict=True)):
            changed = (np.abs(face.astype(int) - self.faces[id_]).max(axis=2) > 3).mean()
            probabilities[row, (self.right[id_] + (changed > self.share)) % 8] = 1
        return Prediction(probabilities)


def test_a_face_is_covered_alike_in_any_company(dataset, evaluated):
    samples, labels = evaluated
    many = choose(dataset, samples, labels, 12)
    few = choose(dataset, samples[::-1], labels[::-1].copy(), 5)
    assert set(few.ids) < set(many.ids)  # by their ids, and not by their places
    assert many.ids == tuple(sample.id for sample in samples if sample.id in many.ids)
    rows = [many.ids.index(id_) for id_ in few.ids]
    kinds = (Kind.SURGICAL_MASK, Kind.BLOCK)
    for one, other in zip(cover(many, kinds, (0.2, 0.5)), cover(few, kinds[:], (0.2, 0.5)), strict=True):
        np.testing.assert_array_equal(one.faces[rows], other.faces)
        np.testing.assert_array_equal(one.covered[rows], other.covered)


def test_as_much_is_covered_as_was_asked_for_or_the_report_tells_how_much(dataset, evaluated):
    subjects = choose(dataset, *evaluated, 6)
    found = answer_covered([Sighted(dataset, 1.0)], subjects, (Kind.SURGICAL_MASK, Kind.PHONE))
    np.testing.assert_allclose(found.covered[0].mean(axis=1), SHARES, atol=0.02)
    assert found.reached[0].all()
    assert not found.reached[1, -1]
    assert found.graded == (Kind.SURGICAL_MASK,)
    cell = synthetic_occlusion_report.to_json(found)["kinds"]["phone"]["0.6"]
    assert cell["reached"] is False
    assert cell["covered"] < 0.5
    assert cell["n"] == 6
    assert f"[{100 * cell['covered']:.0f} %]" in synthetic_occlusion_report.section(found, ["model"], 60)


def test_what_covers_a_grey_face_is_grey(dataset, evaluated):
    grey = choose(dataset, *evaluated, 4)
    assert all((cell.faces == cell.faces[..., :1]).all() for cell in cover(grey, KINDS, (0.3,)))


def hand_made(first, other=None):
    """Four faces of class 0 under two kinds at two shares; the second kind misses the second share."""
    answers = [first] if other is None else [first, other]
    covered = np.broadcast_to(np.array([[0.3, 0.6], [0.3, 0.4]])[..., None], (2, 2, 4)).copy()
    kinds, plain = (Kind.BLOCK, Kind.PHONE), np.zeros((len(answers), 4), int)
    predicted = np.array([[np.broadcast_to(rows, (2, 4)) for rows in one] for one in answers])
    return OcclusionResult(tuple("abcd"), np.zeros(4, int), kinds, (0.3, 0.6), covered, plain, predicted, "mean")


def test_means_are_over_the_kinds_that_reach_every_share_and_count_a_face_once():
    found = hand_made([[[0, 0, 0, 1], [0, 1, 1, 1]], [[1, 1, 1, 1], [1, 1, 1, 1]]])
    assert [cell.accuracy[0].value for cell in synthetic_occlusion_report.means(found)] == [1, 0.75, 0.25]
    assert synthetic_occlusion_report.means(found)[0].accuracy[0].interval == Interval(1, 1)
    np.testing.assert_array_equal(found.mean_right, [[[1, 1, 1, 0], [1, 0, 0, 0]]])


def test_two_models_are_compared_face_by_face_at_each_share(monkeypatch):
    right, wrong = [[0, 0, 0, 0]] * 2, [[0, 1, 1, 1]] * 2
    found = hand_made([right, right], [wrong, right])
    cell = synthetic_occlusion_report.cells(found)[Kind.BLOCK][1]
    assert (cell.only_right, cell.p_value, cell.difference.value) == ((3, 0), 0.25, 0.75)
    values = synthetic_occlusion_report.to_json(found)
    assert values["kinds"]["block"]["0.3"]["mcnemar_p"] == 0.25
    assert values["mean"]["0.6"]["accuracy_difference"] == 0.75
    assert values["mean"]["kinds"] == ["block"]
    text = synthetic_occlusion_report.section(found, ["one", "two"], 10)
    assert "4 faces are too few for their intervals to say which model is better." in text
    monkeypatch.setattr(synthetic_occlusion_report, "FEWEST", 4)
    text = synthetic_occlusion_report.section(found, ["one", "two"], 10)
    assert "The first model is better at 30 %, 60 %." in text
    assert "The interval includes zero, so that no difference is shown, at 0 %." in text
    assert "+75.0 (p 0.2500)" in text


def test_accuracy_falls_as_more_is_covered_and_the_picture_shows_it(dataset, evaluated, tmp_path):
    models = [Sighted(dataset, 0.25), Sighted(dataset, 0.6, "other")]
    subjects = choose(dataset, *evaluated, 10)
    done = []
    kinds = (Kind.SURGICAL_MASK, Kind.BLOCK)
    found = answer_covered(models, subjects, kinds, progress=lambda *told: done.append(told))
    assert done == [(n, 130) for n in range(10, 140, 10)]
    first, other = np.array(
        [[figure.value for figure in cell.accuracy] for cell in synthetic_occlusion_report.means(found)]
    ).T
    assert first[0] == other[0] == 1
    assert first[-1] < 0.5
    assert (np.diff(first) <= 0).all()
    assert (other >= first).all() and other[-1] > first[-1]
    evaluation = evaluate(dataset, "valid", models[0], against=models[1], replicates=20)
    report = write_report(evaluation, tmp_path, "x", covered=found)
    assert report["occlusion"]["kinds"].keys() == {"surgical mask", "block"}
    assert "(occlusion.png)" in (tmp_path / "report.md").read_text()
    with Image.open(tmp_path / "occlusion.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    write_report(evaluation, tmp_path, "x")
    assert not (tmp_path / "occlusion.png").exists()


def test_the_command_covers_faces_where_it_is_told_to(drawn, tmp_path):
    model = ours(tmp_path / "ours.onnx")
    words = ("--occlude", "--occlude-faces", 3, "--occlude-kinds", "block,cap")
    run_evaluate(drawn, tmp_path, "--weights", model, "--against", model, *words)
    found = json.loads((tmp_path / "out" / "report.json").read_text())["occlusion"]
    assert (found["n"], list(found["kinds"])) == (3, ["block", "cap"])
    assert found["kinds"]["cap"]["0.6"]["accuracy_difference"] == 0


def test_a_model_that_runs_elsewhere_is_evaluated_by_what_it_says_of_written_pictures(drawn, dataset, tmp_path):
    sample = ("--out", tmp_path / "covered", "--faces", 5, "--kinds", "block,surgical mask")
    assert "60 pictures of 5 faces" in run("data", "cover", f"ferplus:{drawn.data}", "--split", "valid", *sample).stdout
    about, *lines = map(json.loads, (tmp_path / "covered" / "covered.jsonl").read_text().splitlines())
    assert (about["about"]["split"], len(lines)) == ("valid", 60)
    assert lines[0].keys() == {"id", "image", "face", "kind", "share", "covered"}
    # Elsewhere: a program that sees nothing but pictures, here the very model that is evaluated beside it.
    model = open_onnx(ours(tmp_path / "ours.onnx"))
    pictures = {line["id"]: tmp_path / "covered" / line["image"] for line in lines}
    faces = {id_: decode_image(path, id_) for id_, path in pictures.items()}
    faces |= {sample.id: dataset.image(sample) for sample in dataset.samples}
    said = model(np.stack(list(faces.values())), list(faces)).probabilities
    rows = [",".join([id_, *map(str, row)]) for id_, row in zip(faces, said.tolist(), strict=True)]
    (tmp_path / "p.CSV").write_text("\n".join([",".join(["id", *Expression]), *rows]))
    words = ("--weights", tmp_path / "ours.onnx", "--against", tmp_path / "p.CSV", "--occlude")
    run_evaluate(drawn, tmp_path, *words, "--occlude-faces", 5, "--occlude-kinds", "surgical mask,block")
    found = json.loads((tmp_path / "out" / "report.json").read_text())["occlusion"]
    assert (found["n"], list(found["kinds"])) == (5, ["surgical mask", "block"])
    for row in found["kinds"].values():
        for cell in row.values():
            assert (cell["accuracy"], cell["mcnemar_p"]) == (cell["other_accuracy"], 1)
    shares = [line["covered"] for line in lines if line["kind"] == "block" and line["share"] == 0.3]
    assert found["kinds"]["block"]["0.3"]["covered"] == pytest.approx(np.mean(shares), abs=1e-4)
    more = run_evaluate(drawn, tmp_path, *words, "--occlude-faces", 6, "--occlude-kinds", "block", status=1)
    assert "no row for 6 of 36 faces" in more.stderr


class Rising:
    """The later an expression in our order, the surer of it, whatever the face."""

    description: ClassVar = {}

    def __call__(self, faces, ids):
        return Prediction(np.tile(np.arange(8) / 28, (len(ids), 1)))


def test_ids_that_are_no_names_of_files_are_refused(dataset, evaluated, tmp_path):
    subjects = choose(dataset, *evaluated, 2)
    with pytest.raises(DataError, match=r"names of files, and these are not: \.\./a$"):
        write_covered(replace(subjects, ids=("../a", "b")), KINDS, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_unreadable_faces_are_passed_over_and_told(tmp_path):
    copied = write_ferplus(tmp_path / "faces", {"train": 1, "valid": 12})
    dataset = open_dataset(f"ferplus:{copied.data}")
    samples, labels, _ = labelled(dataset, "valid", "majority")
    first = samples[[sample.id for sample in samples].index(choose(dataset, samples, labels, 1).ids[0])]
    first.location.path.write_bytes(b"no picture")
    words = ("data", "cover", f"ferplus:{copied.data}", "--split", "valid", "--faces", 2, "--kinds", "block")
    told = run(*words, "--out", tmp_path / "out", status=1)
    assert told.stderr.startswith(f"{first.location}: ")
    assert "12 pictures of 2 faces" in told.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) == 12
    assert not list((tmp_path / "out").glob(f"{first.id}*"))


def test_covered_faces_of_a_stopped_call_are_drawn_anew_and_other_files_are_left_alone(dataset, evaluated, tmp_path):
    subjects = choose(dataset, *evaluated, 1)
    write_covered(subjects, (Kind.BLOCK,), tmp_path / "out", {})
    (tmp_path / "out" / "covered.jsonl").unlink()
    assert write_covered(subjects, (Kind.BLOCK,), tmp_path / "out", {}) == 6
    with pytest.raises(DataError, match="out: holds files already"):
        write_covered(subjects, (Kind.BLOCK,), tmp_path / "out", {})


def test_faces_of_other_expressions_leave_the_sample(dataset, evaluated):
    subjects = choose(dataset, *evaluated, 30)
    some = subjects.among((E.HAPPINESS, E.ANGER))
    assert set(some.truth) == {1, 4}
    assert [subjects.ids.index(id_) for id_ in some.ids] == np.flatnonzero(np.isin(subjects.truth, [1, 4])).tolist()
    found = answer_covered([Rising()], some, KINDS[:1], (0.3,), cells=cover(some, KINDS[:1], (0.3,)))
    assert set(found.predicted.ravel()) == {4}
    with pytest.raises(ConfigError, match="none of them is one of contempt"):
        some.among((E.CONTEMPT,))


def test_what_cannot_be_covered_is_refused_before_any_work(drawn, dataset, evaluated, tmp_path):
    (tmp_path / "p.csv").write_text("id,expression\n")
    told = run_evaluate(
        drawn, tmp_path, "--predictions", tmp_path / "p.csv", "--occlude", "--occlude-faces", 2, status=1
    )
    assert "p.csv: no row for 72 of 72 faces: fer" in told.stderr
    assert "ranfer data cover writes covered faces for other programs" in told.stderr
    (expression,) = choose(dataset, *evaluated, 1).truth
    first, second = [str(e) for e in E if e.column != expression and e.column in evaluated[1]][:2]
    (tmp_path / "p.csv").write_text(f"id,{first},{second}\n")
    words = ("--predictions", tmp_path / "p.csv", "--shared", "--occlude", "--occlude-faces", 1)
    assert (
        f"none of them is one of {first}, {second}; take more" in run_evaluate(drawn, tmp_path, *words, status=2).stderr
    )
    assert (
        "there are surgical mask"
        in run_evaluate(drawn, tmp_path, "--occlude", "--occlude-kinds", "veil", status=2).stderr
    )
    assert parse_kinds("all") == tuple(Kind)
    assert parse_kinds("") == KINDS
    assert parse_kinds("surgical-mask, hat") == (Kind.SURGICAL_MASK, Kind.HAT)  # as in names of files
