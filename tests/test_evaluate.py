"""Evaluation on drawn faces, where what is right is known, and on the real lists."""

import csv

import numpy as np
import pytest

from ranfer.answers import Model, PredictionsFile
from ranfer.data import open_dataset
from ranfer.data.drawn import write_ferplus
from ranfer.data.face_lists import read_list
from ranfer.data.labels import label
from ranfer.errors import ConfigError, DataError, RanferError
from ranfer.evaluate import evaluate, write_predictions
from ranfer.vocab import Expression, Prediction

EIGHT = [expression.value for expression in Expression]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    path = write_ferplus(tmp_path_factory.mktemp("drawn") / "faces", {"train": 60, "valid": 90}).data
    return open_dataset(f"ferplus:{path}")


class Told:
    """Says for each face what it was told, with the same certainty."""

    def __init__(self, said, sure=0.79):
        self.said, self.sure, self.shapes = said, sure, []
        self.description = {"file": "told.onnx"}

    def __call__(self, faces, ids):
        self.shapes.append(faces.shape)
        probabilities = np.full((len(ids), 8), (1 - self.sure) / 7)
        probabilities[np.arange(len(ids)), [self.said[face] for face in ids]] = self.sure
        return Prediction(probabilities)


def truth(dataset, rule="majority"):
    labels = label(dataset.samples, rule)
    return {sample.id: int(c) for sample, c in zip(dataset.samples, labels.expressions, strict=True)}


def mostly_right(dataset, errors, seed=0):
    """The truth with some faces shifted to the next class."""
    said = {face: max(column, 0) for face, column in truth(dataset).items()}
    for face in np.random.default_rng(seed).permutation(sorted(said))[:errors]:
        said[str(face)] = (said[str(face)] + 1) % 8
    return said


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("rule", ["majority", "probability"])
def test_a_split_is_evaluated_on_the_faces_that_the_rule_keeps(drawn, rule):
    labels = label(drawn.split("valid"), rule)
    found = evaluate(drawn, "valid", Told(truth(drawn, rule)), rule, replicates=50)
    assert found.whole.scores.n == labels.kept.sum()
    assert found.whole.excluded == labels.excluded
    assert sum(found.whole.excluded.values()) + found.whole.scores.n == 90
    assert found.whole.scores.accuracy.value == 1
    assert found.whole.scores.log_loss is not None
    assert found.whole.scores.log_loss.value == pytest.approx(-np.log(0.79))
    assert found.whole.scores.calibration_error is not None
    assert found.whole.scores.calibration_error.value == pytest.approx(0.21)


def test_wrong_answers_count_where_they_fall(drawn):
    said, right = mostly_right(drawn, 40), truth(drawn)
    kept = [sample.id for sample in drawn.split("valid") if right[sample.id] >= 0]
    found = evaluate(drawn, "valid", Told(said), replicates=50).whole.scores
    expected = np.mean([said[face] == right[face] for face in kept])
    assert 0 < expected < 1
    assert found.accuracy.value == pytest.approx(expected)
    assert found.confusion.trace() == sum(said[face] == right[face] for face in kept)


def test_faces_come_in_batches_and_progress_tells_of_them(drawn):
    source, seen = Told(truth(drawn)), []
    found = evaluate(drawn, "train", source, replicates=1, progress=lambda *report: seen.append(report))
    assert source.shapes == [(found.whole.scores.n, 48, 48, 3)]
    n = found.whole.scores.n
    assert seen == [(n, n)]
    evaluate(drawn, "train", source, against=source, replicates=1, progress=lambda *report: seen.append(report))
    assert seen[1:] == [(n, 2 * n), (2 * n, 2 * n)]


def test_a_subset_is_evaluated_alone_and_may_lie_outside_the_split(drawn, tmp_path):
    ids = [drawn.split("train")[0].id, *(sample.id for sample in drawn.split("valid")[:9])]
    faces = read_list(write(tmp_path / "list.txt", *ids))
    found = evaluate(drawn, "valid", Told(truth(drawn)), subsets={"ten": faces}, replicates=1)
    subset = found.subsets["ten"]
    assert subset.scores.n + sum(subset.excluded.values()) == 10
    assert subset.outside == (truth(drawn)[ids[0]] >= 0)
    assert found.whole.scores.n == sum(truth(drawn)[sample.id] >= 0 for sample in drawn.split("valid"))


