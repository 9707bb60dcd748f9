"""AffectNet in both of its releases, with drawn faces, and SFEW; the published lists against faces of their ids."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from layouts import SFEW, flat, write_affectnet, write_numbered_affectnet, write_sfew
from ranfer.data import open_dataset
from ranfer.data.check import check
from ranfer.data.dataset import refuse_overwriting_data, stack_faces
from ranfer.data.face_lists import compare, read_list, resolve
from ranfer.data.labels import label
from ranfer.data.subset_files import write_coco
from ranfer.data.subsets import LabelledFace
from ranfer.errors import ConfigError, DataError
from ranfer.faces.align import find_frame
from ranfer.faces.detection import Detection
from ranfer.training_record import has_learnt
from ranfer.vocab import Attributes, Expression

AFFECTNET = ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
POINTS = ((20.0, 30.0), (40.0, 30.0), (30.0, 40.0), (22.0, 50.0), (38.0, 50.0))
TRAIN = {f"{n:056x}": n for n in range(11)}
TEST = {f"{n + 100:056x}": n for n in range(8)}


@pytest.fixture
def original(tmp_path):
    return write_affectnet(tmp_path / "affectnet", TRAIN, TEST)


def names(dataset):
    found = label(dataset.samples, "majority").expressions
    return {s.id: str(list(Expression)[e]) for s, e in zip(dataset.samples, found, strict=True)}


def test_the_validation_faces_are_the_test_and_codes_from_8_on_are_left_out(original):
    dataset = open_dataset(f"affectnet:{original}")
    assert dataset.splits == ("train", "test") and len(dataset.split("train")) == 8
    assert names(dataset) == {h: AFFECTNET[c] for h, c in (TRAIN | TEST).items() if c < 8}
    assert sum("faces of code" in surprise for surprise in dataset.surprises) == 3
    assert dataset.samples[0].codes == {"valence": 0.25, "arousal": -0.5}


def test_a_face_is_cropped_by_its_box(original):
    dataset = open_dataset(f"affectnet:{original}")
    face = dataset.image(dataset.samples[0])
    assert dataset.samples[0].box == (10, 20, 58, 68) and face.shape == (48, 48, 3)
    assert face[0].mean() > 20  # not of the black margin


def test_a_box_in_its_picture_is_exported_as_coco(original, tmp_path):
    dataset = open_dataset(f"affectnet:{original}")
    faces = [LabelledFace(sample, None, Attributes({})) for sample in dataset.samples[:2]]
    faces[1] = faces[1]._replace(sample=replace(faces[1].sample, box=None, landmarks=POINTS))
    write_coco(dataset, faces, [], tmp_path / "coco.json")
    told = json.loads((tmp_path / "coco.json").read_text())
    assert [told["images"][0][name] for name in ("width", "height")] == [63, 73]
    assert told["annotations"][0]["bbox"] == [10, 20, 48, 48] and told["annotations"][0]["area"] == 48 * 48
    framed = find_frame(Detection((0.0, 0.0, 0.0, 0.0), 1.0, np.array(faces[1].sample.landmarks)))
    left, top, width, height = told["annotations"][1]["bbox"]
    assert left == pytest.approx(max(framed.x - framed.side / 2, 0), abs=0.51) and left + width <= 63
    assert top + height <= 73
    faces[1] = faces[1]._replace(sample=replace(faces[0].sample, box=(70.0, 0.0, 90.0, 20.0)))
    (left_out,) = write_coco(dataset, [faces[1], faces[0]], [], tmp_path / "coco.json")
    assert f"{faces[0].sample.id} is left out: " in left_out and "lies outside of the 63x73 picture" in left_out
    told = json.loads((tmp_path / "coco.json").read_text())
    assert [image["id"] for image in told["images"]] == [told["annotations"][0]["image_id"]] == [1]


def test_a_box_outside_of_the_picture_is_an_unreadable_face(original):
    table = original / "validation.csv"
    table.write_text(table.read_text().replace(",10,20,", ",500,20,", 1))
    report = check(open_dataset(f"affectnet:{original}"))
    assert len(report.unreadable) == 1 and "lies outside of the 63x73 picture" in report.unreadable[0]


def test_seven_classes_leave_contempt_out(original):
    dataset = open_dataset(f"affectnet7:{original}")
    assert "contempt" not in names(dataset).values() and len(dataset.samples) == 14
    assert dataset.published["test"].faces == 3500 and dataset.published["train"].faces == 283_901
    assert dataset.surprises[-1].endswith("2 faces of contempt are left out")
    assert has_learnt({"training": {"dataset": "affectnet", "split": "train"}}, dataset.origin, "train")


def test_numbered_faces_are_read_and_lists_by_hash_are_said_not_to_apply(tmp_path):
    root = write_numbered_affectnet(tmp_path / "later", {0: 1, 5: 7}, {0: 3, 2: 6})
    dataset = open_dataset(f"affectnet:{root}")
    assert names(dataset) == {"train_0": "happiness", "train_5": "contempt", "val_0": "surprise", "val_2": "anger"}
    assert "published hash names" in dataset.surprises[0]
    listed = tmp_path / "list.txt"
    listed.write_text(f"0/{1:056x}.jpg\n")
    with pytest.raises(DataError, match=r"1 of 1 faces are not in the data: .* ids of the data are such as train_0"):
        resolve(read_list(listed), [sample.id for sample in dataset.samples])


def test_annotations_are_never_unpickled(tmp_path):
    root = write_numbered_affectnet(tmp_path / "later", {0: 1}, {0: 2})
    file = root / "train_set" / "annotations" / "0_exp.npy"
    np.save(file, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"0_exp.npy: not a readable NumPy file"):
        open_dataset(f"affectnet:{root}")
    file.write_bytes(pickle.dumps(1))
    with pytest.raises(DataError, match=r"0_exp.npy: not a readable NumPy file"):
        open_dataset(f"affectnet:{root}")


def test_no_output_takes_the_place_of_tables_or_pictures(original):
    dataset = open_dataset(f"affectnet:{original}")
    for file in (original / "training.csv", original / "validation.csv", dataset.samples[0].location.path):
        with pytest.raises(ConfigError, match="is read here"):
            refuse_overwriting_data([file], dataset)


@pytest.mark.parametrize("value", ["much", np.nan])
def test_an_annotation_that_is_no_number_is_named(tmp_path, value):
    root = write_numbered_affectnet(tmp_path / "later", {0: 1}, {0: 2})
    np.save(root / "train_set" / "annotations" / "0_val.npy", np.array(value))
    with pytest.raises(DataError, match=r"0_val.npy: expected a number"):
        open_dataset(f"affectnet:{root}")


def test_refusals_name_what_is_wrong(original, tmp_path):
    table = original / "training.csv"
    good = table.read_text()
    for text, message in {
        good.replace(",10,20,", ",ten,20,", 1): r"training.csv:2: expected numbers in the columns of the box",
        good.replace(",10,20,", ",nan,20,", 1): r"training.csv:2: expected numbers in the columns of the box",
        good + "1/x.jpg,1,2\n": r"training.csv:13: expected 9 columns",
        good.replace(",0,0.25,", ",11,0.25,", 1): r"training.csv:2: expected an expression code from 0 to 10, got '11'",
        good.replace("1/", "9/", 1): r"1 pictures that training.csv lists are missing: 9/0+.jpg .*move training.csv",
    }.items():
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            open_dataset(f"affectnet:{original}")
    with pytest.raises(DataError, match=r"gone: no AffectNet here; expected AffectNet in one of two forms"):
        open_dataset(f"affectnet:{tmp_path / 'gone'}")


def test_the_published_lists_resolve(real_data, tmp_path):
    lists = [read_list(real_data / "ran_lists" / f"affectnet_{n}.txt") for n in ("occlusion", "pose_30", "pose_45")]
    faces = {e.id: AFFECTNET.index(e.expression) for faces in lists for e in faces.entries}
    dataset = open_dataset(f"affectnet:{write_affectnet(tmp_path / 'a', {}, faces, flat)}")
    ids, labels = [sample.id for sample in dataset.samples], label(dataset.samples, "majority")
    for listed in lists:
        agreement = compare(listed, resolve(listed, ids), labels)
        assert sum(agreement) == len(listed.entries) and agreement.excluded == 0


def test_sfew_is_stills_by_class_and_split(tmp_path):
    dataset = open_dataset(f"sfew:{write_sfew(tmp_path / 'sfew', 1)}")
    assert dataset.splits == ("train", "valid") and len(dataset.split("valid")) == len(SFEW) == 7
    assert dataset.published["train"].faces == 958
    assert names(dataset)["Film_Val_Sad_000"] == "sadness"
    with pytest.raises(DataError, match=r"film stills, whose faces must be found first: ranfer data prepare sfew:"):
        stack_faces(dataset, dataset.samples)
    with pytest.raises(DataError, match=r"gone: no SFEW here; expected SFEW 2.0"):
        open_dataset(f"sfew:{tmp_path / 'gone'}")
