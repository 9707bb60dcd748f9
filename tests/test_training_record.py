"""What a model has learnt, by its own description: written by a run, and read before anything is chosen on faces."""

import pytest

from ranfer.config import DataConfig, TrainConfig
from ranfer.training_record import (
    chosen_on,
    has_learnt,
    learnt_by,
    learnt_selection,
    record_of_mean,
    recorded,
    training_record,
)
from ranfer.vocab import Expression


def description(origin="ferplus", known=(), **data):
    config = TrainConfig.model_validate({"data": data, "loss": {"teachers": ["runs/a/best.safetensors"]}})
    return {"training": training_record(config, origin, 10, [Expression.FEAR], known)}


def test_a_run_records_what_it_learns():
    told = description(train="train+valid", valid=None, balanced=True, known=["affectnet train"])
    assert told["training"] == {
        "dataset": "ferplus",
        "split": "train+valid",
        "faces": 10,
        "classes": ["fear"],
        "label_rule": "distribution",
        "sampling": "balanced over expressions",
        "drawn_over": 0.0,
        "epoch_chosen_on": "none, the last",
        "pre_training": None,
        "teachers": ["a/best.safetensors"],
        "known": ["affectnet train"],
    }
    assert learnt_by(told) == ["affectnet train", "ferplus train", "ferplus valid"]
    assert has_learnt(told, "ferplus", "valid") and has_learnt(told, "affectnet", "train")
    assert not has_learnt(told, "ferplus", "test") and not has_learnt(told, "affectnet", "valid")


@pytest.mark.parametrize("training", [True, "step 5", {"dataset": "ferplus", "split": None}, {}, None])
def test_what_other_programs_say_of_their_training_is_nothing(training):
    told = {"training": training}
    assert not has_learnt(told, "ferplus", "valid")
    assert learnt_selection(told, "ferplus", DataConfig(valid=None)) == []
    assert isinstance(recorded(told), dict)


def test_held_out_faces_are_new_to_a_model_that_left_the_same_ones_out():
    data = DataConfig(held_out=0.2, fold=1)
    assert chosen_on(data) == "0.2 of train, held out, fold 1"
    assert learnt_selection(description(held_out=0.2, fold=1), "ferplus", data) == []
    assert learnt_selection(description(held_out=0.2), "ferplus", data) == ["ferplus train"]
    assert learnt_selection(description(), "ferplus", data) == ["ferplus train"]
    elsewhere = description("affectnet", known=["ferplus train"], held_out=0.2, fold=1)
    assert learnt_selection(elsewhere, "ferplus", data) == ["ferplus train"]


def test_a_mean_of_weights_owes_to_the_faces_of_all():
    test, held = description(valid="test", choose_on_test=True), description(train="train+valid", held_out=0.2)
    merged = record_of_mean([test, held])
    assert merged["split"] == "train+valid"
    assert merged["epoch_chosen_on"] == "test; 0.2 of train+valid, held out"
    data = DataConfig(train="train+valid", held_out=0.2)
    assert learnt_selection(held, "ferplus", data) == []
    assert learnt_selection({"training": merged}, "ferplus", data) == ["ferplus train", "ferplus valid"]
    assert learnt_by({"training": record_of_mean([held, {}])}) == ["ferplus train", "ferplus valid"]
    assert record_of_mean([{}, {}]) == {}
