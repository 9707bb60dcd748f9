"""From a checkpoint to one ONNX file that holds everything from bytes to calibrated probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from ranfer.answers import answer
from ranfer.checkpoint import Trained
from ranfer.data import open_dataset
from ranfer.errors import CheckpointError, ConfigError
from ranfer.evaluate import labelled
from ranfer.model import RAN
from ranfer.onnx_file import example_faces, write_onnx
from ranfer.protocol import has_learnt
from ranfer.regions import names
from ranfer.session import metadata, open_session
from ranfer.vocab import Expression

OUTPUTS = ("probabilities", "mu", "nu", "weight", "representation", "boxes")
# Trust is given from the probability on above which this share of the validation faces is right.
TRUSTED_ACCURACY = 0.95


class Graph(nn.Module):
    """What the file computes: from faces as RGB bytes of any size to the outputs, in the order of ``OUTPUTS``."""

    def __init__(self, model: RAN, temperature: float, mirror: bool, turn: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.mirror = mirror
        self.turn = turn

    def forward(
        self,
        faces: UInt8[Tensor, "b h w 3"],
        boxes: Float[Tensor, "b r 4"] | None = None,
        mask: Bool[Tensor, "b r"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Boxes and mask only for models whose regions differ from face to face; the others give theirs as the last."""
        images = self.model.prepare(faces)
        probabilities, out = self.model.judge(images, boxes, mask, self.temperature, self.mirror, self.turn)
        outputs = probabilities, out.mu, out.nu, out.weight, out.representation
        shared = self.model.boxes
        return outputs if shared is None else (*outputs, shared.expand(faces.shape[0], -1, -1))


def export(trained: Trained, path: Path, fitted: Calibration | None = None, half: bool = True) -> float:
    """Write ``path``; with ``half``, weights are rounded to float16 and stored so, and parity is that of these.

    Returns:
        The largest difference of any output from PyTorch's.

    Raises:
        CheckpointError: an output of the file differs from PyTorch's; no file is left.
    """
    model = trained.model.eval().cpu()
    graph = Graph(model, 1.0 if fitted is None else fitted.temperature, trained.mirror, trained.turn)
    batch, height, width, regions = (torch.export.Dim(name) for name in ("batch", "height", "width", "regions"))
    inputs: dict[str, dict[int, Any]] = {"faces": {0: batch, 1: height, 2: width}}
    if model.boxes is None:
        inputs |= {"boxes": {0: batch, 1: regions}, "mask": {0: batch, 1: regions}}
    about = {
        **{key: value for key, value in trained.description.items() if key not in ("file", "config")},
        "labels": [expression.value for expression in Expression],
        "regions": list(names(model.config.regions)),
        "mirror": trained.mirror,
        "turn": trained.turn,
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


class Calibration(NamedTuple):
    """What was chosen on n validation faces: temperature, and the least top probability at which to trust an answer.

    ``kept`` is the share of faces that reach the threshold, ``accuracy`` how many of these are right. A threshold of 1
    trusts none: no other kept ``TRUSTED_ACCURACY``.
    """

    temperature: float
    threshold: float
    kept: float
    accuracy: float
    n: int
    data: str

    def __str__(self) -> str:
        return (
            f"on {self.n:,} faces of {self.data}: temperature {self.temperature:.3f}; a top probability of "
            f"{self.threshold:.3f} keeps {self.kept:.1%} of them, of which {self.accuracy:.1%} are right"
        )


def calibration(trained: Trained, data: str, split: str) -> Calibration:
    """Temperature and trust threshold of a model on a split (majority labels).

    Raises:
        ConfigError: the model has learnt that split, and is surer there than it should be.
    """
    dataset = open_dataset(data)
    if has_learnt(trained.description, dataset.origin, split):
        raise ConfigError(
            f"{data}: the model has learnt {split}, and would be trusted too often; choose faces that are new to it, "
            "or take over the calibration of another one: --calibrate-as FILE.onnx"
        )
    samples, truth, _ = labelled(dataset, split, "majority")
    answers = answer(trained, dataset, samples)
    assert answers.prediction is not None
    probabilities = answers.prediction.probabilities
    temperature = fit_temperature(probabilities, truth)
    return Calibration(
        temperature, *choose_trust(sharpen(probabilities, temperature), truth), len(truth), f"{dataset.origin} {split}"
    )


def calibration_of(path: Path) -> Calibration:
    """Temperature and trust threshold of an exported file, for a model that has learnt the faces they were chosen on.

    Raises:
        CheckpointError: no file that ``ranfer export`` wrote.
        ConfigError: it was not calibrated.
    """
    told = metadata(open_session(path))
    if told is None:
        raise CheckpointError(f"{path}: expected a file that ranfer export wrote")
    if told.get("trust") is None:
        raise ConfigError(f"{path}: was not calibrated, and has nothing to take over")
    fitted = Calibration(**told["trust"])
    return fitted._replace(data=f"{fitted.data}, by {path.name}")


def fit_temperature(probabilities: Float[np.ndarray, "n 8"], truth: Int[np.ndarray, " n"]) -> float:
    """The temperature with the least log loss (Guo et al. 2017), of 401 between 1/4 and 4, even in logarithm."""
    logits = np.log(np.maximum(probabilities, 1e-12))
    candidates = np.geomspace(0.25, 4, 401)
    losses = []
    for temperature in candidates:
        scaled = logits / temperature
        normaliser = np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)) + scaled.max(1)
        losses.append((normaliser - scaled[np.arange(len(truth)), truth]).mean())
    return float(candidates[int(np.argmin(losses))])


def sharpen(probabilities: Float[np.ndarray, "n 8"], temperature: float) -> Float[np.ndarray, "n 8"]:
    """Probabilities at another temperature: what softmax(logits / temperature) would have given."""
    scaled = np.maximum(probabilities, 1e-12) ** (1 / temperature)
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def choose_trust(probabilities: Float[np.ndarray, "n 8"], truth: Int[np.ndarray, " n"]) -> tuple[float, float, float]:
    """The least threshold on the top probability at which ``TRUSTED_ACCURACY`` of the faces kept are right.

    Returns:
        threshold, share of faces kept, accuracy of these; 1, 0, 0 where no threshold does it.
    """
    top = probabilities.max(axis=1)
    order = np.argsort(-top, kind="stable")
    right = (probabilities.argmax(axis=1) == truth)[order]
    accuracy = np.cumsum(right) / np.arange(1, len(right) + 1)
    enough = np.flatnonzero(accuracy >= TRUSTED_ACCURACY)
    if len(enough) == 0:
        return 1.0, 0.0, 0.0
    last = int(enough[-1])
    return float(top[order[last]]), (last + 1) / len(right), float(accuracy[last])
