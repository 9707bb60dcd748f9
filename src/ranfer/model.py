"""The Region Attention Network: regions of a face, one backbone, attention, one representation.

Source: Wang et al., Region Attention Networks for Pose and Occlusion Robust Facial Expression Recognition, IEEE TIP 29
(2020) 4057-4069, section III. Two normalisations: ``ratio`` is what the equations say; ``softmax`` is what the
published code does, passing mu and nu once more through a softmax over regions.
"""

from __future__ import annotations

import math
from typing import NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import softplus

from ranfer.augment import warp
from ranfer.backbones import build_backbone
from ranfer.config import Cut, ModelConfig
from ranfer.crop import crop, from_bytes, resize
from ranfer.errors import ConfigError
from ranfer.regions import fixed_regions
from ranfer.vocab import Expression

ROTATION = 8.0  # degrees; from 4 to 12 all were measured to help alike
SURE = 0.65  # probability from which on four more views were measured to change no answer


class Output(NamedTuple):
    """What a model gives for b faces with r regions and features of size d.

    logits (b, 8); representation P (b, 2 d with relation attention, else d); mu and nu in (0, 1), all-one where a
    kind of attention is switched off; weight: mu nu normalised to sum 1. An absent region has mu = nu = weight = 0.
    """

    logits: Float[Tensor, "b 8"]
    representation: Float[Tensor, "b p"]
    mu: Float[Tensor, "b r"]
    nu: Float[Tensor, "b r"]
    weight: Float[Tensor, "b r"]


class Attention(nn.Module):
    """Self- and relation-attention over the features of a face's regions (RAN, equations 1 to 5).

    mu_i = sigmoid(q0 . F_i + b0);  F_m = sum_i mu_i F_i / sum_i mu_i
    nu_i = sigmoid(q1 . [F_i ; F_m] + b1);  P = sum_i mu_i nu_i [F_i ; F_m] / sum_j mu_j nu_j
    """

    def __init__(self, size: int, kind: str, normalization: str) -> None:
        super().__init__()
        self.softmax = normalization == "softmax"
        self.self_attention = nn.Linear(size, 1) if kind in ("self", "relation") else None
        self.relation_attention = nn.Linear(2 * size, 1) if kind == "relation" else None
        self.output_size = 2 * size if kind == "relation" else size

    def forward(
        self, features: Float[Tensor, "b r d"], mask: Bool[Tensor, "b r"] | None = None
    ) -> tuple[Float[Tensor, "b p"], Float[Tensor, "b r"], Float[Tensor, "b r"], Float[Tensor, "b r"]]:
        """P, mu, nu, and the weights of the regions; a region that the mask leaves out counts nothing."""
        if mask is not None:  # a weight of 0 would not silence an infinite feature
            features = features.masked_fill(~mask[..., None], 0.0)
        mu = features.new_ones(features.shape[:2]) if mask is None else mask.to(features.dtype)
        nu = mu.clone()  # of its own, so that an exported file has both by name
        if self.self_attention is not None:
            mu = self._weigh(self.self_attention, features, mask)
        mean = weighted_mean(features, mu)  # F_m
        if self.relation_attention is None:
            return mean, mu, nu, mu / mu.sum(dim=1, keepdim=True)
        pairs = torch.cat([features, mean[:, None].expand_as(features)], dim=2)  # [F_i ; F_m]
        nu = self._weigh(self.relation_attention, pairs, mask)
        weight = mu * nu
        return weighted_mean(pairs, weight), mu, nu, weight / weight.sum(dim=1, keepdim=True)

    def _weigh(
        self, layer: nn.Linear, features: Float[Tensor, "b r f"], mask: Bool[Tensor, "b r"] | None
    ) -> Float[Tensor, "b r"]:
        """mu or nu, by its own layer: the sigmoid of a linear function of each region's features."""
        # The sigmoid, by way of its logarithm: runtimes round it to 1e-7 of one, and learnt nu may be as small as 1e-4.
        weights = (-softplus(-layer(features)[..., 0])).exp()
        if self.softmax:
            return (weights if mask is None else weights.masked_fill(~mask, -torch.inf)).softmax(dim=1)
        return weights if mask is None else weights * mask


def weighted_mean(features: Float[Tensor, "b r d"], weights: Float[Tensor, "k r"]) -> Float[Tensor, "b d"]:
    """The mean of the features of each face's r regions by their weights; k is b, or 1 where all faces share these."""
    return (weights[..., None] * features).sum(dim=1) / weights.sum(dim=1, keepdim=True)


