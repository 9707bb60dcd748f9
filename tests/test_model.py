"""The network against a plain transcription of its equations, and what must not matter."""

import itertools

import pytest
import torch
from torch import nn

from ranfer.backbones import build_backbone
from ranfer.config import BackboneConfig, ModelConfig, RegionsConfig
from ranfer.crop import from_bytes, resize
from ranfer.errors import ConfigError
from ranfer.model import RAN, Attention
from ranfer.regions import random_regions

ATTENTIONS = ("average", "self", "relation")


def transcription(attention: Attention, features: torch.Tensor) -> torch.Tensor:
    """P of one face, region by region, as method and published code write it; features (r, d)."""
    sigmoid = torch.sigmoid
    mu = [torch.tensor(1.0) for _ in features]
    if attention.self_attention is not None:
        q0, b0 = attention.self_attention.weight[0], attention.self_attention.bias[0]
        mu = [sigmoid(q0 @ f + b0) for f in features]
        if attention.softmax:
            mu = [m.exp() / sum(n.exp() for n in mu) for m in mu]
    mean = sum(m * f for m, f in zip(mu, features, strict=True)) / sum(mu)
    if attention.relation_attention is None:
        return mean
    q1, b1 = attention.relation_attention.weight[0], attention.relation_attention.bias[0]
    pairs = [torch.cat([f, mean]) for f in features]
    nu = [sigmoid(q1 @ p + b1) for p in pairs]
    if attention.softmax:
        nu = [n.exp() / sum(m.exp() for m in nu) for n in nu]
    products = [m * n for m, n in zip(mu, nu, strict=True)]
    return sum(w * p for w, p in zip(products, pairs, strict=True)) / sum(products)


@pytest.mark.parametrize(("kind", "normalization"), [*itertools.product(ATTENTIONS, ("ratio", "softmax"))])
def test_attention_is_its_equations(kind, normalization):
    torch.manual_seed(0)
    attention = Attention(16, kind, normalization)
    features = torch.randn(3, 6, 16)
    representation, mu, nu, weight = attention(features)
    expected = torch.stack([transcription(attention, face) for face in features])
    torch.testing.assert_close(representation, expected)
    assert representation.shape == (3, attention.output_size)
    torch.testing.assert_close(weight, mu * nu / (mu * nu).sum(1, keepdim=True))


@pytest.mark.parametrize(("kind", "normalization"), [*itertools.product(ATTENTIONS, ("ratio", "softmax"))])
def test_an_absent_region_has_no_influence_at_all(kind, normalization):
    torch.manual_seed(0)
    attention = Attention(16, kind, normalization)
    features = torch.randn(2, 6, 16)
    mask = torch.tensor([[True] * 6, [True, True, False, True, False, False]])
    features[1, 2] = torch.inf
    features[1, 4] = torch.nan
    representation, mu, nu, weight = attention(features, mask)
    shorter = attention(features[1:, mask[1]])
    torch.testing.assert_close(representation[1:], shorter[0])
    torch.testing.assert_close(weight[1:, mask[1]], shorter[3])
    assert mu[~mask].abs().max() == nu[~mask].abs().max() == weight[~mask].abs().max() == 0
    torch.testing.assert_close(representation[:1], attention(features[:1])[0])


@pytest.mark.parametrize(("kind", "normalization"), [*itertools.product(ATTENTIONS, ("ratio", "softmax"))])
def test_no_gradient_flows_to_an_absent_region(kind, normalization):
    attention = Attention(4, kind, normalization)
    features = torch.randn(1, 3, 4, requires_grad=True)
    attention(features, torch.tensor([[True, True, False]]))[0].sum().backward()
    assert features.grad[0, 2].abs().max() == 0
    assert features.grad[0, 1].abs().max() > 0


def model(**changes: object) -> RAN:
    torch.manual_seed(1)
    made = RAN(ModelConfig(**{"backbone": BackboneConfig(arguments={"widths": (8, 8, 16, 16)}), **changes}))
    for parameter in made.parameters():  # away from the start, where residual branches are silent
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.2, 1.0)
    return made.eval()


