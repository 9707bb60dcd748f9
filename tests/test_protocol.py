"""The protocol of a report: what it names, what it stamps, and which published figures it lets stand beside."""

import numpy as np
import pytest

from layouts import AFFECTNET, RAFDB, flat, write_affectnet, write_rafdb
from ranfer.data import open_dataset
from ranfer.data.face_lists import read_list
from ranfer.evaluate import evaluate
from ranfer.protocol import LISTS, UNKNOWN, ids_hash, protocol
from ranfer.vocab import Prediction


class Neutral:
    """Sees a neutral face everywhere."""

    def __init__(self, **training):
        self.description = {"training": training} if training else {}

    def __call__(self, faces, ids):
        return Prediction(np.tile(np.eye(8)[0], (len(ids), 1)))


TRAINING = {
    "dataset": "rafdb",
    "split": "train",
    "faces": 12271,
    "label_rule": "distribution",
    "sampling": "each face once an epoch",
    "epoch_chosen_on": "0.1 of train, held out",
    "pre_training": None,
    "drawn_over": 0.2,
    "teachers": ["a/best.safetensors"],
}


@pytest.fixture(scope="module")
def rafdb(tmp_path_factory):
    faces = {f"{split}_{n:04d}": RAFDB[n % 7] for split in ("train", "test") for n in range(1, 15)}
    return open_dataset(f"rafdb:{write_rafdb(tmp_path_factory.mktemp('data') / 'basic', faces)}")


def evaluated(dataset, split, model, **options):
    return protocol(evaluate(dataset, split, model, replicates=10, **options))


def test_a_report_names_all_that_its_figure_depends_on(rafdb):
    found = evaluated(rafdb, "test", Neutral(**TRAINING))
    assert (found.label_rule, found.n, len(found.classes)) == ("majority", 14, 7)
    assert found.trained_on == "rafdb train, 12271 faces by the rule distribution, each face once an epoch"
    assert (found.epoch_chosen_on, found.pre_training) == ("0.1 of train, held out", "none")
    assert (found.drawn_over_in_training, found.teachers) == ("20 % of the faces", "a/best.safetensors")
    assert found.stamps == () and found.test_time_augmentation.startswith("none")
    views = Neutral(**TRAINING)
    views.description["views"] = 2
    assert evaluated(rafdb, "test", views).test_time_augmentation == "the mean over each face and its mirror image"
    views.description["views"] = 6
    assert evaluated(rafdb, "test", views).test_time_augmentation == (
        "the mean over each face and its mirror image, and both rotated by 8 degrees either way, "
        "except faces of which the first two views are sure"
    )
    views.description["mean_of"] = ["a/best.safetensors", "b/best.safetensors"]
    mean = "; its weights are the mean of those of a/best.safetensors, b/best.safetensors"
    assert evaluated(rafdb, "test", views).trained_on == found.trained_on + mean
    text = found.to_markdown()
    assert "- n: 14" in text and "- classes: 7 (neutral, happiness" in text


def test_what_a_model_file_does_not_record_is_said_to_be_unknown(rafdb):
    found = evaluated(rafdb, "test", Neutral())
    assert found.trained_on == found.epoch_chosen_on == found.pre_training == found.drawn_over_in_training == UNKNOWN


@pytest.mark.parametrize(
    ("change", "split", "stamp"),
    [
        ({"split": "valid+train"}, "train", "was trained on faces of train; "),
        ({"split": "x", "known": ["rafdb x", "rafdb train"]}, "train", "was trained on faces of train; "),
        ({"epoch_chosen_on": "test"}, "test", "chosen on the test split"),
        ({"epoch_chosen_on": "test; valid"}, "test", "chosen on the test split"),
        ({"split": "x", "epoch_chosen_on": "train"}, "train", "chosen on these same faces"),
        ({}, "train", "was trained on faces of train; "),
    ],
)
def test_what_inflates_a_figure_is_stamped(rafdb, change, split, stamp):
    model = Neutral(**{**TRAINING, **change})
    (found,) = evaluated(rafdb, split, model).stamps
    assert found.startswith("The ") and stamp in found
    (found,) = evaluated(rafdb, split, Neutral(), against=model).stamps
    assert "The other model" in found or "of the other model was" in found
    assert stamp in found


def test_a_test_split_of_another_size_is_compared_with_nothing(rafdb):
    (line,) = evaluated(rafdb, "test", Neutral()).comparable["test"]
    assert line == "not comparable as it is: published figures are of 3,068 faces, this one of 14"
    assert evaluated(rafdb, "train", Neutral()).comparable["train"] == ("none is known of rafdb train as a whole",)


def test_published_lists_are_known_by_their_faces_and_all_their_faces_are_needed(real_data, tmp_path):
    faces = read_list(real_data / "ran_lists" / "affectnet_occlusion.txt")
    assert LISTS[ids_hash(faces)].dataset == "affectnet" and LISTS[ids_hash(faces)].faces == len(faces.entries)
    codes = {entry.id: AFFECTNET.index(entry.expression) for entry in faces.entries}
    dataset = open_dataset(f"affectnet:{write_affectnet(tmp_path / 'a', {}, codes, flat)}")
    (line,) = evaluated(dataset, "test", Neutral(), subsets={"covered": faces}).comparable["covered"]
    assert line.startswith("58.50 % by Wang et al. 2020 (RAN): ResNet-18, pre-trained")
    known = [read_list(file) for file in sorted((real_data / "ran_lists").glob("*.txt")) if "label" not in file.name]
    assert {ids_hash(faces) for faces in known} > LISTS.keys()
