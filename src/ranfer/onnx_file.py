"""A PyTorch graph as one ONNX file: written, stripped of traces, stored small, and checked against PyTorch."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper
from torch import Tensor, nn

from ranfer.errors import CheckpointError
from ranfer.files import atomic_path
from ranfer.session import METADATA_KEY, open_session

OPSET = 18
HALF = "_half"  # at the end of the names of weights that are stored as float16
TOLERANCE = 1e-4  # of any output, ONNX Runtime against PyTorch
SHAPES = ((1, 48, 48), (2, 33, 71), (5, 160, 120), (3, 224, 224))  # batch, height and width at which it is checked

Example = Callable[[int, int, int], tuple[Tensor, ...]]  # inputs for a batch of faces of some height and width


def write_onnx(
    graph: nn.Module,
    path: Path,
    example: Example,
    inputs: dict[str, dict[int, Any]],
    outputs: Sequence[str],
    about: dict[str, Any],
    half: bool = True,
) -> float:
    """Write ``path``; with ``half``, kernels and matrices are rounded to float16 and stored so.

    Args:
        graph: from the inputs to a tuple of outputs; its weights are rounded in place.
        example: makes inputs.
        inputs: names and, for each, its axes of any size.
        about: what the file says of itself, as JSON in its metadata.

    Returns:
        The largest difference of any output from PyTorch's, with the weights as stored.

    Raises:
        CheckpointError: an output of the file differs from PyTorch's by more than ``TOLERANCE``; no file is left.
    """
    graph.eval()
    if half:
        round_weights(graph)
    with warnings.catch_warnings():
        # What PyTorch says is of itself; whether the file is right is checked below.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            example(2, 60, 52),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(inputs.values()),
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
    helper.set_model_props(written, {METADATA_KEY: json.dumps(about)})
    with atomic_path(path) as partial:
        onnx.save(written, str(partial))
        return check_parity(graph, partial, example)


def write_for_pictures(graph: nn.Module, path: Path, name: str, outputs: Sequence[str], about: dict[str, Any]) -> float:
    """:func:`write_onnx` of a graph whose only input, ``name``, is any number of RGB pictures of one size, as bytes."""
    batch, height, width = (torch.export.Dim(axis) for axis in ("batch", "height", "width"))
    inputs = {name: {0: batch, 1: height, 2: width}}
    return write_onnx(graph, path, lambda *size: (example_faces(*size),), inputs, outputs, about)


@torch.inference_mode()
def check_parity(graph: nn.Module, path: Path, example: Example) -> float:
    """The largest difference of any output between the file and PyTorch, over the batch and image sizes of ``SHAPES``.

    Both run on the CPU.

    Raises:
        CheckpointError: it is more than ``TOLERANCE``.
    """
    session = open_session(path, on_cpu=True)  # a GPU may round more coarsely than the tolerance
    worst = 0.0
    for batch, height, width in SHAPES:
        inputs = example(batch, height, width)
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


def example_faces(batch: int, height: int, width: int) -> Tensor:
    """Random faces (batch, height, width, 3) of bytes, the same at every call."""
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)


def round_weights(model: nn.Module) -> None:
    """Weights to values that float16 holds; vectors (biases, normalisation) are small and sensitive, and stay."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half().float()


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of a file that :func:`write_onnx` wrote, as float32, and its metadata.

    Their names are those of the network: without ``model.`` before, and without what marks weights stored as float16.

    Raises:
        CheckpointError: missing, or no ONNX file.
    """
    try:
        stored = onnx.load(str(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, DecodeError) as error:
        raise CheckpointError(f"{path}: truncated, or no ONNX file ({error})") from error
    told = [entry.value for entry in stored.metadata_props if entry.key == METADATA_KEY]
    about: dict[str, Any] = json.loads(told[0]) if told else {}
    return {
        tensor.name.removeprefix("model.").removesuffix(HALF): torch.tensor(numpy_helper.to_array(tensor)).float()
        for tensor in stored.graph.initializer
    }, about


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
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + HALF))
        casts.append(helper.make_node("Cast", [name + HALF], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
