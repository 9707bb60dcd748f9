"""The candidate network in MTCNN's cascade: its geometry, with a network that is told what to say, and the real one."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from skimage import data

from ranfer.errors import CheckpointError
from ranfer.faces.align import find_frame
from ranfer.faces.cascade import CANDIDATE_WEIGHTS, CONTEXT, SURE, Cascade, widened
from ranfer.faces.detection import Detection, same_face, shrink_to
from ranfer.faces.detectors import open_detector
from ranfer.faces.mtcnn import MTCNN
from ranfer.recognize import DEFAULT_WEIGHTS


@pytest.fixture(scope="module")
def first():
    return MTCNN(threads=1)


@pytest.fixture(scope="module")
def astronaut():
    return np.ascontiguousarray(data.astronaut())


class Network(onnxruntime.InferenceSession):
    """Says the same of every candidate, and remembers what it was shown."""

    def __init__(self, score, square=(0.0, 0.0, 0.0)):
        self.score, self.square, self.shown = score, square, []
        self.points = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0], [-0.1, 0.2], [0.1, 0.2]])

    def run(self, outputs, inputs):
        self.shown.append(inputs["pixels"])
        n = len(inputs["pixels"])
        square, points = (np.array(part, np.float32) for part in (self.square, self.points))
        return [np.full(n, self.score, np.float32), np.tile(square, (n, 1)), np.tile(points, (n, 1, 1))]


def look(first, network):
    found = Cascade(first, threads=1)
    found._network = network
    return found


def test_the_network_sees_squares_about_the_candidates():
    (square,) = widened(np.array([[10.0, 20.0, 30.0, 60.0]]))
    np.testing.assert_allclose(square, [20 - 20 * CONTEXT, 40 - 20 * CONTEXT, 20 + 20 * CONTEXT, 40 + 20 * CONTEXT])
    assert widened(np.empty((0, 4))).shape == (0, 4)


def test_frames_and_points_are_told_in_pixels_of_the_picture(first):
    side = 20 * CONTEXT  # what the network sees of the candidate: 26 pixels from 47 to 73
    picture = np.zeros((120, 120, 3), np.uint8)
    network = Network(SURE, (0.25, 0.0, np.log(0.5)))
    _, (face,) = look(first, network).score(picture, np.array([[50.0, 50.0, 70.0, 70.0]]))
    # The first time the frame lies a quarter of what is seen to the right, at half of its side: 13 pixels; seen again
    # with its surroundings, rounded to 17 whole pixels, it lies a quarter of these to the right again.
    assert [len(shown) for shown in network.shown] == [1, 1]
    centre = 60 + 0.25 * side
    left, top, right, bottom = face.box
    assert (left + right) / 2 == pytest.approx(centre + 0.25 * 17, abs=0.6)
    assert right - left == pytest.approx(17 / 2) == bottom - top
    assert (top + bottom) / 2 == pytest.approx(60, abs=0.6)
    np.testing.assert_allclose(face.landmarks[1] - face.landmarks[0], [0.4 * 17, 0], atol=1e-4)
    assert face.score == pytest.approx(SURE)


def test_only_hopeful_candidates_are_seen_again_and_only_sure_ones_are_faces(first):
    picture, candidates = np.zeros((90, 90, 3), np.uint8), np.array([[10.0, 10.0, 40.0, 40.0]])
    hopeless = Network(0.01)
    hopeful, faces = look(first, hopeless).score(picture, candidates)
    assert hopeful.tolist() == [False]
    assert faces == []
    assert [len(shown) for shown in hopeless.shown if len(shown)] == [1]
    hopeful, faces = look(first, Network(SURE - 0.001)).score(picture, candidates)
    assert hopeful.tolist() == [True]
    assert faces == []
    assert look(first, Network(SURE)).score(picture, np.empty((0, 4)))[1] == []


def test_candidates_of_one_place_are_one_face(first):
    candidates = np.array([[10.0, 10.0, 40.0, 40.0], [12.0, 12.0, 42.0, 42.0], [60.0, 60.0, 90.0, 90.0]])
    assert len(look(first, Network(SURE)).score(np.zeros((99, 99, 3), np.uint8), candidates)[1]) == 2


def test_a_frame_is_never_far_off_whatever_the_network_says(first):
    _, (face,) = look(first, Network(SURE, (50.0, -50.0, 50.0))).score(
        np.zeros((99, 99, 3), np.uint8), np.array([[30.0, 30.0, 60.0, 60.0]])
    )
    assert -99 < min(face.box) < max(face.box) < 199  # from a candidate of 30 pixels at 45


def test_faces_of_mtcnn_stay_as_they_are_and_come_first(first, astronaut, monkeypatch):
    (known,) = first(astronaut)
    left, top, right, bottom = known.box
    points = np.zeros((5, 2))
    same, other = (
        Detection(box, SURE, points) for box in ((left + 5, top + 5, right, bottom), (0.0, 300.0, 50.0, 350.0))
    )
    both = Cascade(first, threads=1)
    monkeypatch.setattr(both, "score", lambda image, candidates: (np.ones(len(candidates), bool), [same, other]))
    assert [face.box for face in both(astronaut)] == [known.box, other.box]
    turned = Detection(same.box, SURE)  # without points
    monkeypatch.setattr(both, "score", lambda image, candidates: (np.ones(len(candidates), bool), [turned, other]))
    assert [face.box for face in both(astronaut)] == [turned.box, other.box]


def test_mtcnn_verifies_only_hopeful_candidates(first, astronaut):
    assert len(look(first, Network(0.5))(astronaut)) == 1
    assert look(first, Network(0.01))(astronaut) == []


class Beyond(onnxruntime.InferenceSession):
    """Proposes every window, moved by so many of its sides to the right and down."""

    def __init__(self, moved):
        self.moved = moved

    def run(self, outputs, inputs):
        _, height, width, _ = inputs["pixels"].shape
        cells = ((height - 12) // 2 + 1, (width - 12) // 2 + 1)
        return [np.full((1, 4, *cells), self.moved, np.float32), np.full((1, *cells), 0.9, np.float32)]


@pytest.mark.parametrize("moved", [1.5, -1.5])
def test_candidates_beyond_the_picture_are_left_out(moved):
    detector = Cascade(MTCNN(threads=1), threads=1)
    detector._mtcnn._networks = detector._mtcnn._networks._replace(proposal=Beyond(moved))
    picture = np.full((60, 80, 3), 127, np.uint8)
    proposed = detector._mtcnn.propose(picture)
    assert (proposed[:, :2] < (80, 60)).all()
    assert (proposed[:, 2:] > 0).all()
    assert len(proposed) > 0
    hopeful, _ = detector.score(picture, proposed)
    assert len(hopeful) == len(proposed)
    assert detector(picture) == []


def test_points_of_a_turned_face_are_not_told(first):
    picture, candidates = np.zeros((90, 90, 3), np.uint8), np.array([[30.0, 30.0, 60.0, 60.0]])
    for narrowed, told in ((1.0, True), (0.5, False)):
        network = Network(SURE)
        network.points = network.points * (narrowed, 1)
        _, (face,) = look(first, network).score(picture, candidates)
        assert (face.landmarks is not None) == told


def test_a_large_picture_is_searched_smaller_and_told_in_its_own_pixels(astronaut):
    smaller = MTCNN(max_pixels=astronaut.shape[0] * astronaut.shape[1] // 4, threads=1)
    detector = Cascade(smaller, threads=1)
    small, zoom = shrink_to(astronaut, smaller.max_pixels)
    _, (face,) = detector.score(small, smaller.propose(small))
    np.testing.assert_allclose(zoom, 2)
    detector._mtcnn = type("Blind", (MTCNN,), {"verify": lambda self, image, candidates: []})(
        max_pixels=smaller.max_pixels, threads=1
    )
    (told,) = detector(astronaut)
    np.testing.assert_allclose(told.box, 2 * np.array(face.box))
    np.testing.assert_allclose(told.landmarks, 2 * face.landmarks)


@pytest.mark.parametrize("shape", [(0, 0), (0, 9), (1, 1), (11, 11), (12, 12), (20, 300)])
def test_a_picture_too_small_for_a_face_has_none(shape):
    assert open_detector("ranfer", 1)(np.full((*shape, 3), 127, np.uint8)) == []


def test_the_network_of_the_package_finds_the_portrait_where_mtcnn_does(first, astronaut):
    (known,) = first(astronaut)
    _, (face,) = Cascade(first, threads=1).score(astronaut, first.propose(astronaut))
    assert same_face(known, face)
    side = face.box[2] - face.box[0]
    assert np.linalg.norm(face.landmarks - known.landmarks, axis=1).max() < 0.15 * side
    x, y, frame, roll = find_frame(face)
    assert np.hypot(x - find_frame(known).x, y - find_frame(known).y) < 0.1 * side
    assert abs(frame / find_frame(known).side - 1) < 0.2
    assert abs(roll - find_frame(known).roll) < 5


def test_the_portrait_has_one_face_from_any_thread_and_in_another_process(first, astronaut):
    detector = Cascade(first, threads=1)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(detector, [astronaut] * 4))
    (again,) = pickle.loads(pickle.dumps(detector))(astronaut)
    assert {len(faces) for faces in found} == {1}
    assert {faces[0].box for faces in found} == {again.box}


def test_other_files_are_refused(first, tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.onnx: no such file"):
        Cascade(first, path=tmp_path / "nowhere.onnx")
    with pytest.raises(CheckpointError, match=r"default\.onnx: not the candidate network"):
        Cascade(first, path=DEFAULT_WEIGHTS)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(CheckpointError, match=r"text\.onnx: not a loadable ONNX file"):
        Cascade(first, path=tmp_path / "text.onnx")
    assert CANDIDATE_WEIGHTS.stat().st_size < 1e6
