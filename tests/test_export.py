"""The ONNX file against PyTorch."""

import json
import math

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from ranfer import checkpoint
from ranfer.calibration import Calibration, calibrate
from ranfer.checkpoint import Trained, save_model, start_from
from ranfer.checkpoint import load as load_checkpoint
from ranfer.cli import app
from ranfer.config import BackboneConfig, ModelConfig, RegionsConfig
from ranfer.data.drawn import write_ferplus
from ranfer.errors import CheckpointError, ConfigError
from ranfer.export import Graph, export, load_mean
from ranfer.model import RAN, ROTATION, SURE, rotated
from ranfer.onnx_file import check_parity, example_faces
from ranfer.recognize import load
from ranfer.runtime import open_onnx
from ranfer.training_record import learnt_by

pytestmark = pytest.mark.usefixtures("unchecked")
BACKBONE = BackboneConfig(arguments={"widths": [8, 8, 16, 16]})


def trained(**changes: object) -> Trained:
    torch.manual_seed(0)
    model = RAN(ModelConfig(backbone=BACKBONE, **changes))
    for parameter in model.parameters():  # away from the start, where residual branches are silent
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.2, 1.0)
    return Trained(model, {"revision": "1", "model": model.config.model_dump(mode="json")})


PLAIN = {"regions": RegionsConfig(scheme="none"), "attention": "none"}  # what exports fastest


# Each kind of model and each number of views once: an export takes seconds, and one of six views half a minute.
@pytest.mark.parametrize(
    ("changes", "views"),
    [
        ({"cut": "stem", "region_size": 32}, 6),
        ({"cut": "image", "normalization": "softmax", "channels": 3}, 2),
        (PLAIN, 1),
        (PLAIN | {"enlarge": 64}, 2),
    ],
    ids=["stem", "image, softmax, colour", "baseline", "enlarged"],
)
def test_the_file_gives_what_pytorch_gives_for_any_batch_and_image_size(tmp_path, changes, views):
    model = trained(**changes)
    model.views = views
    worst = export(model, tmp_path / "m.onnx")
    assert worst <= 1e-4
    names = [entry.name for entry in onnx.load(tmp_path / "m.onnx").graph.output]
    assert names == ["probabilities", "mu", "nu", "weight", "representation", "boxes"]
    assert b"ranfer/model.py" not in (tmp_path / "m.onnx").read_bytes()  # no paths of the machine that exported
    opened = open_onnx(tmp_path / "m.onnx")
    faces = np.random.default_rng(0).integers(0, 256, (4, 57, 80, 3), dtype=np.uint8)
    ours, theirs = model(faces, ["a"] * 4), opened(faces, ["a"] * 4)
    np.testing.assert_allclose(theirs.probabilities, ours.probabilities, atol=1e-4)
    np.testing.assert_allclose(theirs.weight, ours.weight, atol=1e-4)
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-6)
    assert opened.description["labels"][3] == "sadness"
    assert opened.description["revision"] == "1"


@pytest.mark.parametrize(
    "regions",
    [RegionsConfig(scheme="random", count=3, seed=7), RegionsConfig(scheme="landmark", radii=(0.2, 0.3))],
    ids=["random", "landmark"],
)
def test_regions_of_each_face_are_inputs_that_the_opened_file_finds_itself(tmp_path, regions):
    model = trained(regions=regions)
    export(model, tmp_path / "m.onnx")
    inputs = [entry.name for entry in onnx.load(tmp_path / "m.onnx").graph.input]
    assert inputs == ["faces", "boxes", "mask"]
    faces = np.random.default_rng(0).integers(0, 256, (3, 50, 50, 3), dtype=np.uint8)
    ours, theirs = model(faces, ["a", "b", "c"]), open_onnx(tmp_path / "m.onnx")(faces, ["a", "b", "c"])
    np.testing.assert_allclose(theirs.probabilities, ours.probabilities, atol=1e-4)
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-6)
    assert not np.allclose(ours.boxes[0], ours.boxes[1])