def test_the_order_of_crops_does_not_matter():
    network, images = model(), torch.rand(2, 1, 48, 48)
    order = [0, 3, 1, 5, 2, 4]
    straight, shuffled = network(images), network(images, network.boxes[:, order])
    torch.testing.assert_close(shuffled.logits, straight.logits)
    torch.testing.assert_close(shuffled.weight, straight.weight[:, order])


def test_faces_may_have_different_numbers_of_regions():
    network, images = model(), torch.rand(2, 1, 48, 48)
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    ragged = network(images, mask=mask)
    shorter = network(images[1:], network.boxes[:, mask[1]])
    torch.testing.assert_close(ragged.logits[1:], shorter.logits)
    torch.testing.assert_close(ragged.logits[:1], network(images[:1]).logits)


@pytest.mark.parametrize("cut", ["image", "stem", "stage1", "stage2", "stage3"])
def test_a_face_is_evaluated_alone_wherever_its_regions_are_cut(cut):
    network, images = model(cut=cut, region_size=None if cut != "stem" else 32), torch.rand(3, 1, 48, 48)
    together = network(images)
    assert together.mu.shape == (3, 6)
    torch.testing.assert_close(network(images[1:2]).logits, together.logits[1:2], atol=1e-5, rtol=1e-4)


def test_early_stages_run_once_a_face_where_regions_are_cut_late():
    network = model(cut="stage1")
    seen = []
    network.backbone.layer1.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    network.backbone.layer2.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    network(torch.rand(2, 1, 48, 48))
    assert seen == [2, 12]  # and one call sees all regions of the batch


def test_the_baseline_is_the_backbone_and_a_linear_layer():
    network = model(regions=RegionsConfig(scheme="none"), attention="none")
    images = torch.rand(2, 1, 48, 48)
    maps = (images - 0.5) / 0.25
    for step in network.backbone.steps:
        maps = step(maps)
    torch.testing.assert_close(network(images).logits, network.fc(maps))
    assert (network(images).weight == 1).all()


def test_random_regions_need_the_boxes_of_each_face():
    network = model(regions=RegionsConfig(scheme="random", count=3))
    with pytest.raises(ConfigError, match="boxes of each face"):
        network(torch.rand(2, 1, 48, 48))
    boxes = torch.from_numpy(random_regions(["a", "b"], 3))
    assert network(torch.rand(2, 1, 48, 48), boxes).weight.shape == (2, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_of_any_size_and_colour_become_the_models_input(channels):
    network = model(channels=channels)
    rgb = torch.randint(0, 256, (2, 60, 60, 3), dtype=torch.uint8)
    assert network.prepare(rgb).shape == (2, channels, 48, 48)
    grey = torch.randint(0, 256, (2, 48, 48, 1), dtype=torch.uint8)
    torch.testing.assert_close(network.prepare(grey), network.prepare(grey.expand(-1, -1, -1, 3)), atol=1e-6, rtol=0)
    assert network(network.prepare(rgb)).logits.shape == (2, 8)


@pytest.mark.parametrize("cut", ["image", "stem"])
def test_a_network_that_enlarges_faces_answers_as_one_of_larger_faces_and_sees_no_finer_detail(cut):
    enlarging, larger = model(cut=cut, enlarge=64), model(cut=cut, size=64)
    larger.load_state_dict(enlarging.state_dict())
    faces = torch.randint(0, 256, (2, 48, 48, 1), dtype=torch.uint8)
    expected = larger(larger.prepare(faces)).logits
    torch.testing.assert_close(enlarging(enlarging.prepare(faces)).logits, expected, atol=1e-5, rtol=1e-4)
    sharp = torch.randint(0, 256, (2, 192, 192, 1), dtype=torch.uint8)
    torch.testing.assert_close(enlarging.prepare(sharp), resize(from_bytes(sharp, 1, 48), 64))


def test_a_network_does_not_enlarge_to_less():
    with pytest.raises(ValueError, match="enlarge must be more than size, which is 48; got 48"):
        ModelConfig(enlarge=48)


@pytest.mark.parametrize(
    ("name", "stem", "channels", "size", "d", "millions"),
    [
        ("resnet18", "large", 3, 64, 512, 11.18),
        ("resnet18", "small", 1, 32, 512, 11.17),
        ("resnet34", "large", 3, 64, 512, 21.28),
        ("resnet50", "large", 3, 64, 2048, 23.51),
        ("vgg16", "large", 3, 64, 512, 14.71),
        ("vgg16", "small", 1, 24, 512, 14.71),
        ("compact", "small", 1, 48, 256, 2.80),
    ],
)
def test_backbones_have_their_known_sizes(name, stem, channels, size, d, millions):
    backbone = build_backbone(BackboneConfig(name=name, stem=stem), channels, size)
    maps = torch.rand(2, channels, size, size)
    for step in backbone.steps:
        maps = step(maps)
    assert maps.shape == (2, d)
    assert backbone.feature_size == d
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


def plain_network(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, width, 3, 2), nn.AdaptiveAvgPool2d(1))


