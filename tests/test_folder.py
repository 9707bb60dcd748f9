"""Pictures of anybody's: every layout of folders and tables, class names, and what is refused with the table shown."""

import json
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from ranfer.answers import Model, PredictionsFile
from ranfer.data import open_dataset
from ranfer.data.dataset import read_face, refuse_overwriting_data, stack_faces
from ranfer.data.labels import label
from ranfer.data.manifest import prepare
from ranfer.errors import ConfigError, DataError
from ranfer.evaluate import evaluate, write_predictions
from ranfer.vocab import Expression, Prediction, face_id


@pytest.fixture
def put(tmp_path):
    """Writes tiny pictures, each of its own grey, and texts."""

    def put(*names, **texts):
        for grey, name in enumerate(names, start=1):
            file = tmp_path / "faces" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (grey,) * 3).save(file)
        for name, text in texts.items():
            (tmp_path / "faces" / name.replace("_", ".")).write_text(text)
        return tmp_path / "faces"

    return put


def opened(path):
    return open_dataset(f"folder:{path}")


def seen(dataset):
    found = label(dataset.samples, "majority").expressions
    return {
        s.id: (s.split, str(list(Expression)[e]) if e >= 0 else None)
        for s, e in zip(dataset.samples, found, strict=True)
    }


def test_a_folder_per_class_is_one_split(put):
    dataset = opened(put("happy/a.png", "SAD/b.jpg", "Neutral/deeper/c.PNG"))
    assert seen(dataset) == {"a": ("all", "happiness"), "b": ("all", "sadness"), "c": ("all", "neutral")}
    assert (dataset.image(dataset.samples[0]) == 1).all() and not dataset.surprises


def test_splits_come_in_the_usual_order_whatever_their_folders_are_called(put):
    dataset = opened(put("Test/fear/a.png", "val/anger/b.png", "train/disgust/c.png", "train/contempt/d.png"))
    assert dataset.splits == ("train", "valid", "test")
    assert seen(dataset)["b"] == ("valid", "anger") and [s.id for s in dataset.samples] == ["c", "d", "b", "a"]


def test_no_output_takes_the_place_of_tables_or_pictures(put):
    dataset = opened(put("happy/a.png", classes_yaml="grin: happiness"))
    for file in (dataset.path / "classes.yaml", dataset.samples[0].location.path):
        with pytest.raises(ConfigError, match="is read here"):
            refuse_overwriting_data([file], dataset)


def test_pictures_alone_are_faces_without_labels(put):
    dataset = opened(put("a.png", "b.png"))
    assert [(s.id, s.split, sum(s.votes)) for s in dataset.samples] == [("a", "all", 0), ("b", "all", 0)]
    for rule in ("majority", "probability", "distribution"):
        assert label(dataset.samples, rule).excluded == {"unlabelled": 2}
    assert opened(put("train/c.png", "train/d.png")).split("train")[0].votes == (0,) * 10


def test_evaluating_unlabelled_faces_is_refused(put, tmp_path):
    dataset = opened(put("a.png", "b.png"))
    answers = tmp_path / "answers.csv"
    answers.write_text("id,expression\na,fear\nb,fear\n")
    with pytest.raises(DataError, match="faces, split all: none of the 2 faces has a label"):
        evaluate(dataset, "all", PredictionsFile(answers))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_table_names_pictures_labels_splits_and_ids(put, form):
    rows = [("x/1.png", "joy", "training", ""), ("x/2.png", "", "val", "two")]
    keys = ("Path", "Label", "Split", "ID")
    csv = "".join(",".join(row) + "\n" for row in (keys, *rows))
    jsonl = "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows)
    folder = put("x/1.png", "x/2.png", table_csv=csv, table_jsonl=jsonl + '{"path": "x/3')
    dataset = opened(folder / f"table.{form}")
    assert seen(dataset) == {"1": ("train", "happiness"), "two": ("valid", None)}
    assert stack_faces(dataset, dataset.samples).shape == (2, 8, 8, 1)
    torn = f"{folder / 'table.jsonl'}:3: this last line is torn and dropped"
    assert dataset.surprises == ((torn,) if form == "jsonl" else ())


