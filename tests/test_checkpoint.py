"""Weights in files: ours, the published network's, and a backbone's; and what is refused."""

import io
import os

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from ranfer.backbones import build_backbone
from ranfer.checkpoint import Trained, go_on_from, load, read_tensors, save_model, start_from, write_tensors
from ranfer.config import BackboneConfig, ModelConfig, RegionsConfig
from ranfer.crop import crop
from ranfer.errors import CheckpointError
from ranfer.model import RAN

SMALL = ModelConfig(backbone=BackboneConfig(arguments={"widths": [8, 8, 16, 16]}))


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)


def test_a_saved_model_comes_back_with_its_answers_and_its_story(tmp_path, faces):
    model = RAN(SMALL).eval()
    save_model(tmp_path / "m.safetensors", model, {"revision": "1", "epoch": 3})
    loaded = load(tmp_path / "m.safetensors")
    before, after = Trained(model)(faces, ["a"] * 3), loaded(faces, ["a"] * 3)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    np.testing.assert_allclose(after.weight.sum(axis=1), 1, rtol=1e-6)
    assert loaded.description["epoch"] == 3
    assert loaded.description["labels"][1] == "happiness"
    assert loaded.model.config == SMALL


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_model_goes_to_a_gpu_where_there_is_one(monkeypatch, there, device):
    asked, trained = [], Trained(RAN(SMALL))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(trained.model, "to", asked.append)
    assert trained.on_best_device() is trained
    assert asked == [device]


def test_a_random_region_model_gives_a_face_the_same_answer_in_any_batch(faces):
    config = SMALL.model_copy(update={"regions": RegionsConfig(scheme="random", count=3)})
    trained = Trained(RAN(config))
    together = trained(faces, ["a", "b", "c"]).probabilities
    np.testing.assert_allclose(trained(faces[1:2], ["b"]).probabilities[0], together[1], rtol=1e-4)


def published_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(name="resnet18", stem="large"), 3, 224)
    weights = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    for name, module in (("alpha.0", nn.Linear(512, 1)), ("beta.0", nn.Linear(1024, 1)), ("fc", nn.Linear(1024, 8))):
        weights |= {f"{name}.{key}": tensor.detach() for key, tensor in module.state_dict().items()}
    return weights


