"""MTCNN on ONNX Runtime against plain transcriptions and the original, its cache of weights, and other detectors."""

import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from skimage import data

from ranfer.errors import CheckpointError, ConfigError
from ranfer.faces import mtcnn, mtcnn_networks
from ranfer.faces.detection import shrink_to, suppress
from ranfer.faces.detectors import YuNet, open_detector
from ranfer.faces.mtcnn import MTCNN, _rotate


@pytest.fixture(scope="module")
def astronaut():
    return np.ascontiguousarray(data.astronaut())


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return MTCNN(threads=1)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    return tmp_path / "ranfer" / f"mtcnn-{distribution('mtcnn').version}-{mtcnn_networks.FORM}"


def crop(picture, left, top, side, size):
    return cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)


def boxes_of(found):
    return np.array([detection.box for detection in found])


# The networks ---------------------------------------------------------------------------------------------------------


class Transcription:
    """The layers of the original in NumPy, on maps (n, h, w, c); weights are taken in their order."""

    def __init__(self, name):
        path = Path(str(distribution("mtcnn").locate_file(f"mtcnn/assets/weights/{name}.lz4")))
        self.weights = iter(mtcnn_networks.read_weights(path))

    def conv(self, x):
        kernel, bias = next(self.weights), next(self.weights)
        windows = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
        return np.einsum("nhwcij,ijco->nhwo", windows, kernel, optimize=True) + bias

    def prelu(self, x):
        return np.where(x > 0, x, x * next(self.weights))

    def pool(self, x, size, same):
        height, width = x.shape[1:3]
        if same:
            pad = [max((-(-side // 2) - 1) * 2 + size - side, 0) for side in (height, width)]
            x = np.pad(x, ((0, 0), (0, pad[0]), (0, pad[1]), (0, 0)), constant_values=-np.inf)
        return sliding_window_view(x, (size, size), axis=(1, 2))[:, ::2, ::2].max(axis=(-2, -1))

    def dense(self, x):
        return x @ next(self.weights) + next(self.weights)

    def face(self, x):
        exponential = np.exp(x - x.max(axis=-1, keepdims=True))
        return (exponential / exponential.sum(axis=-1, keepdims=True))[..., 1]

    def flat(self, x):
        return x.transpose(0, 2, 1, 3).reshape(len(x), -1)

    def pnet(self, x):
        x = self.prelu(self.conv(self.pool(self.prelu(self.conv(x)), 2, same=True)))
        x = self.prelu(self.conv(x))
        return self.conv(x).transpose(0, 3, 1, 2), self.face(self.conv(x))

    def rnet(self, x):
        x = self.pool(self.prelu(self.conv(x)), 3, same=True)
        x = self.pool(self.prelu(self.conv(x)), 3, same=False)
        x = self.prelu(self.dense(self.flat(self.prelu(self.conv(x)))))
        return self.dense(x), self.face(self.dense(x))

    def onet(self, x):
        x = self.pool(self.prelu(self.conv(x)), 3, same=True)
        x = self.pool(self.prelu(self.conv(x)), 3, same=False)
        x = self.pool(self.prelu(self.conv(x)), 2, same=True)
        x = self.prelu(self.dense(self.flat(self.prelu(self.conv(x)))))
        return self.dense(x), self.dense(x), self.face(self.dense(x))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("pnet", (1, 41, 60)), ("pnet", (2, 12, 13)), ("rnet", (5, 24, 24)), ("onet", (5, 48, 48))],
)
def test_each_network_equals_a_plain_transcription_of_its_layers(name, shape, cache):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    session = mtcnn_networks.open_networks(1)[["pnet", "rnet", "onet"].index(name)]
    expected = getattr(Transcription(name), name)((pixels - 127.5) / 128)
    for ours, plain in zip(session.run(None, {"pixels": pixels}), expected, strict=True):
        assert ours.shape == plain.shape
        np.testing.assert_allclose(ours, plain, atol=5e-6)


def test_the_networks_say_of_an_astronaut_what_the_original_says(detector, astronaut):
    # From mtcnn 1.0.0 on TensorFlow 2.21, for the same crops.
    networks = detector._networks
    offsets, score = networks.refinement.run(None, {"pixels": crop(astronaut, 170, 64, 108, 24)[None]})
    np.testing.assert_allclose(offsets[0], [0.0767378, -0.0604421, -0.0945149, -0.0325071], atol=2e-5)
    np.testing.assert_allclose(score[0], 0.9993114, atol=2e-5)
    offsets, points, score = networks.output.run(None, {"pixels": crop(astronaut, 170, 64, 108, 48)[None]})
    np.testing.assert_allclose(offsets[0], [0.0841384, -0.0492907, -0.0962764, 0.0121614], atol=2e-5)
    np.testing.assert_allclose(points[0, :5], [0.3174937, 0.7152818, 0.5133525, 0.2990967, 0.6963749], atol=2e-5)
    np.testing.assert_allclose(points[0, 5:], [0.3426791, 0.3642067, 0.6023283, 0.6982895, 0.7198931], atol=2e-5)
    np.testing.assert_allclose(score[0], 0.9999044, atol=2e-5)
    offsets, score = networks.proposal.run(None, {"pixels": astronaut[40:201, 130:301][None]})
    assert score.shape == (1, 76, 81)
    assert np.unravel_index(score[0].argmax(), (76, 81)) == (49, 37)
    np.testing.assert_allclose(score[0, 49, 37], 0.9661409, atol=2e-5)
    np.testing.assert_allclose(offsets[0, :, 49, 37], [-0.0281735, -0.0875956, -0.0454784, 0.1021724], atol=2e-5)


# The cascade ----------------------------------------------------------------------------------------------------------


def test_the_astronaut_has_one_face_near_where_the_original_sees_it(detector, astronaut):
    (face,) = detector(astronaut)
    # From mtcnn 1.0.0, which samples crops without antialiasing and suppresses less strictly.
    original = np.array([181.598, 63.726, 264.553, 171.079])
    points = [(203.54, 100.10), (245.41, 102.24), (224.22, 126.42), (201.79, 138.59), (244.39, 140.38)]
    side = original[3] - original[1]
    np.testing.assert_allclose(face.box, original, atol=0.03 * side)
    np.testing.assert_allclose(face.landmarks, points, atol=0.03 * side)
    assert face.score > 0.99
    # Ours, so that a change is seen.
    np.testing.assert_allclose(face.box, [179.9, 63.4, 265.8, 172.9], atol=0.7)


@pytest.mark.parametrize("scale", [0.22, 0.3, 0.5, 1.5, 2.0])
def test_a_face_of_any_size_is_found_at_its_place(detector, astronaut, scale):
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    face, *_ = detector(cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=kind))
    (plain,) = detector(astronaut)
    np.testing.assert_allclose(np.array(face.box) / scale, plain.box, atol=8)
    np.testing.assert_allclose(face.landmarks / scale, plain.landmarks, atol=5)


def test_a_mirrored_face_has_mirrored_points_so_left_is_left_as_seen(detector, astronaut):
    (plain,) = detector(astronaut)
    (mirrored,) = detector(np.ascontiguousarray(astronaut[:, ::-1]))
    back = np.array([512, 0]) + mirrored.landmarks[[1, 0, 2, 4, 3]] * [-1, 1]
    np.testing.assert_allclose(back, plain.landmarks, atol=4)  # the best look may be another one
    assert plain.landmarks[0, 0] < plain.landmarks[1, 0]
    assert plain.landmarks[3, 0] < plain.landmarks[4, 0]


def test_several_faces_come_best_first_and_each_is_found_once(detector, astronaut):
    face = astronaut[20:240, 110:330]
    small = cv2.resize(face, (90, 90), interpolation=cv2.INTER_AREA)
    picture = np.full((300, 500, 3), 90, np.uint8)
    picture[40:260, 20:240] = face
    picture[20:110, 300:390] = small
    picture[150:240, 400:490] = small[:, ::-1]
    found = detector(picture)
    assert len(found) == 3
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    centres = sorted(((boxes_of(found)[:, :2] + boxes_of(found)[:, 2:]) / 2).tolist())
    np.testing.assert_allclose(centres, [(133, 138), (346, 60), (444, 190)], atol=8)


def test_a_face_that_leaves_the_picture_is_still_found(detector, astronaut):
    (face,) = detector(np.ascontiguousarray(astronaut[70:300, 195:400]))
    assert face.box[1] < 4
    assert face.box[0] < 0  # the box reaches beyond the picture


def test_a_long_strip_is_not_turned(astronaut, monkeypatch):
    turned = []
    monkeypatch.setattr(
        "ranfer.faces.mtcnn._rotate", lambda image, angle: turned.append(angle) or _rotate(image, angle)
    )
    strip = np.full((100, 8000, 3), 128, np.uint8)
    strip[:, :100] = cv2.resize(astronaut, (100, 100), interpolation=cv2.INTER_AREA)
    assert len(MTCNN(threads=1, max_pixels=800_000)(strip)) == 1
    assert set(turned) == {0.0}
    MTCNN(threads=1, max_pixels=10_000_000)(strip)
    assert set(turned) == {0.0, -30.0, 30.0}


def test_a_large_picture_is_searched_smaller_and_reported_in_its_own_pixels(astronaut):
    (plain,) = MTCNN(threads=1)(astronaut)
    (bounded,) = MTCNN(max_pixels=40_000, threads=1)(astronaut)
    np.testing.assert_allclose(bounded.box, plain.box, atol=8)
    np.testing.assert_allclose(bounded.landmarks, plain.landmarks, atol=5)


def test_shrinking_tells_the_true_factor_of_each_side():
    small, zoom = shrink_to(np.zeros((1000, 3, 3), np.uint8), 100)
    assert small.shape == (182, 1, 3)
    np.testing.assert_allclose(zoom, [3, 1000 / 182])


@pytest.mark.parametrize("shape", [(0, 0), (0, 9), (1, 1), (1, 500), (500, 1), (11, 11), (12, 12), (19, 300), (20, 20)])
def test_a_picture_too_small_for_a_face_has_none(detector, shape):
    assert detector(np.full((*shape, 3), 127, np.uint8)) == []
    assert open_detector("none")(np.zeros((0, 9, 3), np.uint8)) == []


def test_a_picture_full_of_texture_is_no_face_and_no_trouble(detector):
    blocks = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    assert detector(np.repeat(np.repeat(blocks, 4, axis=0), 4, axis=1)) == []


def test_more_candidates_than_fit_into_a_call_change_nothing(detector, astronaut, monkeypatch):
    (plain,) = detector(astronaut)
    monkeypatch.setattr("ranfer.faces.detection.BATCH", 7)
    (parted,) = detector(astronaut)
    np.testing.assert_allclose(parted.box, plain.box, atol=1e-2)


def test_threads_share_a_detector(detector, astronaut):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(detector, [astronaut, np.ascontiguousarray(astronaut[:, ::-1])] * 4))
    assert len({f[0].box for f in found[::2]}) == len({f[0].box for f in found[1::2]}) == 1
    assert found[0][0].box != found[1][0].box


