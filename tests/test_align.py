"""Alignment: geometry by hand, a turned and scaled astronaut, resampling, and the framing of the real faces."""

import math
import zipfile

import cv2
import numpy as np
import pytest
from skimage import data

from ranfer.faces.align import RISE, SIDE, align, face_map, find_frame
from ranfer.faces.detection import Detection
from ranfer.faces.mtcnn import MTCNN
from ranfer.images import decode_image

FOUR = [0, 1, 3, 4]
SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def face_with(points, box=(0.0, 0.0, 1.0, 1.0)):
    return Detection(box, 1.0, np.array(points, float))


UPRIGHT = [(40, 50), (80, 50), (60, 70), (45, 90), (75, 90)]


def apply(matrix, points):
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def turned_by(degrees, centre=(60.0, 70.0), scale=1.0):
    """The map that turns clockwise, as seen."""
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, np.array(centre) - turn @ centre])


@pytest.fixture(scope="module")
def detector():
    return MTCNN(threads=1)


# Geometry -------------------------------------------------------------------------------------------------------------


def test_the_frame_of_an_upright_face_by_hand():
    frame = find_frame(face_with(UPRIGHT))
    # About their mean (60, 70) the points lie at (-20, -20), (20, -20), (-15, 20), (15, 20).
    side = SIDE * math.sqrt(2 * 800 + 2 * 625)
    assert frame == pytest.approx((60, 70 - RISE * side, side, 0))


@pytest.mark.parametrize("degrees", [-170, -90, -30, 15, 30, 89])
def test_the_frame_turns_with_the_face(degrees):
    turn = turned_by(degrees)
    upright, turned = find_frame(face_with(UPRIGHT)), find_frame(face_with(apply(turn, UPRIGHT)))
    assert turned.roll == pytest.approx(degrees)
    assert turned.side == pytest.approx(upright.side)
    assert turned[:2] == pytest.approx(apply(turn, upright[:2]))


def test_a_profile_whose_eyes_coincide_keeps_its_roll_and_most_of_its_size():
    profile = [(75, 50), (75, 50), (85, 70), (75, 90), (75, 90)]
    frame = find_frame(face_with(profile))
    assert frame.roll == pytest.approx(0)
    assert 0.7 < frame.side / find_frame(face_with(UPRIGHT)).side < 1
    crossed = [(76, 50), (74, 50), (85, 70), (75, 90), (75, 90)]  # eyes that change places do not turn the face over
    assert abs(find_frame(face_with(crossed)).roll) < 5


def test_a_face_without_points_is_framed_already():
    assert find_frame(Detection((10.0, 0.0, 30.0, 50.0), 1.0)) == (20, 25, 50, 0)


def test_the_map_takes_the_frame_to_the_face_and_is_a_similarity():
    detection = face_with(apply(turned_by(20), UPRIGHT))
    frame = find_frame(detection)
    to_face = face_map(frame, 48)
    np.testing.assert_allclose(apply(to_face, frame[:2]), (24, 24))
    eyes = apply(to_face, detection.landmarks[:2])
    assert eyes[0, 1] == pytest.approx(eyes[1, 1])  # level
    assert eyes[0, 0] < eyes[1, 0]
    np.testing.assert_allclose(to_face[:, :2] @ to_face[:, :2].T, np.eye(2) * (48 / frame.side) ** 2, atol=1e-12)


def test_a_frame_without_roll_is_level_with_the_picture():
    frame = find_frame(face_with(apply(turned_by(20), UPRIGHT)))
    to_face = face_map(frame._replace(roll=0.0), 48)
    np.testing.assert_allclose(to_face[:, :2], np.eye(2) * 48 / frame.side, atol=1e-12)
    np.testing.assert_allclose(apply(to_face, frame[:2]), (24, 24))


# Pixels ---------------------------------------------------------------------------------------------------------------


def whole(picture):
    height, width = picture.shape[:2]
    return find_frame(Detection((0.0, 0.0, float(width), float(height)), 1.0))