class RAN(nn.Module):
    """From faces to logits of the eight expressions; with ``attention: none`` the plain network it is compared with."""

    boxes: Tensor | None  # (1, r, 4) where all faces share their regions

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        cropped = config.cut == "image" and config.regions.scheme != "none"
        side = (config.region_size if cropped else None) or config.resolution  # pixels of what the backbone sees
        self.backbone = build_backbone(config.backbone, config.channels, side)
        self.cut = get_args(Cut).index(config.cut)
        if self.cut >= len(self.backbone.steps):
            raise ConfigError(
                f"backbone {config.backbone.name} has no steps to cut between: only cut: image is possible"
            )
        self.attention = Attention(self.backbone.feature_size, config.attention, config.normalization)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(self.attention.output_size, len(Expression))
        shared = fixed_regions(config.regions)
        self.register_buffer("boxes", None if shared is None else torch.from_numpy(shared)[None], persistent=False)

    def prepare(self, faces: UInt8[Tensor, "b h w c"]) -> Float[Tensor, "b k s s"]:
        """RGB or grey bytes of any size as this model's input, in [0, 1]: its channels, its size, then enlarged."""
        return resize(from_bytes(faces, self.config.channels, self.config.size), self.config.resolution)

    def forward(
        self,
        images: Float[Tensor, "b c s s"],
        boxes: Float[Tensor, "k r 4"] | None = None,
        mask: Bool[Tensor, "b r"] | None = None,
    ) -> Output:
        """Images as :meth:`prepare` gives them; boxes as fractions of the face, the face itself first.

        Boxes are needed by models whose regions differ from face to face (``random``, ``landmark``) and replace the
        fixed ones of the others. ``mask`` is False where a region is absent; region 0 must be there.
        """
        boxes = self.boxes if boxes is None else boxes
        if boxes is None:
            raise ConfigError(f"a model with {self.config.regions.scheme} regions needs the boxes of each face")
        b, r = images.shape[0], boxes.shape[1]
        maps = (images - self.config.mean) / self.config.std
        for step in self.backbone.steps[: self.cut]:  # once per face
            maps = step(maps)
        if self.config.regions.scheme != "none":
            maps = crop(maps, boxes, self.config.region_size or maps.shape[-1]).flatten(0, 1)
        for step in self.backbone.steps[self.cut :]:  # once per region: those of all faces are one batch of (b r)
            maps = step(maps)
        features = maps.unflatten(0, (b, r))
        representation, mu, nu, weight = self.attention(features, mask)
        return Output(self.fc(self.dropout(representation)), representation, mu, nu, weight)

    def predict(
        self,
        images: Float[Tensor, "b c s s"],
        boxes: Float[Tensor, "k r 4"] | None = None,
        mask: Bool[Tensor, "b r"] | None = None,
        temperature: float = 1.0,
        views: int = 1,
    ) -> tuple[Float[Tensor, "b 8"], Output]:
        """Probabilities of the expressions, and what :meth:`forward` gives for the faces.

        They are the mean over ``views`` of each face: 1, the face; 2, and its mirror image; 6, and both rotated by
        ``ROTATION`` either way, unless the first two views are sure of the face (``SURE``). The temperature sharpens
        what comes out: p ** (1 / temperature), normalised.

        Raises:
            ConfigError: as of :meth:`check_views`.
        """
        self.check_views(views)
        boxes = self.boxes if boxes is None else boxes
        out = self(images, boxes, mask)
        logits = [out.logits]
        if views > 1:
            logits.append(self(images.flip(-1), None if boxes is None else mirrored(boxes), mask).logits)
        mean = mean_of(logits)
        if views == 6:
            assert boxes is not None
            mean = self._with_rotated_views(images, mean, boxes, mask)
        return (mean / temperature).softmax(dim=1), out

    def check_views(self, views: int) -> None:
        """Refuse a number of views that :meth:`predict` cannot take.

        Raises:
            ConfigError: six views of faces with regions of their own, or another number than 1, 2 or 6.
        """
        if views not in (1, 2, 6):
            raise ConfigError(f"expected 1, 2 or 6 views of a face, got {views}")
        if views == 6 and self.boxes is None:
            raise ConfigError(
                "rotated views need regions that all faces share: those of one face would have to rotate with it"
            )

    def _with_rotated_views(
        self,
        images: Float[Tensor, "b c s s"],
        mean: Float[Tensor, "b 8"],
        boxes: Float[Tensor, "k r 4"],
        mask: Bool[Tensor, "b r"] | None,
    ) -> Float[Tensor, "b 8"]:
        """Logarithms of mean probabilities: over six views where the two of ``mean`` are unsure, else over these."""
        unsure = (mean.amax(dim=1) < math.log(SURE)).nonzero()[:, 0]
        if torch.compiler.is_exporting():
            torch._check(unsure.shape[0] > 0)  # the tracer must assume some or none; its graph then serves both
        mask = None if mask is None else mask[unsure]
        boxes = boxes if len(boxes) == 1 else boxes[unsure]
        views = [rotated(images, degrees)[unsure] for degrees in (ROTATION, -ROTATION)]
        logits = [self(view, boxes, mask).logits for view in views]
        logits += [self(view.flip(-1), mirrored(boxes), mask).logits for view in views]
        six = mean_of([mean[unsure], mean[unsure], *logits])  # the mean of two views counts twice
        return mean.index_copy(0, unsure, six)


def mean_of(logits: list[Float[Tensor, "b 8"]]) -> Float[Tensor, "b 8"]:
    """Logarithms of the mean probabilities; logarithms of probabilities are logits, too."""
    return torch.stack(logits).float().log_softmax(dim=2).logsumexp(dim=0) - math.log(len(logits))


def mirrored(boxes: Float[Tensor, "k r 4"]) -> Float[Tensor, "k r 4"]:
    """Boxes that show in the mirror image what these show in the face."""
    left, top, right, bottom = boxes.unbind(dim=2)
    return torch.stack([1 - right, top, 1 - left, bottom], dim=2)


def rotated(images: Float[Tensor, "b c s s"], degrees: float) -> Float[Tensor, "b c s s"]:
    """Images rotated about their middle, counter-clockwise as seen."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    theta = images.new_tensor([[cos, -sin, 0], [sin, cos, 0]])
    return warp(images, theta.expand(images.shape[0], -1, -1))
