"""The signs and units of a pose, on a turned 3-D head model."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from heads import turn

# A head that faces the viewer: x to the right, y down, z away. Eyes, nose tip, mouth corners, ears, chin, crown.
HEAD = np.array(
    [
        *[(-0.3, -0.3, -0.6), (0.3, -0.3, -0.6), (0, 0, -1), (-0.25, 0.4, -0.6), (0.25, 0.4, -0.6)],
        *[(-0.8, 0, 0.2), (0.8, 0, 0.2), (0, 0.9, -0.4), (0, -1, 0)],
    ]
)
NOSE, LEFT_EAR, RIGHT_EAR, CROWN = 2, 5, 6, 8


@pytest.fixture(scope="module")
def teacher():
    path = Path(__file__).parents[1] / "scripts" / "teach_pose.py"
    spec = importlib.util.spec_from_file_location("teach_pose", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mediapipe", ModuleType("mediapipe"))  # lives in an environment of its own
        spec.loader.exec_module(module)
    return module


def turned(yaw=0.0, pitch=0.0, roll=0.0):
    return turn(HEAD, yaw, pitch, roll)


def pose_of(teacher, head):
    shapes = head[None] - head.mean(axis=0)
    template = HEAD - HEAD.mean(axis=0)
    return teacher.angles(teacher.rotations(shapes, template))[0]


def test_the_head_model_turns_as_its_words_say():
    assert turned(yaw=30)[NOSE, 0] > 0.4  # the nose points to the right edge of the picture
    assert turned(pitch=30)[NOSE, 1] < -0.4  # the nose rises: y counts down
    assert turned(roll=30)[CROWN, 0] > 0.4  # the crown leans to the right: clockwise


@pytest.mark.parametrize(
    "pose", [(0, 0, 0), (30, 0, 0), (-75, 0, 0), (0, 20, 0), (0, -40, 0), (0, 0, 25), (35, -20, -50)]
)
def test_the_pose_of_a_turned_head_is_told_in_degrees(teacher, pose):
    np.testing.assert_allclose(pose_of(teacher, turned(*pose)), pose, atol=1e-6)


def test_size_and_place_of_a_head_do_not_matter(teacher):
    moved = 3 * turned(20, 10, -5) + (4, 5, 6)
    np.testing.assert_allclose(pose_of(teacher, moved), (20, 10, -5), atol=1e-6)


def test_the_mean_shape_of_turned_heads_is_the_head(teacher):
    poses = np.random.default_rng(0).normal(0, 15, (200, 3))
    mean = teacher.mean_shape(np.array([turned(*pose) for pose in poses]))
    template = HEAD - HEAD.mean(axis=0)
    template /= np.linalg.norm(template)
    back = teacher.rotations(mean[None], template)[0]
    np.testing.assert_allclose(mean, template @ back.T, atol=1e-6)
