"""Drawn faces and datasets of them."""

import numpy as np
import pytest

from ranfer.data import open_dataset
from ranfer.data.drawing import draw_face
from ranfer.data.drawn import _draw_faces, write_ferplus
from ranfer.data.face_lists import read_list, resolve
from ranfer.data.labels import label
from ranfer.errors import DataError
from ranfer.vocab import Expression, Occlusion

COVERS = [Occlusion.UPPER, Occlusion.LOWER, Occlusion.SIDE, Occlusion.EYEWEAR]


def draw(expression=Expression.FEAR, seed=0, **options):
    return draw_face(expression, np.random.default_rng(seed), **options)


def test_a_seed_draws_one_face_and_another_seed_another():
    assert np.array_equal(draw(seed=3), draw(seed=3))
    assert not np.array_equal(draw(seed=3), draw(seed=4))


def test_expressions_differ_where_faces_show_them():
    # Drawn with the same dice, the background stays and the features change.
    faces = [draw(expression, seed=5, size=96) for expression in Expression]
    for i, one in enumerate(faces):
        for other in faces[:i]:
            changed = np.abs(one.astype(int) - other).max(axis=2) > 40
            assert changed[30:90, 20:80].sum() > 40
            assert not changed[:12, :12].any()


@pytest.mark.parametrize(
    ("occlusion", "rows", "columns"),
    [
        (Occlusion.UPPER, slice(10, 45), slice(25, 70)),
        (Occlusion.LOWER, slice(55, 85), slice(30, 65)),
        (Occlusion.EYEWEAR, slice(35, 55), slice(25, 70)),
    ],
)
def test_a_cover_changes_its_part_of_the_face_most(occlusion, rows, columns):
    # Noise and light are drawn after the cover, so faces are averaged over many dice before they are compared.
    bare = np.mean([draw(seed=s, size=96) for s in range(30)], axis=0)
    covered = np.mean([draw(seed=s, size=96, occlusion=occlusion) for s in range(30)], axis=0)
    change = np.abs(covered - bare).mean(axis=2)
    assert change[rows, columns].mean() > 2 * change.mean()


def test_yaw_to_the_right_moves_the_features_to_the_right():
    mouths = []
    for yaw in (-40.0, 0.0, 40.0):
        happy = np.stack([draw(Expression.HAPPINESS, s, size=96, yaw=yaw) for s in range(30)]).astype(float)
        plain = np.stack([draw(Expression.NEUTRAL, s, size=96, yaw=yaw) for s in range(30)]).astype(float)
        change = np.abs(happy - plain).mean(axis=(0, 3))[60:90].sum(axis=0)
        mouths.append((change * np.arange(96)).sum() / change.sum())
    assert mouths[0] + 8 < mouths[1] < mouths[2] - 8


def test_the_three_forms_hold_the_same_faces(tmp_path):
    opened = []
    for form in ("folder", "zip", "csv"):
        drawn = write_ferplus(tmp_path / form, {"train": 17, "valid": 9, "test": 10}, seed=1, form=form)
        opened.append(open_dataset(f"ferplus:{drawn.data}"))
        assert not opened[-1].surprises
    for other in opened[1:]:
        for one, two in zip(opened[0].samples, other.samples, strict=True):
            assert (one.id, one.split, one.votes) == (two.id, two.split, two.votes)
            assert np.array_equal(opened[0].image(one), other.image(two))


def test_most_drawn_faces_have_the_majority_that_was_drawn_and_some_have_none(tmp_path):
    drawn = write_ferplus(tmp_path / "d", {"train": 240}, seed=2)
    labels = label(open_dataset(f"ferplus:{drawn.data}").samples, "majority")
    assert 0.75 < labels.kept.mean() < 1
    meant = np.arange(240) % 8
    assert (labels.expressions == meant)[labels.kept].mean() > 0.9


def test_the_lists_name_covered_and_turned_faces_of_the_last_split(tmp_path):
    drawn = write_ferplus(tmp_path / "d", {"train": 16, "test": 96}, seed=3, form="zip")
    ids = [sample.id for sample in open_dataset(f"ferplus:{drawn.data}").split("test")]
    covered, turned = read_list(drawn.occlusion), read_list(drawn.pose)
    assert (len(resolve(covered, ids)), len(resolve(turned, ids))) == (13, 14)
    faces = [face for face in _draw_faces({"train": 16, "test": 96}, np.random.default_rng(3)) if face.split == "test"]
    assert {entry.id: entry.occlusion for entry in covered.entries} == {
        f.name: f.occlusion for f in faces if f.occlusion
    }
    assert [entry.id for entry in turned.entries] == [f.name for f in faces if abs(f.yaw) >= 30]
    assert len({entry.occlusion for entry in covered.entries}) > 1


def test_a_folder_that_is_there_is_never_overwritten(tmp_path):
    with pytest.raises(DataError, match="is there already"):
        write_ferplus(tmp_path, {"train": 1})


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyError):
        write_ferplus(tmp_path / "d", {"nonsense": 1})
    assert not list(tmp_path.iterdir())