def test_a_recognizer_gives_a_face_the_same_random_regions_wherever_it_stands(tmp_path):
    export(trained(regions=RegionsConfig(scheme="random", count=3)), tmp_path / "m.onnx")
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    recognizer = load(tmp_path / "m.onnx", "none", threads=1)
    (alone,), ((other,), (among,), _) = recognizer(faces[1]), recognizer(list(faces))
    boxes = [[region.box for region in face.regions] for face in (alone, among, other)]
    assert boxes[0] == boxes[1] != boxes[2]


def test_training_may_start_from_the_backbone_of_an_exported_file(tmp_path):
    model, fresh = trained(cut="stem"), RAN(ModelConfig(backbone=BACKBONE)).backbone
    export(model, tmp_path / "m.onnx")  # it rounds the model's weights, as the file stores them
    start_from(fresh, tmp_path / "m.onnx", Console(quiet=True))
    for name, value in model.model.backbone.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], value, rtol=0, atol=0)
    (tmp_path / "broken.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:500])
    for name, message in (("broken.onnx", "truncated, or no ONNX file"), ("none.onnx", "no such file")):
        with pytest.raises(CheckpointError, match=message):
            start_from(fresh, tmp_path / name, Console(quiet=True))


def test_an_exported_file_is_a_model_again(tmp_path):
    """Without temperature and further views, which belong to the file and not to the network."""
    model = trained(cut="stem", region_size=32)
    model.description |= {"format": "published RAN", "training": {"split": "train"}}  # the network's own settings tell
    model.views = 2
    export(model, tmp_path / "m.onnx", Calibration(0.5, 0.9, 0.5, 0.95, 10, "faces"))
    again = checkpoint.load(tmp_path / "m.onnx")
    assert again.description["training"] == {"split": "train"}
    model.views = 1
    faces = example_faces(3, 48, 48).numpy()
    np.testing.assert_array_equal(again(faces, "abc").probabilities, model(faces, "abc").probabilities)
    checkpoint.go_on_from(RAN(model.model.config), tmp_path / "m.onnx")
    with pytest.raises(CheckpointError, match=r"m.onnx: its weights do not fit"):
        checkpoint.go_on_from(RAN(ModelConfig(cut="stem")), tmp_path / "m.onnx")


def test_the_mean_of_two_files_has_the_mean_of_their_weights_and_knows_what_both_know(tmp_path):
    paths = tmp_path / "a" / "best.safetensors", tmp_path / "b" / "best.safetensors"
    states = []
    for path, split, shift in zip(paths, ("valid", "train"), (0.0, 0.5), strict=True):
        model = trained(cut="stem").model
        for parameter in model.parameters():
            parameter.data += shift
        save_model(path, model, {"training": {"dataset": "ferplus", "split": split}})
        states.append(model.state_dict())
    mean = load_mean(paths)
    for name, value in mean.model.named_parameters():
        torch.testing.assert_close(value.data, (states[0][name] + states[1][name]) / 2)
    assert learnt_by(mean.description) == ["ferplus train", "ferplus valid"]
    assert mean.description["mean_of"] == ["a/best.safetensors", "b/best.safetensors"]
    assert mean.description["training"]["split"] == "train"
    assert "mean_of" not in load_mean(paths[:1]).description
    save_model(paths[0], trained(cut="image").model, {})
    with pytest.raises(CheckpointError, match=r"its network is not that of .*, so their weights have no mean"):
        load_mean(paths)


def test_a_mirrored_face_gets_the_same_probabilities_where_both_are_evaluated():
    model = trained()
    faces = np.random.default_rng(1).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    ids = ["a", "b", "c"]
    alone, flipped = model(faces, ids).probabilities, model(faces[:, :, ::-1], ids).probabilities
    model.views = 2
    both = model(faces, ids).probabilities
    np.testing.assert_allclose(both, (alone + flipped) / 2, atol=1e-6)
    np.testing.assert_allclose(model(faces[:, :, ::-1], ids).probabilities, both, atol=1e-6)


def test_only_faces_of_which_two_views_are_unsure_are_evaluated_turned_too(tmp_path):
    model = trained(**PLAIN)
    faces = np.random.default_rng(1).integers(0, 256, (12, 48, 48, 3), dtype=np.uint8)
    faces[::2] //= 8  # so that their features differ
    ids = [*"abcdefghijkl"]
    images = model.model.eval().prepare(torch.from_numpy(faces))
    with torch.no_grad():
        # Half of them sure: the classifier tells apart what differs most between these faces.
        features = model.model(images).representation
        first = torch.linalg.svd(features - features.mean(0))[2][0]
        model.model.fc.weight.zero_()[0] = first * 4 / ((features - features.mean(0)) @ first).std()
        model.model.fc.bias.zero_()[0] = 2 - features.mean(0) @ model.model.fc.weight[0]
        views = [images, *(rotated(images, angle) for angle in (ROTATION, -ROTATION))]
        views = [image for view in views for image in (view, view.flip(-1))]
        probabilities = torch.stack([model.model(view).logits.softmax(1) for view in views])
    two, six = probabilities[:2].mean(dim=0), probabilities.mean(dim=0)
    sure = two.amax(dim=1) >= SURE
    assert 2 < sure.sum() < 10
    expected = torch.where(sure[:, None], two, six)
    assert (two - six).abs().amax(dim=1).min() > 1e-4  # the views are told apart
    model.views = 6
    np.testing.assert_allclose(model(faces, ids).probabilities, expected, atol=1e-6)
    export(model, tmp_path / "m.onnx", half=False)
    opened = open_onnx(tmp_path / "m.onnx")
    for some in (slice(None), sure.numpy(), ~sure.numpy(), slice(0, 1), slice(1, 2)):
        np.testing.assert_allclose(opened(faces[some], ids).probabilities, expected[some], atol=1e-4)


def test_faces_with_regions_of_their_own_are_not_evaluated_turned(tmp_path):
    model = trained(regions=RegionsConfig(scheme="random", count=3))
    model.views = 6
    with pytest.raises(ConfigError, match="regions that all faces share"):
        model(np.zeros((2, 48, 48, 3), dtype=np.uint8), ["a", "b"])
    with pytest.raises(ConfigError, match="regions that all faces share"):
        export(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_boxes_that_are_given_replace_those_of_the_model_in_every_view():
    model = trained(regions=RegionsConfig(scheme="fixed5")).model.eval()
    images, boxes = torch.rand(1, 1, 48, 48), torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.3, 0.4, 0.6, 0.8]]])
    with torch.no_grad():
        one = model.predict(images, boxes, views=6)[0]
        model.boxes = model.boxes[:, :1]  # what would be taken instead
        torch.testing.assert_close(model.predict(images, boxes, views=6)[0], one)


