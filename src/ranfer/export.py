"""From a checkpoint to one ONNX file that holds everything from bytes to calibrated probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from jaxtyping import Bool, Float, Int, UInt8
from onnx import helper, numpy_helper
from torch import Tensor, nn

from ranfer.checkpoint import Trained
from ranfer.data import open_dataset
from ranfer.data.labels import label
from ranfer.errors import CheckpointError
from ranfer.evaluate import answer
from ranfer.model import RAN
from ranfer.regions import names
from ranfer.runtime import METADATA_KEY, open_session
from ranfer.vocab import Expression

OUTPUTS = ("probabilities", "mu", "nu", "weight", "representation", "boxes")
OPSET = 18
TOLERANCE = 1e-4  # of any output, ONNX Runtime against PyTorch
# Trust is given from the probability on above which this share of the validation faces is right.
TRUSTED_ACCURACY = 0.95


class Graph(nn.Module):
    """What the file computes: from faces as RGB bytes of any size to the outputs, in the order of ``OUTPUTS``."""

    def __init__(self, model: RAN, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(
        self,
        faces: UInt8[Tensor, "b h w 3"],
        boxes: Float[Tensor, "b r 4"] | None = None,
        mask: Bool[Tensor, "b r"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Boxes and mask only for models whose regions differ from face to face; the others give theirs as the last."""
        out = self.model(self.model.prepare(faces), boxes, mask)
        outputs = (out.logits / self.temperature).softmax(dim=1), out.mu, out.nu, out.weight, out.representation
        shared = self.model.boxes
        return outputs if shared is None else (*outputs, shared.expand(faces.shape[0], -1, -1))


def export(trained: Trained, path: Path, fitted: Calibration | None = None, half: bool = True) -> float:
    """Write ``path``; with ``half``, weights are rounded to float16 and stored so, and parity is that of these.

    Returns:
        The largest difference of any output from PyTorch's.

    Raises:
        CheckpointError: an output of the file differs from PyTorch's by more than ``TOLERANCE``, at any of several
            batch and image sizes; no file is left.
    """
    model = trained.model.eval().cpu()
    if half:
        _round_weights(model)
    graph = Graph(model, 1.0 if fitted is None else fitted.temperature).eval()
    own_boxes = model.boxes is None
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    batch, height, width, regions = (torch.export.Dim(name) for name in ("batch", "height", "width", "regions"))
    shapes: list[Any] = [{0: batch, 1: height, 2: width}]
    if own_boxes:
        shapes += [{0: batch, 1: regions}, {0: batch, 1: regions}]
    program = torch.onnx.export(
        graph,
        _example(own_boxes, 2, 60, 52),
        input_names=["faces", "boxes", "mask"][: len(shapes)],
        output_names=list(OUTPUTS[:-1] if own_boxes else OUTPUTS),
        dynamic_shapes=tuple(shapes),
        opset_version=OPSET,
        optimize=False,  # the runtime folds at load; folding here would unround the weights
        verbose=False,
    )
    assert program is not None  # torch.onnx.export without a file name returns its program
    written = program.model_proto
    for part in (*written.graph.node, *written.graph.value_info, *written.graph.initializer, written.graph):
        del part.metadata_props[:]  # the exporter's notes: stack traces with paths of the machine that exported
        part.doc_string = ""
    if half:
        _store_as_half(written)
    about = {
        **{key: value for key, value in trained.description.items() if key not in ("file", "config")},
        "labels": [expression.value for expression in Expression],
        "regions": list(names(model.config.regions)),
        "trust": None if fitted is None else fitted._asdict(),
        "weights": "float16" if half else "float32",
    }
    helper.set_model_props(written, {METADATA_KEY: json.dumps(about)})
    try:
        onnx.save(written, str(partial))
        worst = check_parity(graph, partial, own_boxes)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return worst


@torch.inference_mode()
def check_parity(graph: Graph, path: Path, own_boxes: bool) -> float:
    """The largest difference of any output between the file and PyTorch, over batch sizes 1, 2, 5 and image sizes.

    Raises:
        CheckpointError: it is more than ``TOLERANCE``.
    """
    session = open_session(path)
    worst = 0.0
    for batch, height, width in ((1, 48, 48), (2, 33, 71), (5, 160, 120), (3, 224, 224)):
        inputs = _example(own_boxes, batch, height, width)
        fed = {entry.name: tensor.numpy() for entry, tensor in zip(session.get_inputs(), inputs, strict=True)}
        outputs = [entry.name for entry in session.get_outputs()]
        for name, ours, theirs in zip(outputs, graph(*inputs), session.run(None, fed), strict=True):
            difference = float(np.abs(ours.numpy() - theirs).max())
            worst = max(worst, difference)
            if not difference <= TOLERANCE:
                raise CheckpointError(
                    f"{path}: the exported {name} differ from PyTorch's by {difference:.2g} (at most {TOLERANCE:g} is "
                    f"allowed) for {batch} faces of {width} x {height} pixels"
                )
    return worst


def _example(own_boxes: bool, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    faces = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)
    if not own_boxes:
        return (faces,)
    corner = torch.rand(batch, 4, 2, generator=generator) * 0.4
    boxes = torch.cat([corner, corner + 0.5], dim=2)
    boxes[:, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    mask = torch.rand(batch, 4, generator=generator) < 0.7
    mask[:, 0] = True
    return faces, boxes, mask


def _round_weights(model: nn.Module) -> None:
    # Vectors (biases, normalisation) are small and sensitive: only kernels and matrices are rounded.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half().float()


def _store_as_half(model: onnx.ModelProto) -> None:
    """Keep float32 constants that float16 holds exactly as float16, with a cast that runs once, at load."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.ndim < 2 or not np.array_equal(values.astype(np.float16).astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


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
    """Temperature and trust threshold of a model on a split (majority labels)."""
    dataset = open_dataset(data)
    labels = label(dataset.split(split), "majority")
    samples = [sample for sample, kept in zip(dataset.split(split), labels.kept, strict=True) if kept]
    answers = answer(trained, dataset, samples)
    assert answers.prediction is not None
    truth, probabilities = labels.expressions[labels.kept], answers.prediction.probabilities
    temperature = fit_temperature(probabilities, truth)
    return Calibration(
        temperature, *choose_trust(sharpen(probabilities, temperature), truth), len(truth), f"{dataset.name} {split}"
    )


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
