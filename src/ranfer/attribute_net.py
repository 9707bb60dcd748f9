"""The network behind pose and occlusion: one small backbone, one linear layer for everything it tells of a face."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ranfer.backbones import BasicBlock, ResNet
from ranfer.crop import from_bytes
from ranfer.onnx_file import write_for_pictures
from ranfer.regions import MIRRORED
from ranfer.vocab import ESTIMATED

SIZE = 48  # pixels of a face as the network sees it, grey
GRID = 6  # rows and columns of cells into which the face is divided; each cell may be covered
WIDTHS = (32, 64, 128, 128)
DEGREES = 45.0  # a pose of 1 inside the network


class Attributed(NamedTuple):
    """What the network tells of b faces.

    landmarks: left eye, right eye, nose tip, left and right mouth corner, as seen; x and y in fractions of the face.
    pose: yaw, pitch and roll in degrees; signs as in :class:`ranfer.vocab.Pose`.
    occlusion: log odds of each kind of :data:`ranfer.vocab.ESTIMATED`.
    visible: log odds that a cell of the grid, row by row, shows the face itself.
    """

    landmarks: Float[Tensor, "b 5 2"]
    pose: Float[Tensor, "b 3"]
    occlusion: Float[Tensor, "b 4"]
    visible: Float[Tensor, "b rows columns"]


class AttributeNet(nn.Module):
    """From faces, framed as the training faces are, to their attributes.

    The last feature map goes whole into the linear layer: a mean over positions, as for expressions, would lose where
    things are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet(BasicBlock, (2, 2, 2, 1), 1, "small", WIDTHS, first_stride=2)
        cells = (SIZE // 16) ** 2
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(WIDTHS[-1] * cells, sum(self.sizes))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers each part of the answer has, in the order of :class:`Attributed`."""
        return 10, 3, len(ESTIMATED), GRID * GRID

    def forward(self, images: Float[Tensor, "b 1 48 48"]) -> Attributed:
        """Grey images in [0, 1]."""
        maps = (images - 0.5) / 0.25
        for step in self.backbone.steps[:-1]:
            maps = step(maps)
        maps = self.backbone.layer4(maps)
        landmarks, pose, occlusion, visible = self.head(self.dropout(maps.flatten(1))).split(self.sizes, dim=1)
        return Attributed(
            landmarks.unflatten(1, (5, 2)) + 0.5, pose * DEGREES, occlusion, visible.unflatten(1, (GRID, GRID))
        )


class _Graph(nn.Module):
    """What the file computes: from faces as RGB bytes of any size to landmarks, turns and probabilities.

    The mean of what the network tells of a face and of its mirror image.
    """

    def __init__(self, net: AttributeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: UInt8[Tensor, "b h w 3"]) -> tuple[Tensor, ...]:
        images = from_bytes(faces, 1, SIZE)
        told, mirrored = self.net(images), self.net(images.flip(-1))
        points = mirrored.landmarks[:, MIRRORED]
        points = torch.stack([1 - points[..., 0], points[..., 1]], dim=2)
        pose = mirrored.pose * mirrored.pose.new_tensor((-1.0, 1.0, -1.0))
        return (
            (told.landmarks + points) / 2,
            (told.pose + pose) / 720,  # in turns, which like the other outputs are at most about 1
            (told.occlusion.sigmoid() + mirrored.occlusion.sigmoid()) / 2,
            (told.visible.sigmoid() + mirrored.visible.sigmoid().flip(-1)) / 2,
        )


def export_attributes(net: AttributeNet, path: Path, about: dict[str, Any]) -> float:
    """Write the ONNX file that :class:`ranfer.faces.attributes.AttributeModel` opens; weights are rounded to float16.

    Returns:
        The largest difference of any output from PyTorch's.

    Raises:
        CheckpointError: an output of the file differs from PyTorch's; no file is left.
    """
    told = {**about, "occlusion": [kind.value for kind in ESTIMATED]}
    return write_for_pictures(_Graph(net), path, "faces", ("landmarks", "turns", "occlusion", "visible"), told)