def test_list_labels_label_every_face_of_the_list_once(drawn, tmp_path):
    ids = [sample.id for sample in drawn.split("valid")[:20]]
    lines = [f"1/{face}.jpg" for face in ids]  # the list calls all of them happy
    faces = read_list(write(tmp_path / "list.txt", *lines, lines[0]))
    said = dict.fromkeys(truth(drawn), Expression.HAPPINESS.column)
    by_list = evaluate(drawn, "valid", Told(said), subsets={"s": faces}, subset_labels="list", replicates=1).subsets[
        "s"
    ]
    assert (by_list.scores.n, by_list.scores.accuracy.value, by_list.excluded) == (20, 1, {})
    by_rule = evaluate(drawn, "valid", Told(said), subsets={"s": faces}, replicates=1).subsets["s"]
    assert by_rule.scores.accuracy.value == np.mean([truth(drawn)[f] == 1 for f in ids if truth(drawn)[f] >= 0])


def test_list_labels_from_a_list_without_labels_are_refused(drawn, tmp_path):
    faces = read_list(write(tmp_path / "list.txt", drawn.samples[0].id))
    with pytest.raises(ConfigError, match=r"list\.txt: the list gives no label for .* \(line 1\)"):
        evaluate(drawn, "valid", Told({}), subsets={"s": faces}, subset_labels="list")


def test_faces_of_a_list_that_the_data_lack_are_one_error(drawn, tmp_path):
    faces = read_list(write(tmp_path / "list.txt", drawn.samples[0].id, "fer9999998", "fer9999999"))
    with pytest.raises(DataError, match=r"list\.txt: 2 of 3 faces are not in the data: fer9999998 \(line 2\)"):
        evaluate(drawn, "valid", Told({}), subsets={"s": faces})


def test_the_distribution_rule_is_for_training(drawn):
    with pytest.raises(ConfigError, match="evaluate with 'majority'"):
        evaluate(drawn, "valid", Told({}), "distribution")


def test_a_model_that_says_nan_is_refused(drawn):
    labelled = [sample for sample in drawn.samples if truth(drawn)[sample.id] >= 0]
    with pytest.raises(RanferError, match=r"told\.onnx: NaN for"):
        Model(Told(truth(drawn), sure=float("nan"))).answers(drawn, labelled)


def test_a_comparison_counts_the_faces_that_one_of_two_gets_right(drawn):
    right = truth(drawn)
    kept = [sample.id for sample in drawn.split("valid") if right[sample.id] >= 0]
    first, other = dict(right), dict(right)
    for face in kept[:3]:
        first[face] = (right[face] + 1) % 8
    for face in kept[2:10]:
        other[face] = (right[face] + 1) % 8
    found = evaluate(drawn, "valid", Told(first), against=Told(other), replicates=50).whole
    assert found.comparison is not None
    assert (found.comparison.only_first, found.comparison.only_other) == (7, 2)
    assert found.comparison.p_value == 2 * (1 + 9 + 36) / 2**9
    assert found.comparison.accuracy_difference.value == pytest.approx(5 / len(kept))
    assert found.comparison.other.value == pytest.approx(1 - 8 / len(kept))


def test_a_model_against_itself_differs_in_nothing(drawn):
    source = Told(mostly_right(drawn, 30))
    found = evaluate(drawn, "valid", source, against=source, replicates=50).whole.comparison
    assert found is not None
    assert (found.p_value, found.accuracy_difference.value, found.macro_f1_difference) == (1, 0, (0, (0, 0)))


def test_written_predictions_read_back_as_the_same_answers(drawn, tmp_path):
    faces = read_list(write(tmp_path / "list.txt", *(sample.id for sample in drawn.split("train")[:5])))
    first = evaluate(drawn, "valid", Told(mostly_right(drawn, 30)), subsets={"s": faces}, replicates=20)
    write_predictions(first, tmp_path / "predictions.csv")
    again = evaluate(drawn, "valid", PredictionsFile(tmp_path / "predictions.csv"), subsets={"s": faces}, replicates=20)
    assert again.whole.scores.accuracy == first.whole.scores.accuracy
    assert again.whole.scores.log_loss is not None and first.whole.scores.log_loss is not None
    assert again.whole.scores.log_loss.value == pytest.approx(first.whole.scores.log_loss.value, rel=1e-5)
    assert again.subsets["s"].scores.accuracy == first.subsets["s"].scores.accuracy
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "split", "label", "predicted", *EIGHT]
    assert {row["split"] for row in rows} == {"train", "valid"}
    assert all(row["label"] == EIGHT[truth(drawn)[row["id"]]] for row in rows)


