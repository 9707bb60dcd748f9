"""Networks that turn a region into a feature: ResNet, VGG16, a compact ResNet, and anybody's by import path.

A backbone is a row of ``steps``, so that a model may cut its regions between two of them. Parameter names are those of
torchvision (He et al. 2016, Simonyan & Zisserman 2015), so that common weight files fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ranfer.config import BackboneConfig
from ranfer.errors import ConfigError

Step = Callable[[Tensor], Tensor]


class Backbone(nn.Module):
    """A network from images (n, c, s, s) to features (n, d), as steps to be applied in turn."""

    feature_size: int

    @property
    def steps(self) -> Sequence[Step]:
        """Stem, stages 1, 2 and 3, and the rest with the pooling; a network that cannot be cut is one step."""
        raise NotImplementedError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut round them."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, width, h / stride, w / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        out: Tensor = (self.bn2(self.conv2(y)) + self.downsample(x)).relu()
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and the shortcut round them, four times as wide outside as inside."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, 4 width, h / stride, w / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        out: Tensor = (self.bn3(self.conv3(y)) + self.downsample(x)).relu()
        return out


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(Backbone):
    """Four stages of residual blocks and a mean over positions.

    The ``large`` stem halves the image twice before the first stage; the ``small`` one keeps its size, and then
    ``first_stride`` says whether the first stage halves it.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: Sequence[int],
        channels: int,
        stem: str,
        widths: Sequence[int] = (64, 128, 256, 512),
        first_stride: int = 1,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths) or min(*widths, first_stride) < 1:
            raise ValueError(f"widths must be {len(depths)} numbers, and they and first_stride 1 or more")
        large = stem == "large"
        self.conv1 = nn.Conv2d(channels, widths[0], 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        inputs = widths[0]
        stages = []
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            blocks = []
            for i in range(depth):
                stride = (first_stride if number == 1 else 2) if i == 0 else 1
                blocks.append(block(inputs, width, stride))
                inputs = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.feature_size = inputs
        _initialise(self)

    @property
    def steps(self) -> Sequence[Step]:
        """Stem, stages 1 to 3, and stage 4 with the pooling."""
        return self._stem, self.layer1, self.layer2, self.layer3, self._last

    def _stem(self, x: Tensor) -> Tensor:
        out: Tensor = self.maxpool(self.bn1(self.conv1(x)).relu())
        return out

    def _last(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer4(x).mean((-2, -1))
        return out


class VGG16(Backbone):
    """Thirteen 3x3 convolutions in five groups and a mean over positions: a feature of 512.

    Unlike the original there are no fully connected layers; the two of VGG-Face hold 119 of its 134 million weights.
    The ``small`` stem leaves out the first two of the five halvings.
    """

    feature_size = 512

    def __init__(self, channels: int, stem: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        ends = []
        for group, (depth, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            # Identity keeps the numbers of later layers, and so their names in weight files.
            layers.append(nn.Identity() if stem == "small" and group < 2 else nn.MaxPool2d(2))
            ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        self._groups = list(zip([0, *ends[:-1]], ends, strict=True))
        _initialise(self)

    @property
    def steps(self) -> Sequence[Step]:
        """The groups of convolutions; the first is the stem, the last has the pooling."""
        *first, last = (self.features[start:stop] for start, stop in self._groups)
        return *first, nn.Sequential(last, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Foreign(Backbone):
    """A module of somebody else, from images (n, c, s, s) to (n, d) or (n, d, 1, 1), as a backbone of one step."""

    def __init__(self, module: nn.Module, channels: int, size: int) -> None:
        super().__init__()
        self.module = module
        training = module.training
        with torch.no_grad():
            feature = self.module.eval()(torch.zeros(2, channels, size, size))
        module.train(training)
        if not isinstance(feature, Tensor) or feature.ndim < 2 or feature.shape[0] != 2:
            got = tuple(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
            raise TypeError(f"of two images it makes {got}, not one tensor of shape (2, d)")
        self.feature_size = feature[0].numel()

    @property
    def steps(self) -> Sequence[Step]:
        """The module, flattened."""
        return (self._feature,)

    def _feature(self, x: Float[Tensor, "n c s s"]) -> Float[Tensor, "n d"]:
        out: Tensor = self.module(x).flatten(1)
        return out


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():  # a block begins as its shortcut (Goyal et al. 2017)
        if isinstance(module, BasicBlock | Bottleneck):
            nn.init.zeros_((module.bn2 if isinstance(module, BasicBlock) else module.bn3).weight)


BUILT_IN = ("resnet18", "resnet34", "resnet50", "vgg16", "compact")  # any other name is an import path


def build_backbone(config: BackboneConfig, channels: int, size: int) -> Backbone:
    """The backbone that the settings name, for images of ``channels`` and ``size`` pixels.

    Raises:
        ConfigError: no such name, wrong arguments, or an import path that cannot be imported or called, or whose
            network gives no feature for such images.
    """
    resnets: dict[str, tuple[type[BasicBlock | Bottleneck], Sequence[int]]] = {
        "resnet18": (BasicBlock, (2, 2, 2, 2)),
        "resnet34": (BasicBlock, (3, 4, 6, 3)),
        "resnet50": (Bottleneck, (3, 4, 6, 3)),
    }
    try:
        if config.name in resnets:
            return ResNet(*resnets[config.name], channels, config.stem, **config.arguments)
        if config.name == "vgg16":
            return VGG16(channels, config.stem, **config.arguments)
        if config.name == "compact":
            # A ResNet-18 of half the width that works at half the resolution: 1/16 of the work.
            arguments = {"widths": (32, 64, 128, 256), "first_stride": 2, **config.arguments}
            return ResNet(BasicBlock, (2, 2, 2, 2), channels, config.stem, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"backbone {config.name}: wrong arguments {config.arguments} ({error})") from error
    module = _call(config.name, config.arguments)
    try:
        return Foreign(module, channels, size)
    except Exception as error:  # somebody else's code may raise anything
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"backbone {config.name}: no feature for images of {channels} channel(s) and {size} pixels ({reason})"
        ) from error


def _call(path: str, arguments: dict[str, Any]) -> nn.Module:
    module, _, name = path.rpartition(".")
    if not module:
        raise ConfigError(
            f"backbone {path!r}: expected {', '.join(BUILT_IN)}, or an import path such as package.function"
        )
    try:
        made = getattr(import_module(module), name)(**arguments)
    except Exception as error:  # somebody else's code may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"backbone {path}: cannot be imported and called with {arguments} ({reason})") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"backbone {path}: expected it to give a torch.nn.Module, got {type(made).__name__}")
    return made
