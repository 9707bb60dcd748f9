"""The detector's candidate network: is a candidate a face, where is it, and where are its five points?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ranfer.crop import from_bytes
from ranfer.onnx_file import write_for_pictures

SIZE = 48  # pixels of a candidate as the network sees it, grey


class Scored(NamedTuple):
    """What the network tells of b candidates; places are in sides of the candidate's square, from its centre.

    odds: log odds that it is a face.
    square: x and y of the centre, and the logarithm of the side, of the frame that FERPlus would give the face.
    points: left eye, right eye, nose tip, left and right mouth corner, as seen.
    """

    odds: Float[Tensor, " b"]
    square: Float[Tensor, "b 3"]
    points: Float[Tensor, "b 5 2"]


class CandidateNet(nn.Module):
    """Six convolutions and two dense layers, 6 million multiply-adds; a mean over positions would lose places."""

    def __init__(self) -> None:
        super().__init__()
        steps = [
            _step(1, 16, kernel=5, stride=2),
            _step(16, 32, stride=2),
            _step(32, 48),
            _step(48, 64, stride=2),
            _step(64, 64),
            _step(64, 128, stride=2),
        ]
        self.backbone = nn.Sequential(*steps)
        cells = (SIZE // 16) ** 2
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(128 * cells, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 14)
        )

    def forward(self, images: Float[Tensor, "b 1 48 48"]) -> Scored:
        """Grey images in [0, 1]; the brightness of each, and its contrast unless it is flat, are levelled first."""
        mean, spread = images.mean((2, 3), keepdim=True), images.std((2, 3), correction=0, keepdim=True)
        odds, square, points = self.head(self.backbone((images - mean) / (spread + 0.05))).split((1, 3, 10), dim=1)
        return Scored(odds[:, 0], square, points.unflatten(1, (5, 2)))


def _step(channels: int, to: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, to, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(to), nn.ReLU(inplace=True))


class _Graph(nn.Module):
    """What the file computes: from candidates as RGB bytes to probabilities and places."""

    def __init__(self, net: CandidateNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: UInt8[Tensor, "b h w 3"]) -> tuple[Tensor, ...]:
        told = self.net(from_bytes(pixels, 1, SIZE))
        return told.odds.sigmoid(), told.square, told.points


def export_candidates(net: CandidateNet, path: Path, about: dict[str, Any]) -> float:
    """Write the ONNX file that :class:`ranfer.faces.cascade.Cascade` opens; weights are rounded to float16.

    Returns:
        The largest difference of any output from PyTorch's.

    Raises:
        CheckpointError: an output of the file differs from PyTorch's; no file is left.
    """
    return write_for_pictures(_Graph(net), path, "pixels", ("score", "square", "points"), about)