def test_turning_is_about_the_middle_and_by_the_angle_that_is_said():
    image = torch.zeros(1, 1, 49, 49)
    image[0, 0, 23:26, 38:43] = 1.0  # to the right of the middle, 16 pixels away
    for angle in (30.0, -30.0):
        view = rotated(image, angle)
        rows, columns = torch.meshgrid(torch.arange(49.0), torch.arange(49.0), indexing="ij")
        y, x = ((view[0, 0] * place).sum() / view.sum() - 24 for place in (rows, columns))
        assert math.degrees(math.atan2(y, x)) == pytest.approx(-angle, abs=0.5)  # y goes down
        assert math.hypot(x, y) == pytest.approx(16, abs=0.1)


def test_weights_of_regions_keep_their_digits_where_attention_is_faint(tmp_path):
    model = trained(cut="stem", region_size=32)
    torch.nn.init.constant_(model.model.attention.relation_attention.bias, -10.0)  # only shares of the weight count
    assert export(model, tmp_path / "m.onnx") < 1e-5


def test_half_weights_take_half_the_space_and_only_half_weights_are_stored(tmp_path):
    big = PLAIN | {"backbone": BackboneConfig(arguments={"widths": [32, 32, 64, 128]})}
    export(Trained(RAN(ModelConfig(**big))), tmp_path / "half.onnx")
    export(Trained(RAN(ModelConfig(**big))), tmp_path / "full.onnx", half=False)
    weights = sum(p.numel() for p in RAN(ModelConfig(**big)).parameters() if p.ndim > 1)
    saved = (tmp_path / "full.onnx").stat().st_size - (tmp_path / "half.onnx").stat().st_size
    assert saved == pytest.approx(2 * weights, rel=0.02)
    stored = onnx.load(tmp_path / "half.onnx").graph.initializer
    assert not [
        t.name for t in stored if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1 and np.prod(t.dims) > 1000
    ]


