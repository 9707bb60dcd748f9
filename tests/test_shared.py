"""A model of one dataset evaluated on another: which expressions count, and what becomes of the others."""

import json

import numpy as np
import pytest

from layouts import RAFDB, write_affectnet, write_rafdb
from ranfer.answers import PredictionsFile
from ranfer.data import open_dataset
from ranfer.errors import ConfigError
from ranfer.evaluate import evaluate
from ranfer.protocol import protocol
from ranfer.report import write_report
from ranfer.shared import Shared, named_by
from ranfer.vocab import Expression, Prediction
from test_cli import run

E = Expression
SEVEN = [expression.value for expression in E if expression is not E.CONTEMPT]


class Contemptuous:
    """Sees most of all contempt, and then what it is told; has learnt some classes."""

    def __init__(self, said, classes=tuple(E)):
        self.said = said
        self.description = {"file": "m.safetensors", "training": {"classes": [str(e) for e in classes]}}

    def __call__(self, faces, ids):
        probabilities = np.zeros((len(ids), 8))
        for row, face in enumerate(ids):
            probabilities[row, self.said[face]] = 0.3
        probabilities[:, E.CONTEMPT.column] = 0.7
        return Prediction(probabilities)


@pytest.fixture(scope="module")
def rafdb(tmp_path_factory):
    """Two test faces of each of the seven classes."""
    faces = {f"test_{n:04d}": RAFDB[n % 7] for n in range(1, 15)} | {"train_00001": RAFDB[0]}
    return open_dataset(f"rafdb:{write_rafdb(tmp_path_factory.mktemp('data') / 'basic', faces)}")


@pytest.fixture(scope="module")
def affectnet(tmp_path_factory):
    """Two test faces of each of the eight classes."""
    codes = {f"{n:056x}": n % 8 for n in range(16)}
    return open_dataset(f"affectnet:{write_affectnet(tmp_path_factory.mktemp('data'), {}, codes)}")


def columns(dataset):
    return {sample.id: int(np.argmax(sample.votes)) for sample in dataset.samples}


def test_an_expression_that_no_face_has_is_taken_from_the_answers(rafdb):
    model = Contemptuous(columns(rafdb))
    assert evaluate(rafdb, "test", model, replicates=1).whole.scores.accuracy.value == 0
    found = evaluate(rafdb, "test", model, only_shared=True, replicates=1)
    assert (found.whole.scores.n, found.whole.scores.accuracy.value, found.whole.excluded) == (14, 1, {})
    np.testing.assert_allclose(found.answers.prediction.probabilities.max(axis=1), 1)
    assert "except expressions that are not shared" in protocol(found).sampling


def test_faces_of_an_expression_that_the_model_never_learnt_are_left_out(affectnet):
    model = Contemptuous(columns(affectnet), RAFDB)
    found = evaluate(affectnet, "test", model, only_shared=True, replicates=1)
    assert (found.whole.scores.n, found.whole.excluded) == (14, {"contempt is not shared": 2})
    assert found.whole.scores.accuracy.value == 1
    plain = evaluate(affectnet, "test", model, replicates=1)
    assert (plain.whole.scores.n, plain.whole.scores.accuracy.value) == (16, 2 / 16)


def test_two_models_are_evaluated_on_what_both_can_answer(affectnet, tmp_path):
    lines = ["id,happy,sad", *(f"{face},1,0" for face in columns(affectnet))]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    file = PredictionsFile(tmp_path / "p.csv")
    found = evaluate(affectnet, "test", Contemptuous(columns(affectnet)), against=file, only_shared=True, replicates=1)
    assert found.shared.expressions == (E.HAPPINESS, E.SADNESS)
    assert (found.whole.scores.n, found.whole.comparison.only_first, found.whole.comparison.only_other) == (4, 2, 0)
    report = write_report(found, tmp_path / "out", "x")
    assert report["expressions"]["shared"] == ["happiness", "sadness"]
    assert report["expressions"]["models"][1] == {"happiness": "happy", "sadness": "sad"}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| happiness | 2 | happiness | happy | shared |" in text
    assert "| contempt | 2 | contempt | - | faces left out |" in text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(set(headings)) == len(headings)


def test_answers_without_probabilities_stay_as_they_are(rafdb, tmp_path):
    (tmp_path / "p.csv").write_text("\n".join(["id,expression", *(f"{face},contempt" for face in columns(rafdb))]))
    found = evaluate(rafdb, "test", PredictionsFile(tmp_path / "p.csv"), only_shared=True, replicates=1)
    assert (found.whole.scores.n, found.whole.scores.accuracy.value) == (14, 0)


def test_what_becomes_of_each_expression_is_told():
    faces = {E.NEUTRAL: 3, E.SADNESS: 2, E.FEAR: 1}
    model = named_by({"labels": ["calm", "-", "Sad", "angry"]})
    fates = {row[0]: row[1:] for row in Shared(faces, (model,), False).rows()}
    assert fates["neutral"] == ("3", "calm", "shared")
    assert fates["fear"] == ("1", "-", "not every model can answer it; its faces count")
    assert fates["anger"] == ("0", "angry", "no face has it; answering it is wrong")
    assert fates["disgust"] == ("0", "-", "")
    fates = {row[0]: row[-1] for row in Shared(faces, (model,), True).rows()}
    assert (fates["fear"], fates["anger"]) == ("faces left out", "taken from answers")


def test_data_and_a_model_of_all_eight_need_no_table():
    every = dict.fromkeys(E, 1)
    assert Shared(every, (named_by({}),), False).agrees
    assert not Shared(every, (named_by({"training": {"classes": SEVEN}}),), False).agrees


def test_less_than_two_shared_expressions_are_refused(rafdb):
    with pytest.raises(ConfigError, match="must share two expressions or more; got happiness"):
        evaluate(rafdb, "test", Contemptuous(columns(rafdb), [E.HAPPINESS, E.CONTEMPT]), only_shared=True)


def test_the_command_prints_the_mapping(rafdb, tmp_path):
    words = ("--data", f"rafdb:{rafdb.path}", "--split", "test", "--no-faces", "--out", tmp_path / "out")
    plain = run("evaluate", *words)
    assert "contempt 0 contempt no face has it; answering it is wrong" in " ".join(plain.stdout.split())
    shared = run("evaluate", *words, "--shared")
    assert "contempt 0 contempt taken from answers" in " ".join(shared.stdout.split())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["expressions"]["only_shared"] and len(report["expressions"]["shared"]) == 7
    assert sum(row[-1] for row in report["confusion"]["true_rows_predicted_columns"]) == 0