def test_a_detector_travels_to_another_process(astronaut):
    original = MTCNN(min_face=40, threads=1)
    (face,), (again,) = original(astronaut), pickle.loads(pickle.dumps(original))(astronaut)
    assert face.box == again.box


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"min_face": 11}, "min_face must be 12 pixels or more, got 11"),
        ({"thresholds": (0.6, 0.7, 1.0)}, "thresholds must be three numbers from 0 to below 1"),
        ({"max_pixels": 0}, "max_pixels must be positive, got 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        MTCNN(**setting)


# Suppression ----------------------------------------------------------------------------------------------------------


def test_suppression_keeps_the_best_and_what_does_not_overlap_it():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], float)
    assert suppress(boxes, np.array([0.8, 0.9, 0.7]), 0.5).tolist() == [1, 2]
    # Intersection over union of the first two is 90 / 110.
    assert suppress(boxes, np.array([0.8, 0.9, 0.7]), 0.82).tolist() == [1, 0, 2]
    assert suppress(boxes, np.array([0.8, 0.9, 0.7]), 0.81).tolist() == [1, 2]


def test_a_suppressed_box_suppresses_nothing():
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], float)
    assert suppress(chain, np.array([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]


def test_a_nested_box_goes_only_where_the_smaller_area_counts():
    boxes = np.array([[0, 0, 100, 100], [40, 40, 60, 60]], float)
    assert suppress(boxes, np.array([0.9, 0.8]), 0.7).tolist() == [0, 1]
    assert suppress(boxes, np.array([0.9, 0.8]), 0.7, nested=True).tolist() == [0]


def test_suppression_equals_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    corner = rng.random((120, 2)) * 100
    boxes, scores = np.hstack([corner, corner + rng.random((120, 2)) * 40 + 1]), rng.random(120)

    def overlap(a, b):
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        both = max(width, 0) * max(height, 0)
        return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

    kept = []
    for i in sorted(range(120), key=lambda i: -scores[i]):
        if all(overlap(boxes[i], boxes[j]) <= 0.3 for j in kept):
            kept.append(i)
    assert suppress(boxes, scores, 0.3).tolist() == kept
    assert suppress(boxes[:0], scores[:0], 0.3).tolist() == []


# The cache ------------------------------------------------------------------------------------------------------------


def test_the_second_start_reads_no_pickle(cache, monkeypatch, astronaut):
    (face,) = MTCNN(threads=1)(astronaut)
    assert sorted(path.name for path in cache.iterdir()) == ["onet.onnx", "pnet.onnx", "rnet.onnx"]
    monkeypatch.setattr(mtcnn_networks, "read_weights", lambda path: pytest.fail("weights were read"))
    (again,) = MTCNN(threads=1)(astronaut)
    assert again.box == face.box


@pytest.mark.parametrize("damage", [b"", b"no network", None])
def test_a_damaged_cache_file_is_made_again(cache, damage):
    mtcnn_networks.open_networks(1)
    file = cache / "rnet.onnx"
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2] if damage is None else damage)
    mtcnn_networks.open_networks(1)
    assert file.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, astronaut):
    (tmp_path / "file").write_text("in the way")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "file"))
    assert len(MTCNN(threads=1)(astronaut)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="the convention of other systems")