class Odd(nn.Module):
    def __init__(self, gives: object) -> None:
        super().__init__()
        self.gives = gives

    def forward(self, images: torch.Tensor) -> object:
        return self.gives


def test_any_callable_by_import_path_is_a_backbone():
    backbone = BackboneConfig(name=f"{__name__}.plain_network", arguments={"width": 10})
    network = RAN(ModelConfig(backbone=backbone))
    assert network(torch.rand(2, 1, 48, 48)).representation.shape == (2, 20)
    with pytest.raises(ConfigError, match="only cut: image"):
        RAN(ModelConfig(backbone=backbone, cut="stem"))


class OfOneSize(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(size**2, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1))


def test_a_backbone_is_made_for_the_crops_that_it_will_see():
    backbone = BackboneConfig(name=f"{__name__}.OfOneSize", arguments={"size": 24})
    network = RAN(ModelConfig(backbone=backbone, region_size=24))
    assert network(torch.rand(2, 1, 48, 48)).logits.shape == (2, 8)
    with pytest.raises(ConfigError, match=r"no feature for images of 1 channel.* and 48 pixels"):
        RAN(ModelConfig(backbone=backbone, region_size=24, regions=RegionsConfig(scheme="none"), attention="none"))


def test_all_views_of_a_face_have_the_regions_that_were_given():
    network, faces = model().eval(), torch.rand(2, 1, 48, 48)
    boxes = network.boxes[:, [0, 1, 2]]
    given = network.predict(faces, boxes, views=6)[0]
    network.boxes = boxes
    torch.testing.assert_close(given, network.predict(faces, views=6)[0])
    with pytest.raises(ConfigError, match="expected 1, 2 or 6 views"):
        network.predict(faces, views=3)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet19", {}, "resnet18, resnet34"),
        ("no_such_package.net", {}, "cannot be imported"),
        ("torch.nn.Lineal", {}, "cannot be imported"),
        ("json.dumps", {"obj": 1}, "expected it to give a torch.nn.Module, got str"),
        ("compact", {"depth": 3}, "wrong arguments"),
        ("compact", {"widths": [16, 32]}, "widths must be 4 numbers"),
        ("compact", {"widths": [16, 0, 32, 64]}, "1 or more"),
        ("resnet18", {"first_stride": 0}, "1 or more"),
        ("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 4, "kernel_size": 9}, "images of 1 channel.*expected"),
        ("torch.nn.MultiheadAttention", {"embed_dim": 48, "num_heads": 0}, "cannot be imported and called"),
        ("torch.nn.LSTM", {"input_size": 48, "hidden_size": 4}, "no feature for images of 1 channel"),
        (f"{__name__}.Odd", {"gives": (1, 2)}, r"makes tuple, not one tensor of shape \(2, d\)"),
        (f"{__name__}.Odd", {"gives": torch.zeros(())}, r"makes \(\), not one tensor of shape \(2, d\)"),
    ],
)
def test_a_wrong_backbone_is_refused_by_name(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(BackboneConfig(name=name, arguments=arguments), 1, 48)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("cut", ["image", "stem"])
def test_the_network_compiles_without_a_graph_break(cut):
    network, images = model(cut=cut), torch.rand(2, 1, 48, 48)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images).logits, network(images).logits)