def test_predictions_of_expressions_alone_have_accuracy_but_no_calibration(drawn, tmp_path):
    right = truth(drawn)
    lines = [f"FER2013Valid/{face}.png,{EIGHT[max(column, 0)]}" for face, column in right.items()]
    found = evaluate(drawn, "valid", PredictionsFile(write(tmp_path / "p.csv", "id,expression", *lines)), replicates=1)
    assert found.whole.scores.accuracy.value == 1
    assert found.whole.scores.log_loss is found.whole.scores.calibration_error is None
    assert found.source["other rows"] == len(lines) - found.whole.scores.n
    write_predictions(found, tmp_path / "again.csv")
    assert PredictionsFile(tmp_path / "again.csv").answers(drawn, found.whole.samples).prediction is None


def test_predictions_may_name_classes_by_synonyms_and_lack_some(drawn, tmp_path):
    face = drawn.samples[0]
    file = PredictionsFile(write(tmp_path / "p.csv", "Happy,id,sad", f"0.251,{face.id},0.75"))
    found = file.answers(drawn, [face])
    assert found.prediction is not None
    assert found.prediction.probabilities[0, [1, 3]] == pytest.approx([0.251 / 1.001, 0.75 / 1.001])
    assert found.prediction.probabilities.sum() == pytest.approx(1)


def test_missing_predictions_are_counted_and_the_first_few_named(drawn, tmp_path):
    file = PredictionsFile(write(tmp_path / "p.csv", "id,expression", f"{drawn.samples[0].id},fear"))
    with pytest.raises(DataError, match=r"p\.csv: no row for 149 of 150 faces: .* and 146 more"):
        file.answers(drawn, drawn.samples)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,happy,sad", "a.png,1,0", "b,1,0", "x/a.jpg,0,1"], r"p\.csv:4: a stands in line 2 already"),
        (["id,happy,sad", "a,1"], r"p\.csv:2: expected 3 columns, as in the header, got 2"),
        (["id,happy,sad", "a,1,x"], r"p\.csv:2: expected 2 numbers, got 1, x"),
        (["id,happy,sad", "a,nan,1"], r"p\.csv:2: .* not finite"),
        (["id,happy,sad", "a,-1,2"], r"p\.csv:2: .* look like logits; apply softmax first"),
        (["id,happy,sad", "a,3.5,7"], r"p\.csv:2: .*sum 10\.5\): these look like logits"),
        (["id,happy,sad", "a,40,60"], r"p\.csv:2: .* look like percentages"),
        (["id,happy,sad", "a,.2,.3"], r"p\.csv:2: expected probabilities that sum to 1, got \.2, \.3 \(sum 0\.5\)$"),
        (["id,happy,smug", "a,1,0"], r"p\.csv:1: column 'smug' is unknown; known are id, .* contempt"),
        (["id,happy,joy", "a,1,0"], r"p\.csv:1: column 'joy' is twice"),
        (["id,label", "a,fear"], r"p\.csv:1: expected the columns id and the classes, or id and expression"),
        (["happy,sad", "1,0"], r"p\.csv:1: expected the columns id and"),
        (["id,expression", "a,smug"], r"p\.csv:2: no expression is called 'smug'"),
        ([""], r"p\.csv:1: expected the columns id and"),
    ],
)
def test_a_wrong_predictions_file_is_one_error_with_its_line(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        PredictionsFile(write(tmp_path / "p.csv", *lines))


def test_a_predictions_file_that_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: not a readable CSV file"):
        PredictionsFile(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match=r"bytes\.csv: not a readable CSV file"):
        PredictionsFile(tmp_path / "bytes.csv")


def test_spreadsheet_exports_with_bom_and_crlf_are_read(drawn, tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(f"\ufeffid,expression\r\n{drawn.samples[0].id},fear\r\n\r\n".encode())
    assert PredictionsFile(path).answers(drawn, drawn.samples[:1]).predicted.tolist() == [Expression.FEAR.column]


def test_the_real_validation_split_has_its_published_n(real_data, tmp_path):
    dataset = open_dataset(f"ferplus:{real_data / 'ferplus_train_valid.zip'}")
    lines = (f"{sample.id},neutral" for sample in dataset.split("valid"))
    file = PredictionsFile(write(tmp_path / "p.csv", "id,expression", *lines))
    found = evaluate(dataset, "valid", file, replicates=1).whole
    assert (found.scores.n, sum(found.excluded.values())) == (3199, 380)
    assert found.scores.accuracy.value == pytest.approx(1182 / 3199)
