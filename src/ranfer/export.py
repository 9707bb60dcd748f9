"""From a checkpoint, or the mean of several, to one ONNX file that holds all from bytes to calibrated probabilities.

Source of the mean of a network and one that went on from it: Wortsman et al., Robust fine-tuning of zero-shot models,
CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from ranfer.calibration import Calibration
from ranfer.checkpoint import FORMAT, Trained, load
from ranfer.errors import CheckpointError
from ranfer.model import RAN
from ranfer.onnx_file import example_faces, write_onnx
from ranfer.regions import names
from ranfer.training_record import record_of_mean
from ranfer.vocab import NAMES

OUTPUTS = ("probabilities", "mu", "nu", "weight", "representation", "boxes")


class Graph(nn.Module):
    """What the file computes: from faces as RGB bytes of any size to the outputs, in the order of ``OUTPUTS``."""

    def __init__(self, model: RAN, temperature: float, views: int) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.views = views

    def forward(
        self,
        faces: UInt8[Tensor, "b h w 3"],
        boxes: Float[Tensor, "b r 4"] | None = None,
        mask: Bool[Tensor, "b r"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Boxes and mask only for models whose regions differ from face to face; the others give theirs as the last."""
        images = self.model.prepare(faces)
        probabilities, out = self.model.predict(images, boxes, mask, self.temperature, self.views)
        outputs = probabilities, out.mu, out.nu, out.weight, out.representation
        shared = self.model.boxes
        return outputs if shared is None else (*outputs, shared.expand(faces.shape[0], -1, -1))


def load_mean(paths: Sequence[Path], backbone: str | None = None) -> Trained:
    """The model of a file, or one whose weights are the mean of several; it tells of itself what the last does.

    ``backbone`` as in :func:`ranfer.checkpoint.load`.

    Raises:
        CheckpointError: as of :func:`ranfer.checkpoint.load`, or the networks differ.
    """
    *others, mean = (load(path, backbone) for path in paths)
    if not others:
        return mean
    for path, other in zip(paths, others, strict=False):
        if other.model.config != mean.model.config:
            raise CheckpointError(f"{path}: its network is not that of {paths[-1]}, so their weights have no mean")
    states = [trained.model.state_dict() for trained in (*others, mean)]
    mean.model.load_state_dict(
        {
            name: torch.stack([state[name].double() for state in states]).mean(0).to(like.dtype)
            for name, like in states[-1].items()
        }
    )
    if record := record_of_mean([trained.description for trained in (*others, mean)]):
        mean.description["training"] = record
    mean.description["mean_of"] = ["/".join(path.parts[-2:]) for path in paths]
    return mean


def export(trained: Trained, path: Path, fitted: Calibration | None = None, half: bool = True) -> float:
    """Write ``path``; with ``half``, weights are rounded to float16 and stored so, and parity is that of these.

    Returns:
        The largest difference of any output from PyTorch's.

    Raises:
        CheckpointError: an output of the file differs from PyTorch's; no file is left.
        ConfigError: six views of a model whose regions differ from face to face.
    """
    model = trained.model.eval().cpu()
    model.check_views(trained.views)  # here, as the exporter would bury it in an error of its own
    graph = Graph(model, 1.0 if fitted is None else fitted.temperature, trained.views)
    batch, height, width, regions = (torch.export.Dim(name) for name in ("batch", "height", "width", "regions"))
    inputs: dict[str, dict[int, Any]] = {"faces": {0: batch, 1: height, 2: width}}
    if model.boxes is None:
        inputs |= {"boxes": {0: batch, 1: regions}, "mask": {0: batch, 1: regions}}
    about = {
        **{key: value for key, value in trained.description.items() if key not in ("file", "config")},
        "format": FORMAT,
        "labels": NAMES,
        "regions": list(names(model.config.regions)),
        "views": trained.views,
        "trust": None if fitted is None else fitted._asdict(),
        "weights": "float16" if half else "float32",
    }
    outputs = OUTPUTS[:-1] if model.boxes is None else OUTPUTS
    return write_onnx(graph, path, _ragged_example if model.boxes is None else _example, inputs, outputs, about, half)


def _example(batch: int, height: int, width: int) -> tuple[Tensor, ...]:
    return (example_faces(batch, height, width),)


def _ragged_example(batch: int, height: int, width: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    corner = torch.rand(batch, 4, 2, generator=generator) * 0.4
    boxes = torch.cat([corner, corner + 0.5], dim=2)
    boxes[:, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    mask = torch.rand(batch, 4, generator=generator) < 0.7
    mask[:, 0] = True
    return example_faces(batch, height, width), boxes, mask