def test_a_file_that_differs_is_refused_and_none_is_left(tmp_path, monkeypatch):
    model = trained(**PLAIN)
    export(model, tmp_path / "m.onnx")
    other = Graph(model.model, 2.0, 1)
    with pytest.raises(CheckpointError, match=r"m.onnx: the exported \w+ differ from PyTorch's"):
        check_parity(other, tmp_path / "m.onnx", lambda *size: (example_faces(*size),))
    monkeypatch.setattr("ranfer.onnx_file.TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match="differ from PyTorch's"):
        export(model, tmp_path / "n.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_the_command_exports_and_calibrates(tmp_path, capsys):
    model = trained(**PLAIN)
    save_model(tmp_path / "m.safetensors", model.model, {})
    data = write_ferplus(tmp_path / "faces", {"train": 8, "valid": 40}).data
    arguments = ["export", "--weights", str(tmp_path / "m.safetensors"), "--out", str(tmp_path / "m.onnx")]
    app([*arguments, "--calibrate", f"ferplus:{data}"], standalone_mode=False)
    assert "temperature" in capsys.readouterr().out
    told = json.loads(onnx.load(tmp_path / "m.onnx").metadata_props[0].value)
    assert 0.25 <= told["trust"]["temperature"] <= 4
    assert told["trust"]["n"] <= 40

    learnt = {"training": {"dataset": "ferplus", "split": "train+valid"}}
    save_model(tmp_path / "m.safetensors", model.model, learnt)
    with pytest.raises(ConfigError, match=r"the model has learnt ferplus valid, .*--calibrate-as FILE.onnx"):
        calibrate(load_checkpoint(tmp_path / "m.safetensors"), f"ferplus:{data}", "valid")
    other = [*arguments[:-1], str(tmp_path / "other.onnx"), "--calibrate-as"]
    app([*other, str(tmp_path / "m.onnx")], standalone_mode=False)
    taken = json.loads(onnx.load(tmp_path / "other.onnx").metadata_props[0].value)["trust"]
    assert taken == told["trust"] | {"data": "ferplus valid, by m.onnx"}
    app(arguments, standalone_mode=False)
    calibrated = str(tmp_path / "other.onnx")
    taking = [*arguments[:-1], str(tmp_path / "third.onnx"), "--calibrate-as", calibrated]
    for words, message in (
        ([*taking, "--views", "2"], "another network, or other --views"),
        ([*taking, "--views", "3"], "--views must be 1, 2 or 6, got 3"),
        ([*other, str(tmp_path / "m.onnx")], "m.onnx: was not calibrated"),
        ([*other, "a.onnx", "--calibrate", f"ferplus:{data}"], "only one of --calibrate and"),
    ):
        assert message in CliRunner().invoke(app, words).stderr.replace("\n", " ")


def test_checkpoints_are_evaluated_and_calibrated_on_the_best_device(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Trained, "on_best_device", lambda self: asked.append(self) or self)
    monkeypatch.setattr("ranfer.export.export", lambda trained, path, *_, **__: float(path.write_bytes(b"")))
    weights, data = str(tmp_path / "m.safetensors"), f"ferplus:{write_ferplus(tmp_path / 'faces', {'valid': 8}).data}"
    save_model(tmp_path / "m.safetensors", trained().model, {})
    app(["export", "--weights", weights, "--out", str(tmp_path / "m.onnx"), "--calibrate", data], standalone_mode=False)
    assert len(asked) == 1
    words = ["evaluate", "--data", data, "--split", "valid", "--weights", weights, "--out", str(tmp_path / "out")]
    app(words, standalone_mode=False)
    assert len(asked) == 2
