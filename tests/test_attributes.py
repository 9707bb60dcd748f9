"""The attribute model: its network, its file, its light side, and the command that runs it over a dataset."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from heads import draw_head
from layouts import write_sfew
from ranfer.attribute_net import AttributeNet, export_attributes
from ranfer.data import open_dataset
from ranfer.data.attributes import about_path, read_attributes
from ranfer.data.drawn import write_ferplus
from ranfer.errors import CheckpointError, ConfigError, DataError
from ranfer.estimate import estimate
from ranfer.faces.attributes import ATTRIBUTE_WEIGHTS, AttributeEstimate, AttributeModel
from ranfer.files import locked
from ranfer.regions import MIRRORED
from ranfer.vocab import ESTIMATED, Occlusion


@pytest.fixture
def file(tmp_path, unchecked) -> Path:
    torch.manual_seed(0)
    assert export_attributes(AttributeNet(), tmp_path / "small.onnx", {"revision": "test"}) < 1e-4
    return tmp_path / "small.onnx"


def some_faces(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 48, 48, 3), dtype=np.uint8)


def test_a_mirrored_face_has_mirrored_attributes(file):
    model, faces = AttributeModel(file), some_faces()
    said, mirrored = model(faces), model(faces[:, :, ::-1].copy())
    np.testing.assert_allclose(mirrored.pose, said.pose * (-1, 1, -1), atol=1e-3)
    np.testing.assert_allclose(mirrored.occlusion, said.occlusion, atol=1e-5)
    np.testing.assert_allclose(mirrored.visible, said.visible[:, :, ::-1], atol=1e-5)
    np.testing.assert_allclose(mirrored.landmarks, said.landmarks[:, MIRRORED] * (-1, 1) + (1, 0), atol=1e-5)


def test_one_file_serves_any_size_and_number_of_faces(file):
    said = AttributeModel(file)(np.zeros((5, 31, 90, 3), dtype=np.uint8))
    assert [part.shape for part in said] == [(5, 5, 2), (5, 3), (5, 4), (5, 6, 6)]
    assert ((said.occlusion > 0) & (said.occlusion < 1)).all()


def test_another_models_file_is_refused(tmp_path):
    default = ATTRIBUTE_WEIGHTS.with_name("default.onnx")
    with pytest.raises(CheckpointError, match=r"default.onnx: not an attribute model"):
        AttributeModel(default)
    with pytest.raises(CheckpointError, match="no such file"):
        AttributeModel(tmp_path / "none.onnx")


def test_the_visibility_of_a_region_is_the_mean_of_the_cells_under_it():
    visible = np.zeros((1, 6, 6))
    visible[0, :, 3:] = 1  # the right half
    said = AttributeEstimate(np.zeros((1, 5, 2)), np.zeros((1, 3)), np.zeros((1, 4)), visible)
    boxes = np.array(
        [[(0, 0, 1, 1), (0.5, 0.5, 1, 1), (0, 0, 0.5, 1), (0.25, 0, 0.75, 1), (0.9, 0.9, 1.5, 1.5), (2, 2, 3, 3)]]
    )
    np.testing.assert_allclose(said.visibility(boxes), [[0.5, 1, 0, 0.5, 1, 0]])


def test_none_is_the_chance_that_no_kind_holds(file):
    (face,) = AttributeModel(file)(some_faces(1)).attributes()
    assert face.none == pytest.approx(np.prod([1 - face.occlusion[kind] for kind in ESTIMATED]))


def test_estimates_go_on_where_they_stopped_and_end_the_same(file, tmp_path):
    dataset = open_dataset(f"ferplus:{write_ferplus(tmp_path / 'faces', {'train': 5, 'valid': 70}, seed=0).data}")
    model = AttributeModel(file)
    whole = tmp_path / "whole.jsonl"
    seen: list[tuple[int, int]] = []
    found = estimate(dataset, "valid", whole, model, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 70), (64, 70), (70, 70)] and len(found.records) == 70 and not found.errors
    content = whole.read_bytes()
    stopped = tmp_path / "stopped.jsonl"
    about_path(stopped).write_bytes(about_path(whole).read_bytes())
    stopped.write_bytes(content[: content.index(b"\n") + 20])  # one line and a torn one
    assert len(estimate(dataset, "valid", stopped, model).records) == 70
    stopped.write_bytes(stopped.read_bytes()[:-1])  # stopped before the end of the line alone
    assert len(estimate(dataset, "valid", stopped, model).records) == 70
    again = [json.loads(line) for line in stopped.read_text().splitlines()]
    for ours, theirs in zip(again, map(json.loads, content.decode().splitlines()), strict=True):
        assert ours["id"] == theirs["id"]
        assert ours["yaw"] == pytest.approx(theirs["yaw"], abs=0.02)
    assert len(read_attributes(whole).records) == 70
    with pytest.raises(ConfigError, match=r"whole.jsonl: was made from"):
        estimate(dataset, "train", whole, model)
    others = open_dataset(f"ferplus:{write_ferplus(tmp_path / 'b' / 'faces', {'train': 5, 'valid': 69}, seed=0).data}")
    with pytest.raises(
        ConfigError,
        match=r"made from ferplus:ferplus valid \(.*, not from ferplus:ferplus valid",
    ):
        estimate(others, "valid", whole, model)
    whole.unlink()
    estimate(others, "valid", whole, model)  # and what its file told before is forgotten
    assert read_attributes(whole).about["faces"] != read_attributes(stopped).about["faces"]
    with locked(whole), pytest.raises(ConfigError, match="another run is writing it"):
        estimate(others, "valid", whole, model)
    (tmp_path / "others.jsonl").write_text('{"id": "a"}\n{"id": "b"}')
    with pytest.raises(ConfigError, match="was made from unknown data"):
        estimate(dataset, "valid", tmp_path / "others.jsonl", model)
    assert (tmp_path / "others.jsonl").read_text() == '{"id": "a"}\n{"id": "b"}'
    (tmp_path / "notes.csv").write_text("mine,\nand unfinished")
    with pytest.raises(ConfigError, match=r"notes.csv: holds something else than attributes"):
        estimate(dataset, "valid", tmp_path / "notes.csv", model)
    assert (tmp_path / "notes.csv").read_text() == "mine,\nand unfinished"


def test_an_unreadable_face_has_a_line_that_says_so(file, tmp_path):
    drawn = write_ferplus(tmp_path / "faces", {"train": 1, "valid": 3}, seed=0)
    dataset = open_dataset(f"ferplus:{drawn.data}")
    broken = dataset.split("valid")[1]
    broken.location.path.write_bytes(b"no picture")
    found = estimate(dataset, "valid", tmp_path / "faces.jsonl", AttributeModel(file))
    assert list(found.errors) == [broken.id] and len(found.records) == 2
    lines = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    assert str(broken.location.path) in lines[1]["error"] and "yaw" in lines[2]
    assert set(lines[0]["occlusion"]) == {*ESTIMATED, "none"} and len(lines[0]["landmarks"]) == 5


def test_stills_are_refused_and_photos_are_shrunk(file, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="film stills, whose faces must be found first"):
        estimate(
            open_dataset(f"sfew:{write_sfew(tmp_path / 'sfew', 1)}"),
            "valid",
            tmp_path / "s.jsonl",
            AttributeModel(file),
        )
    (tmp_path / "faces").mkdir()
    Image.new("RGB", (3000, 4000)).save(tmp_path / "faces" / "large.png")
    dataset = open_dataset(f"folder:{tmp_path / 'faces'}")
    seen = []
    call = AttributeModel.__call__
    monkeypatch.setattr(AttributeModel, "__call__", lambda self, faces: seen.append(faces.shape) or call(self, faces))
    estimate(dataset, "all", tmp_path / "f.jsonl", AttributeModel(file))
    (shape,) = seen
    assert 500**2 < shape[1] * shape[2] <= 512**2


@pytest.mark.parametrize(
    "pose", [(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 15), (0, 0, -15), (30, 0, 15)]
)
def test_the_shipped_model_tells_how_a_drawn_head_is_turned(pose):
    told = AttributeModel()(draw_head(*pose)[None]).pose[0]
    assert (np.abs(told - pose) < (20, 15, 10)).all()  # degrees: it never saw a drawn head


def test_real_labelled_faces_are_told_apart(real_data):
    labels = read_attributes(Path(__file__).parents[1] / "labels" / "ferplus_occlusion.jsonl")
    dataset = open_dataset(f"ferplus:{real_data / 'ferplus_train_valid.zip'}")
    told = [
        s for s in dataset.split("valid") if Occlusion.EYEWEAR in getattr(labels.records.get(s.id), "occlusion", ())
    ]
    truth = np.array([labels.records[sample.id].occlusion[Occlusion.EYEWEAR] for sample in told])
    scores = AttributeModel()(np.stack([dataset.image(sample) for sample in told])).occlusion[:, 3]
    wins = (scores[truth == 1][:, None] > scores[truth == 0]).mean()
    assert len(told) > 800 and wins > 0.9