def test_faces_of_any_sizes_are_evaluated_each_as_it_is(tmp_path):
    sides = {"a": 8, "b": 12, "c": 8, "d": 10}
    for name, side in sides.items():
        (tmp_path / "faces" / "fear").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side + 1, side), (side, 0, 0)).save(tmp_path / "faces" / "fear" / f"{name}.png")
    dataset = opened(tmp_path / "faces")

    class Sizes:
        description: ClassVar = {}

        def __call__(self, faces, ids):
            assert (faces[..., 0] == faces.shape[1]).all() and faces.shape[2] == faces.shape[1] + 1
            assert {sides[name] for name in ids} == {faces.shape[1]}
            return Prediction(np.full((len(ids), 8), faces.shape[1] / 100))

    found = Model(Sizes()).answers(dataset, dataset.samples)
    assert found.ids == tuple(sides)
    assert found.prediction.probabilities[:, 0].tolist() == [side / 100 for side in sides.values()]
    assert dataset.origin == "folder:faces"
    prepare(dataset, tmp_path / "m.jsonl", 8, 3)
    assert open_dataset(f"manifest:{tmp_path / 'm.jsonl'}").origin == "folder:faces"
    Image.new("RGB", (2000, 1000)).save(tmp_path / "faces" / "fear" / "b.png")
    assert read_face(dataset, dataset.samples[1]).shape == (362, 724, 3)  # so that many photos fit into memory
    (tmp_path / "faces" / "fear" / "b.png").write_bytes(b"")
    found = Model(Sizes()).answers(dataset, dataset.samples)
    assert found.ids == ("a", "c", "d") and list(found.unreadable) == ["b"]


def test_the_table_of_classes_can_be_edited(put):
    dataset = opened(put("grin/a.png", "0/b.png", "blurred/c.png", classes_yaml="Grin: joy\n0: anger\nblurred: ignore"))
    assert seen(dataset) == {"a": ("all", "happiness"), "b": ("all", "anger")}
    assert dataset.surprises[0].endswith("classes.yaml: 1 faces of 'blurred' are left out")


def test_an_unmatched_class_is_an_error_that_shows_the_table(put):
    with pytest.raises(DataError) as caught:
        opened(put("happy/a.png", "bored/b.png", "bored/c.png"))
    message = str(caught.value)
    assert "'bored' (2 faces)" in message and "  happiness: happiness, happy, joy\n" in message
    assert "classes.yaml, a line each, as in `bored: neutral` or `bored: ignore`" in message


def test_files_of_one_name_get_ids_from_their_folders(put):
    dataset = opened(put("train/happy/1.png", "train/sad/1.png", "test/sad/1.png"))
    assert [s.id for s in dataset.samples] == ["train__happy__1", "train__sad__1", "test__sad__1"]


def test_files_that_differ_in_their_ending_alone_get_ids_with_it(put):
    dataset = opened(put("a.png", "a.tif", "b.png"))
    assert [sample.id for sample in dataset.samples] == ["a__png", "a__tif", "b"]
    assert [face_id(sample.id) for sample in dataset.samples] == ["a__png", "a__tif", "b"]


def test_a_name_that_is_no_text_gives_an_id_that_is(put, tmp_path):
    dataset = opened(put(os.fsdecode(b"happy/caf\xe9.png"), "happy/b.png"))
    assert [s.id for s in dataset.samples] == ["b", "caf&#56553;"]
    answers = tmp_path / "answers.csv"
    answers.write_text("id,expression\ncaf&#56553;,happiness\nb,sadness\n", encoding="utf-8")
    found = evaluate(dataset, "all", PredictionsFile(answers), "majority", replicates=1)
    write_predictions(found, tmp_path / "out.csv")
    assert "caf&#56553;" in (tmp_path / "out.csv").read_text()


def test_what_is_left_out_is_told(put):
    folder = put("train/happy/a.png", "train/loose.png", "beside.png", "extra/happy/b.png", "train/sad/.hidden.png")
    surprises = "\n".join(opened(folder).surprises)
    assert "no split: " in surprises and "extra" in surprises
    assert "no folder of a class: " in surprises and "train/loose.png" in surprises
    assert f"{folder}: left out, for they are in no split: {folder / 'beside.png'}" in surprises


def test_a_table_names_the_split_of_all_rows_or_of_none(put):
    path = put("a.png", "b.png", t_csv="image,expression,split\na.png,happy,train\nb.png,sad,\n")
    with pytest.raises(DataError, match=r"t\.csv: 1 of 2 rows name no split: .*t\.csv:3"):
        opened(path / "t.csv")


