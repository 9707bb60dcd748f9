"""The files of a report: what programs read, what people read, and that pictures are there and are drawn."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ranfer import plots
from ranfer.answers import PredictionsFile
from ranfer.config import ModelConfig
from ranfer.data import open_dataset
from ranfer.data.drawn import write_ferplus
from ranfer.data.face_lists import read_list
from ranfer.errors import ConfigError
from ranfer.evaluate import evaluate
from ranfer.extras import need_extra
from ranfer.formatting import percent
from ranfer.intervals import Estimate, Interval
from ranfer.regions import FACE, FIXED5
from ranfer.report import write_report
from ranfer.vocab import Prediction
from test_evaluate import Told, mostly_right, truth, write


class Attentive(Told):
    """Looks at six regions, most at the face, and twice as much at the last crop as at the others."""

    def __call__(self, faces, ids):
        weight = np.tile([0.4, 0.1, 0.1, 0.1, 0.1, 0.2], (len(ids), 1))
        boxes = np.tile(np.array([FACE, *FIXED5]), (len(ids), 1, 1))
        return Prediction(super().__call__(faces, ids).probabilities, boxes, weight, weight, weight)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report with everything in it, and where it lies."""
    folder = tmp_path_factory.mktemp("report")
    drawn = write_ferplus(folder / "faces", {"train": 40, "valid": 80})
    dataset = open_dataset(f"ferplus:{drawn.data}")
    source = Attentive(mostly_right(dataset, 30))
    source.description = {"file": "runs/a/best.safetensors", "model": ModelConfig().model_dump(mode="json")}
    other = Told(mostly_right(dataset, 60, seed=1))
    other.description = {"file": "runs/b/best.safetensors"}
    lists = {"covered": read_list(drawn.occlusion), "odd | name": read_list(drawn.pose)}
    evaluation = evaluate(dataset, "valid", source, subsets=lists, against=other, replicates=60)
    report = write_report(evaluation, folder / "out", "ranfer evaluate --data 'my faces'")
    text = (folder / "out" / "report.md").read_text(encoding="utf-8")
    return SimpleNamespace(dataset=dataset, evaluation=evaluation, report=report, text=text, out=folder / "out")


def test_the_keys_that_programs_rely_on(made):
    report = json.loads((made.out / "report.json").read_text(), parse_constant=pytest.fail)  # no NaN
    assert report == made.report
    whole = made.evaluation.whole
    assert report["n"] == whole.scores.n
    assert report["accuracy"] == whole.scores.accuracy.value
    assert report["macro_f1"] == whole.scores.macro_f1.value
    assert report["label_rule"] == "majority"
    assert report["excluded"] == 80 - report["n"] == sum(report["excluded_reasons"].values())
    low, high = report["accuracy_interval"]
    assert low < report["accuracy"] < high
    assert report["subsets"].keys() == {"covered", "odd | name"}
    covered = report["subsets"]["covered"]
    assert covered["n"] == made.evaluation.subsets["covered"].scores.n
    assert covered["n"] + covered["excluded"] == len(made.evaluation.lists["covered"].entries)
    assert np.sum(report["confusion"]["true_rows_predicted_columns"]) == report["n"]
    assert sum(report["calibration"]["faces"]) == report["n"]
    assert report["command"] == "ranfer evaluate --data 'my faces'"
    assert report["data"]["faces_in_split"] == 80
    assert report["model"]["model"]["regions"]["scheme"] == "fixed5"


def test_the_comparison_is_in_the_report_for_the_whole_and_each_subset(made):
    for group in (made.report, *made.report["subsets"].values()):
        compared = group["comparison"]
        difference = compared["only_first_right"] - compared["only_other_right"]
        assert compared["accuracy_difference"] == pytest.approx(difference / group["n"])
        assert compared["accuracy_difference_interval"][0] <= compared["accuracy_difference"]
        assert 0 < compared["mcnemar_p"] <= 1


def test_the_mean_weight_of_each_region_is_told_by_name(made):
    table = made.report["regions"]
    assert table["names"] == ["face", "top left", "top right", "centre bottom", "centre .9", "centre .85"]
    assert table["mean_weight"].keys() == {"all", "right", "wrong", "covered", "odd | name"}
    assert table["mean_weight"]["wrong"] == pytest.approx([0.4, 0.1, 0.1, 0.1, 0.1, 0.2])


