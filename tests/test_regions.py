"""Where the regions of a face lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranfer.config import RegionsConfig
from ranfer.errors import ConfigError
from ranfer.regions import FACE, fixed_regions, landmark_regions, names, random_regions, regions_of

FACES = ["fer0000001", "fer0000002", "fer0000003"]


def test_the_five_fixed_crops_are_the_published_ones_and_the_face_comes_first():
    expected = [
        (0, 0, 1, 1),
        (0, 0, 0.75, 0.75),
        (0.25, 0, 1, 0.75),
        (0.125, 0.25, 0.875, 1),
        (0.05, 0.05, 0.95, 0.95),
        (0.075, 0.075, 0.925, 0.925),
    ]
    np.testing.assert_allclose(fixed_regions(RegionsConfig(scheme="fixed5")), expected)


def test_the_seven_fixed_crops_have_the_eighty_percent_centre_and_two_more():
    boxes = fixed_regions(RegionsConfig(scheme="fixed7"))
    assert boxes.shape == (8, 4)
    np.testing.assert_allclose(boxes[5:], [(0.1, 0.1, 0.9, 0.9), (0.125,) * 2 + (0.875,) * 2, (0.125, 0, 0.875, 0.75)])


@given(st.integers(1, 12), st.integers(0, 2**31), st.floats(0.1, 0.9))
def test_random_crops_are_squares_inside_the_face_of_the_asked_sides(count, seed, least):
    boxes = random_regions(FACES, count, seed, (least, 0.95))
    assert boxes.shape == (3, count + 1, 4)
    assert (boxes[:, 0] == np.float32(FACE)).all()
    sides = boxes[:, 1:, 2:] - boxes[:, 1:, :2]
    np.testing.assert_allclose(sides[..., 0], sides[..., 1], atol=1e-6)
    assert sides.min() >= least - 1e-6
    assert sides.max() <= 0.95 + 1e-6
    assert boxes.min() >= 0
    assert boxes.max() <= 1 + 1e-6


def test_random_crops_follow_the_seed_and_the_face_and_not_the_batch():
    together = random_regions(FACES, 4, seed=7)
    np.testing.assert_array_equal(random_regions(FACES[2:], 4, seed=7)[0], together[2])
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(random_regions(FACES, 4, seed=8), together)


def test_landmark_crops_are_centred_on_their_points_one_set_a_radius():
    points = np.array([[(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]], dtype=np.float32)
    boxes, mask = landmark_regions(points, [0.1, 0.2])
    assert boxes.shape == (1, 11, 4)
    assert mask.all()
    np.testing.assert_allclose(boxes[0, 1], (0.2, 0.3, 0.4, 0.5), atol=1e-6)
    np.testing.assert_allclose(boxes[0, 6], (0.1, 0.2, 0.5, 0.6), atol=1e-6)
    np.testing.assert_allclose((boxes[0, 1:, :2] + boxes[0, 1:, 2:]) / 2, np.tile(points[0], (2, 1)), atol=1e-6)


def test_an_unknown_point_makes_its_regions_absent_and_leaves_the_face():
    points = np.full((2, 5, 2), 0.5, dtype=np.float32)
    points[1, 2] = np.nan
    boxes, mask = landmark_regions(points, [0.1, 0.2])
    assert mask[0].all()
    assert mask[1].tolist() == [i not in (3, 8) for i in range(11)]
    assert np.isfinite(boxes).all()


@pytest.mark.parametrize("scheme", ["none", "fixed5", "fixed7", "random"])
def test_every_scheme_names_as_many_regions_as_it_gives(scheme):
    config = RegionsConfig(scheme=scheme, count=3)
    boxes, mask = regions_of(config, FACES)
    assert len(names(config)) == boxes.shape[1]
    assert mask is None


def test_landmark_regions_without_points_are_refused():
    config = RegionsConfig(scheme="landmark", radii=(0.2, 0.3))
    with pytest.raises(ConfigError, match="five points"):
        regions_of(config, FACES)
    boxes, _ = regions_of(config, FACES, np.full((3, 5, 2), 0.5, dtype=np.float32))
    assert len(names(config)) == boxes.shape[1] == 11