def test_links_to_folders_and_folders_out_of_reach_are_told(put, tmp_path, monkeypatch):
    path = put("happy/a.png", "sad/b.png", "sad/c/d.png")
    (path / "happy" / "more").symlink_to(path / "sad")
    assert opened(path).surprises == (f"{path / 'happy' / 'more'}: left out, for it is a link to a folder",)
    (path / "happy" / "more").unlink()
    scan = os.scandir
    denied = PermissionError(13, "Permission denied", str(path / "sad" / "c"))

    def scandir(folder):
        if Path(folder).name == "c":
            raise denied
        return scan(folder)

    monkeypatch.setattr("os.scandir", scandir)
    dataset = opened(path)
    assert dataset.surprises == (f"{path / 'sad' / 'c'}: Permission denied",)
    assert len(dataset.samples) == 2


def test_refusals_name_what_is_wrong(put, tmp_path):
    table = "image,expression\nx/1.png,sad\nx/gone.png,sad\n"
    folder = put("x/1.png", a_csv=table, b_csv="face,expression\n", c_csv="image\n1,2\n", d_jsonl='{"label": "sad"}\n')
    for name, message in {
        "a.csv": r"1 of 2 pictures are missing: x/gone.png \(.*a.csv:3\)",
        "b.csv": r"b.csv:1: no column is called image or path",
        "c.csv": r"c.csv:2: expected 1 columns",
        "d.jsonl": r"d.jsonl:1: expected a picture under image",
        "gone": r"gone: no such folder or table; expected one of",
    }.items():
        with pytest.raises(DataError, match=message):
            opened(folder / name)
    with pytest.raises(DataError, match="faces: every face is left out, because its class is ignored: x"):
        opened(put("x/1.png", classes_yaml="x: ignore"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no pictures here; expected one of"):
        opened(tmp_path / "empty")


@pytest.mark.parametrize("given", ["p1/1", "1.png", "p1\\1"])
def test_an_id_that_is_written_as_a_file_is_refused(put, given):
    folder = put("x/1.png", t_csv=f"image,id\nx/1.png,{given}\n")
    with pytest.raises(DataError, match=r"t.csv:2: expected an id without folders and without the ending .*; where it"):
        opened(folder / "t.csv")


def test_ids_that_a_table_gives_stay_and_are_found_in_our_own_predictions(put, tmp_path):
    rows = "image,id,class\nx/1.png,{},joy\ny/1.png,{},sad\n"
    for ids, expected in ((("p 1", "1"), ["1", "p 1"]), (("", "1"), ["1", "x__1"]), (("", ""), ["x__1", "y__1"])):
        dataset = opened(put("x/1.png", "y/1.png", t_csv=rows.format(*ids)) / "t.csv")
        assert [s.id for s in dataset.samples] == expected
        answers = tmp_path / "answers.csv"
        answers.write_text("id,expression\n" + "".join(f"{name},happiness\n" for name in expected))
        assert len(PredictionsFile(answers).answers(dataset, dataset.samples).ids) == 2


def test_two_pictures_with_one_id_are_refused(put):
    with pytest.raises(DataError, match="another face has the id 'happy__a__png'"):
        opened(put("happy/a.png", "happy/a.jpg", "happy/a__png.jpg"))
    with pytest.raises(DataError, match="the same split: val, valid"):
        opened(put("val/sad/1.png", "valid/sad/2.png"))


def test_a_wrong_table_of_classes_is_refused(put):
    with pytest.raises(DataError, match=r"classes.yaml: grin: no expression is called 'glee'"):
        opened(put("grin/a.png", classes_yaml="grin: glee"))
    with pytest.raises(ConfigError, match=r"classes.yaml: expected settings as 'key: value' lines"):
        opened(put(classes_yaml="- grin"))


def test_grey_and_colour_pictures_of_any_size_are_stacked(put):
    folder = put("happy/a.png")
    Image.fromarray(np.zeros((9, 5), dtype=np.uint8)).save(folder / "happy" / "b.png")
    dataset = opened(folder)
    assert stack_faces(dataset, dataset.samples, 3, 6).shape == (2, 6, 6, 3)