def test_a_person_finds_the_headline_first_and_everything_else_below(made):
    head, *rest = made.text.split("\n\n")
    assert head == "# a/best.safetensors on ferplus valid"
    assert rest[0].startswith(
        f"**Accuracy {percent(made.evaluation.whole.scores.accuracy)} %**, n = {made.report['n']};"
    )
    headings = [line for line in made.text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Protocol",
        "## Subsets",
        "## Against b/best.safetensors",
        "## Expressions",
        "## Confusion",
        "## Calibration",
        "## Regions",
        "## Excluded faces",
        "## Provenance",
    ]
    assert "15 bins of equal width" in made.text
    assert "compares two fixed models" in made.text
    assert "`ranfer evaluate --data 'my faces'`" in made.text
    assert "| odd \\| name |" in made.text


def test_every_row_of_a_table_has_the_cells_of_its_header(made):
    tables = [part.splitlines() for part in made.text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 6
    for table in tables:
        cells = [line.replace("\\|", "").count("|") for line in table]
        assert set(cells) == {cells[0]}


def test_every_picture_that_the_text_shows_is_there_and_shows_something(made):
    for name in plots.PLOTS:
        assert f"({name})" in made.text
        with Image.open(made.out / name) as picture:
            assert picture.width > 500
            assert np.asarray(picture.convert("L")).std() > 10
    assert not list(made.out.glob("*.partial"))


def test_a_report_without_probabilities_regions_or_subsets_has_fewer_parts_and_no_stale_plots(made, tmp_path):
    lines = (f"{face},happiness" for face in truth(made.dataset))
    file = PredictionsFile(write(tmp_path / "p.csv", "id,expression", *lines))
    evaluation = evaluate(made.dataset, "valid", file, replicates=20)
    for name in plots.PLOTS:
        (tmp_path / name).write_text("stale")
    report = write_report(evaluation, tmp_path, "again")
    assert report["log_loss"] is report["log_loss_interval"] is report["calibration"] is report["regions"] is None
    assert report["classes"]["fear"]["precision"] is None
    text = (tmp_path / "report.md").read_text()
    assert "no log loss and no calibration error" in text
    assert {path.name for path in tmp_path.glob("*.png")} == {"confusion.png", "classes.png"}


def test_a_report_to_publish_shows_no_face(made, tmp_path):
    write_report(made.evaluation, tmp_path, "published", faces=False)
    assert not (tmp_path / "regions.png").exists()
    text = (tmp_path / "report.md").read_text()
    assert "## Regions" in text
    assert "regions.png" not in text


def test_a_subset_of_which_the_rule_keeps_nothing_is_empty_and_not_an_error(made, tmp_path):
    none = next(face for face, column in truth(made.dataset).items() if column < 0)
    faces = read_list(write(tmp_path / "list.txt", none))
    source = Told(truth(made.dataset))
    evaluation = evaluate(made.dataset, "valid", source, subsets={"s": faces}, against=source, replicates=20)
    subset = write_report(evaluation, tmp_path, "empty")["subsets"]["s"]
    assert (subset["n"], subset["excluded"], subset["accuracy"], subset["accuracy_interval"]) == (0, 1, None, None)
    assert subset["comparison"]["accuracy_difference"] is None
    assert not re.search(r"\bnan\b", (tmp_path / "report.md").read_text())


def test_the_page_of_regions_shows_a_right_and_a_wrong_answer_of_each_expression():
    answered = np.array([0, 0, 5, 1, 1, 3])
    page = plots._page(np.array([0, 0, 0, 1, 1, 2]), answered)
    assert [row[1] for row in page] == [2, None, 5]
    assert page[0][0] in (0, 1)
    assert page[2][0] is None


def test_two_models_are_called_by_as_much_of_their_paths_as_tells_them_apart(made):
    def named(first, other):
        return replace(made.evaluation, source={"file": first}, against={"file": other}).titles

    assert named("runs/a.onnx", "runs/b.onnx") == ["a.onnx", "b.onnx"]
    assert named("runs/x/seed-0/best.onnx", "runs/y/seed-0/best.onnx") == ["x/seed-0/best.onnx", "y/seed-0/best.onnx"]
    assert named("runs/a.onnx", "runs/a.onnx") == ["a.onnx", "a.onnx"]


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("ranfer.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^reports: needs matplotlib, .* 'ranfer\[evaluate\]' brings$"):
        need_extra("reports", "evaluate")


def test_a_share_is_written_with_its_interval():
    assert percent(Estimate(0.84964, Interval(0.8368, 0.86161))) == "84.96 (83.68 to 86.16)"
    assert percent(Estimate(float("nan"), Interval(float("nan"), float("nan")))) == percent(None) == "-"