def test_the_cache_lies_where_the_platform_wants_it(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert mtcnn_networks.cache_folder() == Path("/somewhere/ranfer")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the convention
    assert mtcnn_networks.cache_folder() == Path.home() / ".cache" / "ranfer"


def test_a_user_without_a_home_has_no_cache_and_a_detector_all_the_same(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert mtcnn_networks.cache_folder() is None
    assert len(mtcnn_networks.open_networks(1)) == 3


def test_a_start_from_the_cache_imports_neither_tensorflow_nor_torch_nor_mtcnn(cache):
    mtcnn_networks.open_networks(1)
    program = (
        "import sys; from ranfer.faces.mtcnn import MTCNN; MTCNN(threads=1);"
        "print([name for name in ('tensorflow', 'torch', 'mtcnn', 'joblib', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_weights_that_are_missing_damaged_or_others_are_refused(cache, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"absent\.lz4: the weights of mtcnn 1 cannot be read"):
        mtcnn_networks.read_weights(tmp_path / "absent.lz4")
    (tmp_path / "damaged.lz4").write_bytes(b"\x04\x22\x4d\x18 nothing good")
    with pytest.raises(CheckpointError, match=r"damaged\.lz4: the weights of mtcnn 1 cannot be read"):
        mtcnn_networks.read_weights(tmp_path / "damaged.lz4")
    weights = mtcnn_networks.read_weights(Path(str(distribution("mtcnn").locate_file("mtcnn/assets/weights/pnet.lz4"))))
    with pytest.raises(CheckpointError, match="more layers"):
        mtcnn_networks.proposal_network([*weights, weights[0]])
    with pytest.raises(CheckpointError, match="fewer layers"):
        mtcnn_networks.proposal_network(weights[:-1])


def test_a_missing_distribution_is_named_with_the_cure(cache, monkeypatch):
    def absent(name):
        raise mtcnn_networks.PackageNotFoundError(name)

    monkeypatch.setattr(mtcnn_networks, "distribution", absent)
    with pytest.raises(CheckpointError, match="pip install 'mtcnn>=1,<2'"):
        MTCNN()


# Other detectors ------------------------------------------------------------------------------------------------------


def test_no_detector_takes_the_whole_picture_as_a_framed_face():
    (face,) = open_detector("none")(np.zeros((30, 50, 3), np.uint8))
    assert face.box == (0, 0, 50, 30)
    assert face.score == 1
    assert face.landmarks is None


@pytest.mark.parametrize("name", ["", "dlib", "yunet", "yunet:", "none:x", "mtcnn:file", "ranfer:x"])
def test_an_unknown_detector_is_refused(name):
    with pytest.raises(ConfigError, match=f"--detector {re.escape(name)}: expected ranfer, mtcnn, none, or yunet:FILE"):
        open_detector(name)


def test_a_yunet_file_that_is_missing_or_something_else_is_named(cache, tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.onnx: no such file"):
        open_detector(f"yunet:{tmp_path / 'nowhere.onnx'}")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(CheckpointError, match=r"text\.onnx: OpenCV cannot read it as a YuNet model"):
        open_detector(f"yunet:{tmp_path / 'text.onnx'}")
    mtcnn_networks.open_networks(1)
    with pytest.raises(CheckpointError, match=r"onet\.onnx: OpenCV cannot read it as a YuNet model"):
        open_detector(f"yunet:{cache / 'onet.onnx'}")


class StandIn:
    """What OpenCV's detector does: two faces, the worse one first, in pixels of the picture it was told the size of."""

    def setInputSize(self, size):  # noqa: N802
        self.size = size

    def detect(self, image):
        self.image = image
        if not image.any():
            return 0, None
        points = np.arange(10.0)
        rows = [[10, 20, 30, 40, *points, 0.8], [1, 2, 3, 4, *(points + 100), 0.9]]
        return 2, np.array(rows, dtype=np.float32)


def test_yunet_rows_become_detections_in_pixels_of_the_source(tmp_path, monkeypatch):
    stand_in = StandIn()
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *arguments: stand_in)
    (tmp_path / "yunet.onnx").touch()
    yunet = YuNet(tmp_path / "yunet.onnx", max_pixels=5000)
    picture = np.full((200, 100, 3), (200, 100, 0), np.uint8)
    best, other = yunet(picture)
    assert stand_in.size == (50, 100)
    assert stand_in.image[0, 0].tolist() == [0, 100, 200]  # OpenCV wants blue first
    assert best.score == pytest.approx(0.9)
    assert best.box == (2, 4, 8, 12)
    np.testing.assert_allclose(best.landmarks, 2 * np.arange(100, 110).reshape(5, 2))
    assert other.box == (20, 40, 80, 120)
    assert yunet(np.zeros_like(picture)) == []
    assert yunet(picture[:0]) == []


@pytest.mark.parametrize("angle", [-45.0, -30.0, 30.0, 45.0])
def test_a_turned_face_is_found_and_its_points_turn_along(detector, astronaut, angle):
    (plain,) = detector(astronaut)
    part = astronaut[20:240, 110:330]  # the middle of it is the face
    turned, to_turned = mtcnn._rotate(np.ascontiguousarray(part), angle)
    face, *_ = detector(turned)
    expected = (plain.landmarks - (110, 20)) @ to_turned[:, :2].T + to_turned[:, 2]
    np.testing.assert_allclose(face.landmarks, expected, atol=6)