def test_a_framed_face_of_the_right_size_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(picture, whole(picture), 48), picture)
    np.testing.assert_allclose(face_map(whole(picture), 48), [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("side", [24, 96, 97, 480, 1000])
def test_a_ramp_stays_a_ramp_at_every_scale(side):
    ramp = np.linspace(0, 255, side + 1)
    across = np.broadcast_to(((ramp[1:] + ramp[:-1]) / 2)[None, :, None], (side, side, 3))
    face = align(np.round(across).astype(np.uint8), whole(across), 48)
    middle = (np.arange(48) + 0.5) / 48 * 255
    error = face[24, 3:-3, 0] - middle[3:-3]
    assert abs(error).max() < 1.5
    assert abs(error.mean()) < 0.25  # half a pixel of the picture would show here


def test_shrinking_does_not_alias():
    # Lines of one pixel, 20 pixels of the picture to one of the face: all that may remain is grey.
    picture = np.zeros((960, 960, 3), np.uint8)
    picture[::2] = 255
    face = align(picture, whole(picture), 48)
    assert face.min() >= 120
    assert face.max() <= 135


def test_beyond_the_picture_its_border_goes_on():
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:, :30] = 200
    face = align(picture, find_frame(Detection((-30.0, 0.0, 90.0, 120.0), 1.0)), 48)
    assert (face[:, :18] == 200).all()
    assert (face[:, 30:] == 0).all()


@pytest.mark.parametrize("box", [(500.0, 500.0, 520.0, 520.0), (-90.0, 5.0, -80.0, 15.0), (5.0, 5.0, 5.0, 5.0)])
def test_a_frame_off_the_picture_or_without_size_gives_a_flat_face_and_no_error(box):
    face = align(np.full((30, 40, 3), 77, np.uint8), find_frame(Detection(box, 1.0)), 48)
    assert (face == 77).all()


def test_a_picture_wider_than_opencv_can_warp_is_no_trouble():
    picture = np.full((40, 40_000, 3), 77, np.uint8)
    picture[:, 39_960:] = 200
    face = align(picture, find_frame(Detection((39_960.0, 0.0, 40_000.0, 40.0), 1.0)), 48)
    assert face[24, 24].tolist() == [200] * 3
    assert align(picture, whole(picture), 48).shape == (48, 48, 3)


# Faces ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("degrees", [-30, -15, 0, 15, 30])
def test_a_turned_and_scaled_astronaut_is_found_and_framed_as_before(detector, degrees, scale):
    portrait = np.ascontiguousarray(data.astronaut()[:300, 60:400])
    plain = cv2.invertAffineTransform(face_map(find_frame(detector(portrait)[0]), 96))
    map_ = turned_by(degrees, (170.0, 118.0), scale)
    map_[:, 2] += np.array([170, 150]) * scale - (170, 118)
    height, width = round(300 * scale), round(340 * scale)
    fine = 4 if scale < 1 else 1  # drawn finer and averaged, so that nothing aliases
    place = fine * map_
    place[:, 2] += place[:, :2] @ (0.5, 0.5) - 0.5
    drawn = cv2.warpAffine(
        portrait, place, (width * fine, height * fine), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    picture = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
    face, *_ = detector(picture)
    frame = find_frame(face)
    assert frame.roll - find_frame(detector(portrait)[0]).roll == pytest.approx(degrees, abs=4)
    found = apply(cv2.invertAffineTransform(face_map(frame, 96)), SQUARE * 96)
    expected = apply(map_, apply(plain, SQUARE * 96))
    error = np.linalg.norm(found - expected, axis=1).max() / frame.side
    assert error < 0.09


def test_training_faces_lie_in_the_frame_as_the_constants_say(real_data):
    detector = MTCNN(min_face=40, threads=1)
    with zipfile.ZipFile(real_data / "ferplus_train_valid.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.startswith("FER2013Train/") and n.endswith("png"))
        faces = [decode_image(archive.read(name), name) for name in names[::150]]
    frames = []
    for face in faces:
        wide = cv2.copyMakeBorder(face, 24, 24, 24, 24, cv2.BORDER_REPLICATE)
        found = detector(cv2.resize(wide, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
        frames += [find_frame(best) for best in found[:1]]
    assert len(frames) > 0.8 * len(faces)
    x, y, side, roll = np.median(np.array(frames), axis=0) / (96, 96, 96, 1)
    assert (x, y) == pytest.approx((1, 1), abs=0.015)
    assert side == pytest.approx(1, abs=0.03)
    assert roll == pytest.approx(0, abs=1.5)
