"""Pictures in, faces out: with a tiny model of our form, and detectors that need no search."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import ranfer.recognize
from ranfer.errors import CheckpointError, ConfigError, ImageError, RanferError
from ranfer.faces.align import face_map, find_frame
from ranfer.faces.attributes import AttributeEstimate
from ranfer.faces.detection import Detection
from ranfer.recognize import Recognizer, load
from ranfer.vocab import ESTIMATED, Expression

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
TRUST = {"threshold": 0.9, "kept": 0.8, "accuracy": 0.95, "n": 100}


def tiny_model(path, trust=TRUST, size=16, features=True, gain=8.0, **about):
    """A model of our form: the redder, the happier; the greener, the sadder; blue is contempt; black is anything."""
    weights = np.zeros((3, 8), dtype=np.float32)
    for channel, expression in enumerate((Expression.HAPPINESS, Expression.SADNESS, Expression.CONTEMPT)):
        weights[channel, expression.column] = gain / 255
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 0.75, 0.75]]])
    constants = {"w": weights, "weight_": np.float32([[0.25, 0.75]]), "boxes_": boxes}
    constants |= {"zero": np.int64([0]), "one": np.int64([1]), "ones": np.int64([1, 1])}
    nodes = [
        helper.make_node("Cast", ["faces"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["representation"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["representation", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("Shape", ["faces"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["b"]),
        helper.make_node("Concat", ["b", "one"], ["twice"], axis=0),
        helper.make_node("Concat", ["b", "ones"], ["thrice"], axis=0),
        helper.make_node("Tile", ["weight_", "twice"], ["weight"]),
        helper.make_node("Tile", ["boxes_", "thrice"], ["boxes"]),
    ]
    shapes = {"probabilities": ["b", 8], "weight": ["b", 2], "boxes": ["b", 2, 4]}
    if features:
        shapes["representation"] = ["b", 3]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["b", "h", "w", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    description = {
        "labels": [expression.value for expression in Expression],
        "regions": ["face", "top left"],
        "temperature": 1.0,
        "trust": trust,
        "model": {"size": size},
        "revision": "abc",
        **about,
    }
    helper.set_model_props(model, {"ranfer": json.dumps(description)})
    onnx.save(model, path)
    return path


def two_squares(image):
    """A small face on the right, then a large one on the left: for pictures that are wider than high."""
    height, width = image.shape[:2]
    small = width - height
    return [
        Detection((float(height), 0.0, float(width), float(small)), 0.8),
        Detection((0.0, 0.0, float(height), float(height)), 0.7),
    ]


def nobody(image):
    return []


def couple(left=RED, right=GREEN, height=64, small=32):
    picture = np.full((height, height + small, 3), 128, dtype=np.uint8)
    picture[:, :height] = left
    picture[:small, height:] = right
    return picture


def plain(colour, size=48):
    return np.full((size, size, 3), colour, dtype=np.uint8)


class Frontal:
    """An attribute model to which every face is frontal and uncovered, unless it is told otherwise."""

    def __init__(self, pose=(0.0, 0.0, 0.0), occlusion=(0.0, 0.0, 0.0, 0.0), threads=None):
        self.pose, self.occlusion = np.array([pose]), np.array([occlusion])

    def __call__(self, faces):
        n = len(faces)
        pose, occlusion = self.pose.repeat(n, axis=0), self.occlusion.repeat(n, axis=0)
        return AttributeEstimate(np.full((n, 5, 2), 0.5), pose, occlusion, np.ones((n, 6, 6)))


@pytest.fixture(scope="module", autouse=True)
def frontal():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ranfer.recognize.AttributeModel", Frontal)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def recognizer(weights):
    return load(weights, two_squares)


@pytest.fixture(scope="module")
def of_faces(weights):
    return load(weights, "none")


def test_every_face_of_a_picture_is_told_the_largest_first(recognizer):
    large, small = recognizer(couple())
    assert (large.expression, small.expression) == (Expression.HAPPINESS, Expression.SADNESS)
    assert large.box == (0, 0, 64, 64)
    assert small.box == (64, 0, 96, 32)
    assert (large.score, small.score) == (0.7, 0.8)
    expected = np.exp(8) / (np.exp(8) + 7)
    assert large.probability == pytest.approx(expected, rel=1e-5)
    assert list(large.probabilities) == list(Expression)
    assert sum(large.probabilities.values()) == pytest.approx(1)
    assert [(region.name, region.weight) for region in large.regions] == [("face", 0.25), ("top left", 0.75)]
    assert large.regions[1].box == (0, 0, 0.75, 0.75)
    assert large.trusted
    assert large.reason is None
    assert (large.yaw, large.pitch, large.roll) == (0, 0, 0)
    assert large.occlusion == dict.fromkeys(ESTIMATED, 0)
    assert [region.visible for region in large.regions] == [1, 1]
    assert large.feature is None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Frontal(pose=(-52.3, 10, 0)), "turned 52 degrees"),
        (Frontal(pose=(0, 61, 0)), "turned 61 degrees"),
        (Frontal(occlusion=(0.2, 0.9, 0.1, 0)), "lower face covered"),
        (Frontal(pose=(0, 61, 0), occlusion=(0, 0.7, 0, 0)), "turned 61 degrees; lower face covered"),
        (Frontal(pose=(20, -20, 80), occlusion=(0.8, 0.1, 0.7, 1)), None),
    ],
)
def test_a_turned_face_or_a_covered_mouth_is_not_trusted_and_other_covers_are_no_reason(
    recognizer, monkeypatch, model, reason
):
    monkeypatch.setattr(recognizer, "_open", recognizer._open._replace(attributes=model))
    large, _ = recognizer(couple())
    assert (large.trusted, large.reason) == (reason is None, reason)


def test_roll_counts_in_the_picture_and_not_on_the_aligned_face(weights, monkeypatch):
    lean = np.radians(150)
    turn = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    points = np.array([(-10, -10), (10, -10), (0, 0), (-7, 10), (7, 10)]) @ turn.T + 32
    leaning = load(weights, lambda image: [Detection((16.0, 16.0, 48.0, 48.0), 0.9, points)])
    monkeypatch.setattr(leaning, "_open", leaning._open._replace(attributes=Frontal(pose=(5, 6, 40))))
    (face,) = leaning(plain(RED))
    assert (face.yaw, face.pitch) == (5, 6)
    assert face.roll == pytest.approx(150 + 40 - 360)


def test_a_list_gives_what_its_pictures_give_alone_and_runs_the_model_once(recognizer, monkeypatch):
    pictures = [couple(), couple(GREEN, BLUE), couple(BLUE, RED)]
    alone = [recognizer(picture) for picture in pictures]
    batches = []
    parts = recognizer._open
    counting = lambda faces, ids: batches.append(len(faces)) or parts.model(faces, ids)  # noqa: E731
    monkeypatch.setattr(recognizer, "_open", parts._replace(model=counting))
    assert recognizer(pictures) == alone
    assert batches == [6]


def test_an_empty_list_and_a_picture_without_faces_give_empty_lists(recognizer, weights):
    assert recognizer([]) == []
    alone = load(weights, nobody)
    assert alone(couple()) == []
    assert alone([couple(), couple()]) == [[], []]


def test_path_array_and_pil_image_are_the_same_picture(recognizer, tmp_path):
    picture = couple()
    Image.fromarray(picture).save(tmp_path / "couple.png")
    expected = recognizer(picture)
    opened = Image.open(tmp_path / "couple.png")
    for form in (tmp_path / "couple.png", str(tmp_path / "couple.png"), opened, Image.fromarray(picture)):
        assert recognizer(form) == expected
    with_alpha = Image.fromarray(picture).convert("RGBA")
    assert recognizer((with_alpha, picture[:, ::1])) == [expected, expected]


def test_a_pil_image_is_turned_upright_as_its_file_is(recognizer, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(np.rot90(couple())).save(tmp_path / "turned.png", exif=exif)
    assert (
        recognizer(Image.open(tmp_path / "turned.png")) == recognizer(tmp_path / "turned.png") == recognizer(couple())
    )


def test_grey_arrays_are_pictures_too(of_faces):
    grey = np.random.default_rng(0).integers(256, size=(40, 30), dtype=np.uint8)
    expected = of_faces(np.stack([grey] * 3, axis=-1))
    assert of_faces(grey) == of_faces(grey[..., None]) == expected


def test_what_is_no_picture_is_named(recognizer, tmp_path):
    for wrong, told in (
        (np.zeros((8, 8, 3)), r"got float64 \(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"got uint8 \(2, 8, 8, 3\)"),
        (np.zeros((8, 8, 4), np.uint8), r"got uint8 \(8, 8, 4\)"),
    ):
        with pytest.raises(ImageError, match=r"the picture: expected a path, a PIL image, or a uint8 array .*" + told):
            recognizer(wrong)
    with pytest.raises(ImageError, match=r"pictures\[1\]: expected"):
        recognizer([couple(), np.zeros(3, np.uint8)])
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"broken\.jpg: not a readable picture"):
        recognizer(tmp_path / "broken.jpg")


def test_without_a_detector_the_model_gets_the_picture_itself_at_any_size(of_faces):
    picture = np.random.default_rng(1).integers(256, size=(37, 51, 3), dtype=np.uint8)
    (face,) = of_faces(picture)
    assert face.box == (0, 0, 51, 37)
    logits = np.zeros(8)
    logits[[Expression.HAPPINESS.column, Expression.SADNESS.column, Expression.CONTEMPT.column]] = (
        8 / 255 * picture.mean(axis=(0, 1))
    )
    expected = np.exp(logits) / np.exp(logits).sum()
    assert list(face.probabilities.values()) == pytest.approx(expected.tolist(), rel=1e-4)
    sizes = [plain(colour, size) for colour, size in ((RED, 20), (GREEN, 30), (RED, 30), (BLUE, 1500))]
    said = [faces[0].expression.value for faces in of_faces(sizes)]
    assert said == ["happiness", "sadness", "happiness", "contempt"]


def test_seven_classes_leave_contempt_out_and_share_its_probability(weights, of_faces):
    seven = load(weights, "none", classes=7)
    mixed = plain((120, 60, 130))
    (eight,), (fewer,) = of_faces(mixed), seven(mixed)
    assert eight.expression is Expression.CONTEMPT
    assert fewer.expression is Expression.HAPPINESS
    rest = 1 - eight.probabilities.pop(Expression.CONTEMPT)
    assert fewer.probabilities == pytest.approx({name: value / rest for name, value in eight.probabilities.items()})
    with pytest.raises(ConfigError, match="classes must be 8, or 7 without contempt; got 6"):
        load(weights, "none", classes=6)


def test_a_face_below_the_threshold_is_not_trusted_and_the_reason_never_rounds_up_to_it(of_faces, tmp_path):
    grey = plain((100, 0, 0))
    (face,) = of_faces(grey)
    assert not face.trusted
    assert face.reason == "unsure: happiness 0.76 of 0.90 needed"
    assert face.probability == pytest.approx(np.exp(800 / 255) / (np.exp(800 / 255) + 7), rel=1e-5)  # 0.767
    near = tiny_model(tmp_path / "near.onnx", trust={**TRUST, "threshold": face.probability + 1e-6})
    shown = load(near, "none")(grey)[0].reason
    assert shown == "unsure: happiness 0.76 of 0.77 needed"
    exactly = tiny_model(tmp_path / "exactly.onnx", trust={**TRUST, "threshold": face.probability})
    assert load(exactly, "none")(grey)[0].trusted


def test_a_tiny_face_is_not_trusted(of_faces):
    assert of_faces(plain(RED, 20))[0].trusted
    face = of_faces(plain(RED, 19))[0]
    assert not face.trusted
    assert face.reason == "tiny: 19 of 20 pixels needed"
    both = of_faces(plain((0, 0, 0), 8))[0]
    assert both.reason == "unsure: neutral 0.12 of 0.90 needed; tiny: 8 of 20 pixels needed"


def test_weights_without_a_threshold_are_not_trusted(tmp_path):
    face = load(tiny_model(tmp_path / "m.onnx", trust=None), "none")(plain(RED))[0]
    assert not face.trusted
    assert face.reason == "unknown: these weights carry no measured threshold"


def test_features_come_on_request(weights, of_faces, tmp_path):
    picture = plain((10, 20, 30))
    assert of_faces(picture)[0].feature is None
    feature = load(weights, "none", features=True)(picture)[0].feature
    assert feature is not None
    assert feature.tolist() == pytest.approx([10, 20, 30])
    with pytest.raises(CheckpointError, match="these weights give no features"):
        load(tiny_model(tmp_path / "m.onnx", features=False), "none", features=True)


def test_a_pickled_recognizer_says_the_same(recognizer, of_faces):
    again = pickle.loads(pickle.dumps(recognizer))
    assert again(couple()) == recognizer(couple())
    assert pickle.loads(pickle.dumps(of_faces)).settings() == of_faces.settings()


def test_threads_share_a_recognizer(recognizer):
    pictures = [couple(*colours) for colours in ((RED, GREEN), (GREEN, BLUE), (BLUE, RED))] * 8
    expected = [recognizer(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(recognizer, pictures)) == expected


def test_a_with_block_ends_the_recognizer(weights):
    with Recognizer(weights, "none") as recognizer:
        assert len(recognizer(plain(RED))) == 1
    with pytest.raises(RanferError, match="closed when its with block ended"):
        recognizer(plain(RED))


def test_the_corners_of_a_face_are_those_of_its_aligned_square(weights):
    turn = np.radians(25)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    upright = np.array([[-10.0, -10], [10, -10], [0, 0], [-8, 12], [8, 12]])
    detection = Detection((80.0, 80.0, 120.0, 120.0), 0.9, upright @ axes + 100)
    picture = np.zeros((200, 200, 3), dtype=np.uint8)
    (face,) = load(weights, lambda image: [detection])(picture)
    to_face = face_map(find_frame(detection), 16)
    found = np.array(face.corners) @ to_face[:, :2].T + to_face[:, 2]
    np.testing.assert_allclose(found, [[0, 0], [16, 0], [16, 16], [0, 16]], atol=1e-9)


def test_a_face_without_landmarks_has_the_square_round_its_box_for_corners_or_the_whole_picture(of_faces, weights):
    picture = np.zeros((130, 140, 3), dtype=np.uint8)
    (face,) = load(weights, lambda image: [Detection((10.0, 20.0, 110.0, 70.0), 1.0)])(picture)
    assert face.corners == ((10, -5), (110, -5), (110, 95), (10, 95))
    (face,) = of_faces(picture)
    assert face.corners == ((0, 0), (140, 0), (140, 130), (0, 130))


@pytest.mark.usefixtures("unchecked")
def test_the_bytes_of_a_file_are_no_list_of_pictures(of_faces):
    with pytest.raises(ImageError, match=r"the picture: expected a path, a PIL image, .* got bytes"):
        of_faces(b"\xff\xd8")


def test_settings_change_with_the_weights_and_with_nothing_beside_the_answers(weights, of_faces, tmp_path):
    assert load(weights, "none", threads=1).settings() == of_faces.settings()
    other = load(tiny_model(tmp_path / "other.onnx", gain=9.0), "none").settings()
    assert {name for name in other if other[name] != of_faces.settings()[name]} == {"weights"}


def test_settings_change_with_the_files_of_the_detector_and_of_the_attributes(weights, monkeypatch, tmp_path):
    before = load(weights).settings()
    for where in ("ranfer.faces.detectors.CANDIDATE_WEIGHTS", "ranfer.recognize.ATTRIBUTE_WEIGHTS"):
        (tmp_path / where).write_bytes(b"other weights")
        monkeypatch.setattr(where, tmp_path / where)
    after = load(weights).settings()
    assert {name for name in after if after[name] != before[name]} == {"detector_weights", "attribute_weights"}
    assert load(weights, "mtcnn").settings()["detector_weights"] == ""


def test_files_that_are_no_export_of_ours_are_refused(tmp_path, monkeypatch):
    stranger = tmp_path / "stranger.onnx"
    model = onnx.load(tiny_model(tmp_path / "tiny.onnx"))
    del model.metadata_props[:]
    onnx.save(model, stranger)
    with pytest.raises(CheckpointError, match=r"stranger\.onnx: expected a file that ranfer export wrote"):
        load(stranger, "none")
    with pytest.raises(CheckpointError, match=r"best\.safetensors: a checkpoint; .* ranfer export --weights"):
        load(tmp_path / "best.safetensors", "none")
    with pytest.raises(CheckpointError, match=r"lacks model\.size, regions or trust"):
        load(tiny_model(tmp_path / "bare.onnx", model={}), "none")
    monkeypatch.setattr(ranfer.recognize, "DEFAULT_WEIGHTS", tmp_path / "none.onnx")
    with pytest.raises(CheckpointError, match="came without weights"):
        load(detector="none")


def test_probabilities_that_are_not_finite_stop_the_recognizer(tmp_path):
    broken = load(tiny_model(tmp_path / "nan.onnx", gain=float("nan")), "none")
    with pytest.raises(CheckpointError, match=r"nan\.onnx: its probabilities are not finite"):
        broken(plain(RED))