@torch.no_grad()
def published_logits(weights: dict[str, torch.Tensor], crops: torch.Tensor) -> torch.Tensor:
    """The published network in plain steps: crops (b, 6, 3, 224, 224), the whole face last, in [0, 1]."""
    backbone = build_backbone(BackboneConfig(name="resnet18", stem="large"), 3, 224).eval()
    backbone.load_state_dict({k: v for k, v in weights.items() if k.split(".")[0] not in ("alpha", "beta", "fc")})
    features = []
    for i in range(6):
        maps = crops[:, i]
        for step in backbone.steps:
            maps = step(maps)
        features.append(maps)
    alphas = torch.stack(
        [torch.sigmoid(F.linear(f, weights["alpha.0.weight"], weights["alpha.0.bias"])) for f in features]
    )
    alphas = alphas.softmax(dim=0)
    mean = (torch.stack(features) * alphas).sum(0) / alphas.sum(0)
    pairs = torch.stack([torch.cat([f, mean], dim=1) for f in features])
    betas = torch.sigmoid(F.linear(pairs, weights["beta.0.weight"], weights["beta.0.bias"])).softmax(dim=0)
    output = (pairs * alphas * betas).sum(0) / (alphas * betas).sum(0)
    return F.linear(output, weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_checkpoint_loads_as_our_ran_and_gives_its_logits(tmp_path, prefix, faces):
    weights = published_weights()
    path = tmp_path / "published.pth.tar"
    torch.save({"epoch": 7, "arch": "resnet18", "state_dict": {prefix + k: v for k, v in weights.items()}}, path)
    trained = load(path)
    images = torch.rand(2, 3, 224, 224)
    boxes = trained.model.boxes
    last = [1, 2, 3, 4, 5, 0]  # the published order: the whole face last
    expected = published_logits(weights, crop(images, boxes[:, last], 224))
    with torch.inference_mode():
        out = trained.model.eval()(images)
    torch.testing.assert_close(out.logits, expected, atol=1e-4, rtol=1e-4)
    assert trained.model.config.normalization == "softmax"
    assert boxes[0, 5].tolist() == pytest.approx([0.1, 0.1, 0.9, 0.9])
    assert trained(faces, ["a", "b", "c"]).probabilities.shape == (3, 8)


def test_a_published_classifier_of_other_expressions_is_refused(tmp_path):
    save_file(
        {k: v[:7] if k.startswith("fc.") else v for k, v in published_weights().items()}, tmp_path / "p.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"p.safetensors: its classifier has 7 outputs; expected 8"):
        load(tmp_path / "p.safetensors")


class Trap:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_no_pickle_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, "trap.pth")
    with pytest.raises(CheckpointError, match=r"trap.pth: .*nothing is executed"):
        load(tmp_path / "trap.pth")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with pytest.raises(CheckpointError, match=r"photo.jpg: not a PyTorch file") as refused:
        load(tmp_path / "photo.jpg")
    assert "weights_only" not in str(refused.value)  # PyTorch's advice would execute it
    assert not (tmp_path / "executed").exists()


def test_broken_and_foreign_files_are_refused_by_name(tmp_path):
    save_model(tmp_path / "whole.safetensors", RAN(SMALL), {})
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "torn.safetensors").write_bytes(content[: len(content) // 2])
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "opcode.pth").write_text("b")  # which a reader of pickles takes for an instruction
    for name, message in [
        ("absent.safetensors", "no such file"),
        ("absent.pth", "no such file"),
        ("torn.safetensors", "truncated"),
        ("text.pth", "text.pth: "),
        ("opcode.pth", "opcode.pth: truncated, or no file of PyTorch"),
        ("other.pth", "neither a file of ranfer nor of the published network"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path / name)


def test_a_failed_write_keeps_what_stood_there(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_model(path, RAN(SMALL), {"epoch": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ranfer.checkpoint.os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_model(path, RAN(SMALL), {"epoch": 2})
    assert load(path).description["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def backbone() -> nn.Module:
    return build_backbone(SMALL.backbone, 1, 48)


def console() -> Console:
    return Console(file=io.StringIO(), width=300)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
def test_initial_weights_match_by_name_and_say_what_did_not(tmp_path, prefix):
    torch.manual_seed(0)
    given, taken, said = backbone(), backbone(), console()
    state = {prefix + name: tensor for name, tensor in given.state_dict().items()}
    del state[prefix + "bn1.bias"]
    state[prefix + "conv1.weight"] = torch.zeros(8, 3, 3, 3)
    state[prefix + "head.weight"] = torch.zeros(2)
    before = taken.conv1.weight.clone()
    torch.save(state, tmp_path / "w.pth")
    start_from(taken, tmp_path / "w.pth", said)
    torch.testing.assert_close(taken.layer2[0].conv1.weight, given.layer2[0].conv1.weight)
    torch.testing.assert_close(taken.conv1.weight, before)
    text = said.file.getvalue()
    total = len(given.state_dict())
    assert f"{total - 2} of {total} tensors matched" in text
    assert "another shape: 1 (conv1.weight (8, 3, 3, 3), not (8, 1, 3, 3))" in text
    assert "not in the file: 1 (bn1.bias)" in text
    assert "in the file but unused: 1 (head.weight)" in text


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.module."])
def test_initial_weights_of_a_network_by_import_path_match_by_its_own_names(tmp_path, prefix):
    config = BackboneConfig(name="torch.nn.Conv2d", arguments={"in_channels": 1, "out_channels": 4, "kernel_size": 3})
    given, taken = (build_backbone(config, 1, 8) for _ in range(2))
    torch.save({prefix + name: tensor for name, tensor in given.module.state_dict().items()}, tmp_path / "w.pth")
    start_from(taken, tmp_path / "w.pth", said := console())
    torch.testing.assert_close(taken.module.weight, given.module.weight)
    assert "2 of 2 tensors matched" in said.file.getvalue()


def test_initial_weights_of_which_nothing_matches_are_refused(tmp_path):
    save_file({"encoder.weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w.safetensors: nothing matched"):
        start_from(backbone(), tmp_path / "w.safetensors", console())


@pytest.mark.parametrize("kind", ["average", "self", "relation"])
def test_a_model_with_regions_goes_on_from_one_without_with_the_mean_of_its_answers(tmp_path, kind):
    plain = RAN(SMALL.model_copy(update={"regions": RegionsConfig(scheme="none"), "attention": "none"})).eval()
    save_model(tmp_path / "plain.safetensors", plain, {})
    model = RAN(SMALL.model_copy(update={"attention": kind})).eval()
    go_on_from(model, tmp_path / "plain.safetensors")
    images = torch.rand(2, 1, 48, 48)
    assert model.boxes is not None
    views = crop(images, model.boxes, 48)
    with torch.no_grad():
        out, said = model(images), plain(views.flatten(0, 1)).logits.unflatten(0, (2, 6))
    torch.testing.assert_close(out.logits, said.mean(dim=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.weight, torch.full((2, 6), 1 / 6))


def test_a_file_does_not_decide_which_code_runs(tmp_path):
    made = ModelConfig(
        backbone=BackboneConfig(name="test_model.plain_network", arguments={"width": 10}),
        cut="image",
        regions=RegionsConfig(scheme="none"),
        attention="none",
    )
    file = tmp_path / "m.safetensors"
    save_model(file, RAN(made), {})
    with pytest.raises(
        CheckpointError, match=r"m.safetensors: its backbone is made by calling test_model.plain_network"
    ):
        load(file)
    with pytest.raises(CheckpointError, match=r"if you trust the file, add --backbone test_model.plain_network"):
        load(file, "os.system")
    assert load(file, "test_model.plain_network").model.config == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "its labels are None"),
        ({"model": None}, "its settings describe no network"),
        ({"model": {"size": "large"}}, r"its settings describe no network \(.*size"),
    ],
)
def test_a_file_that_describes_itself_wrongly_is_one_error(tmp_path, changes, message):
    file = tmp_path / "m.safetensors"
    save_model(file, RAN(SMALL), {})
    tensors, about = read_tensors(file)
    write_tensors(file, tensors, {**about, **changes})
    with pytest.raises(CheckpointError, match=f"m.safetensors: {message}"):
        load(file)
