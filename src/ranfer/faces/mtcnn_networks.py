"""The three networks of MTCNN as ONNX sessions, adapted once from the weights that the ``mtcnn`` distribution carries.

Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", IEEE SPL 2016.
The distribution's own inference needs TensorFlow; its weights are lists of arrays, and the networks are small.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnxruntime

from ranfer.errors import CheckpointError
from ranfer.session import CPU, session_options

if TYPE_CHECKING:
    import onnx

# Part of the cached files' names: raise it whenever the graphs change.
FORM = 1


class Networks(NamedTuple):
    """The stages of the cascade; each takes ``pixels``, uint8 (n, h, w, 3) RGB.

    proposal: any h, w >= 12 -> offsets (n, 4, rows, columns), score (n, rows, columns).
    refinement: 24x24 -> offsets (n, 4), score (n).
    output: 48x48 -> offsets (n, 4), points (n, 10), score (n).
    """

    proposal: onnxruntime.InferenceSession
    refinement: onnxruntime.InferenceSession
    output: onnxruntime.InferenceSession


def open_networks(threads: int | None = None) -> Networks:
    """The networks, on the CPU with ``threads`` each (None: the runtime decides), from the user's cache if there.

    Raises:
        CheckpointError: the distribution ``mtcnn`` is not installed, or its weights are not those of version 1.
    """
    return Networks(*(_open(name, build, threads) for name, build in _BUILDERS.items()))


def cache_folder() -> Path | None:
    """Where what can be made again is kept: ``ranfer`` in ``%LOCALAPPDATA%``, ``$XDG_CACHE_HOME`` or ``~/.cache``.

    None for a user without a home.
    """
    named = Path(os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", ""))
    try:
        return (named if named.is_absolute() else Path.home() / ".cache") / "ranfer"
    except RuntimeError:
        return None


def _open(name: str, build: Callable[[list[np.ndarray]], bytes], threads: int | None) -> onnxruntime.InferenceSession:
    try:
        installed = distribution("mtcnn")  # its files are found without importing it
    except PackageNotFoundError:
        raise CheckpointError("MTCNN's weights come with the package mtcnn: pip install 'mtcnn>=1,<2'") from None
    folder = cache_folder()
    cached = folder and folder / f"mtcnn-{installed.version}-{FORM}" / f"{name}.onnx"
    if cached:
        # Absent, unreadable or damaged: ONNX Runtime has an exception for each, and the cure is the same.
        with contextlib.suppress(Exception):
            return _session(cached.read_bytes(), threads)
    model = build(read_weights(Path(str(installed.locate_file(f"mtcnn/assets/weights/{name}.lz4")))))
    if cached:
        _save(cached, model)
    return _session(model, threads)


def _session(model: bytes, threads: int | None) -> onnxruntime.InferenceSession:
    options = session_options(threads, of_any_shape=True)
    options.log_severity_level = 4  # a damaged cache file is our business, not the user's
    return onnxruntime.InferenceSession(model, options, providers=[CPU])


def _save(path: Path, content: bytes) -> None:
    """Keep a file for the next start; a folder that cannot be written costs time then, and nothing now."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            part = Path(scratch, path.name)
            part.write_bytes(content)
            part.replace(path)


def read_weights(path: Path) -> list[np.ndarray]:
    """The arrays of a network in the order of its layers.

    The file is a pickle, and reading a pickle can execute code. It belongs to an installed package, which could do
    so in any case; no other file is read in this way.

    Raises:
        CheckpointError: absent, damaged, or not a list of arrays.
    """
    # Imported here, and onnx below, because a start from the cache needs neither.
    import joblib

    try:
        arrays = joblib.load(path)
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{path}: the weights of mtcnn 1 cannot be read ({error})") from error
    if not isinstance(arrays, list) or not all(isinstance(array, np.ndarray) for array in arrays):
        raise CheckpointError(f"{path}: expected the weights of mtcnn 1, a list of arrays; got {type(arrays).__name__}")
    return arrays


def proposal_network(weights: list[np.ndarray]) -> bytes:
    """P-Net, fully convolutional: a 12x12 window every other pixel."""
    graph = _Graph(weights, "height", "width")
    x = graph.prelu(graph.convolution("normalised"))
    x = graph.pool(x, 2, "SAME_UPPER")
    x = graph.prelu(graph.convolution(x))
    x = graph.prelu(graph.convolution(x))
    return graph.model(offsets=graph.convolution(x), score=graph.face_probability(graph.convolution(x)))


def refinement_network(weights: list[np.ndarray]) -> bytes:
    """R-Net, on crops of 24x24 pixels."""
    graph = _Graph(weights, 24, 24)
    x = graph.prelu(graph.convolution("normalised"))
    x = graph.pool(x, 3, "SAME_UPPER")
    x = graph.prelu(graph.convolution(x))
    x = graph.pool(x, 3, "VALID")
    x = graph.prelu(graph.convolution(x))
    x = graph.prelu(graph.dense(graph.flatten(x)))
    return graph.model(offsets=graph.dense(x), score=graph.face_probability(graph.dense(x)))


def output_network(weights: list[np.ndarray]) -> bytes:
    """O-Net, on crops of 48x48 pixels; the only one that tells the five points (five x, then five y)."""
    graph = _Graph(weights, 48, 48)
    x = graph.prelu(graph.convolution("normalised"))
    x = graph.pool(x, 3, "SAME_UPPER")
    x = graph.prelu(graph.convolution(x))
    x = graph.pool(x, 3, "VALID")
    x = graph.prelu(graph.convolution(x))
    x = graph.pool(x, 2, "SAME_UPPER")
    x = graph.prelu(graph.convolution(x))
    x = graph.prelu(graph.dense(graph.flatten(x)))
    return graph.model(offsets=graph.dense(x), points=graph.dense(x), score=graph.face_probability(graph.dense(x)))


_BUILDERS = {"pnet": proposal_network, "rnet": refinement_network, "onet": output_network}


class _Graph:
    """An ONNX graph in the making, whose layers take their weights in the order in which they are added."""

    def __init__(self, weights: list[np.ndarray], height: int | str, width: int | str) -> None:
        import onnx.helper

        self._weights: Iterator[np.ndarray] = iter(weights)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, ["n", height, width, 3])
        x = self._add("Cast", "pixels", to=onnx.TensorProto.FLOAT)
        x = self._add("Div", self._add("Sub", x, self._constant(np.float32(127.5))), self._constant(np.float32(128)))
        self._add("Transpose", x, perm=[0, 3, 1, 2], output="normalised")

    def convolution(self, x: str) -> str:
        kernel, bias = self._next(), self._next()
        return self._add("Conv", x, self._constant(kernel.transpose(3, 2, 0, 1)), self._constant(bias))  # from HWIO

    def dense(self, x: str) -> str:
        matrix, bias = self._next(), self._next()
        return self._add("Gemm", x, self._constant(matrix), self._constant(bias))

    def prelu(self, x: str) -> str:
        slope = self._next()
        slope = slope.transpose(2, 0, 1) if slope.ndim == 3 else slope  # of a map (1, 1, c), of a vector (c)
        # slope x + (1 - slope) relu(x) takes ONNX Runtime a third less time in the whole network than its PRelu.
        below = self._add("Mul", x, self._constant(slope))
        return self._add("Add", below, self._add("Mul", self._add("Relu", x), self._constant(1 - slope)))

    def pool(self, x: str, size: int, padding: str) -> str:
        return self._add("MaxPool", x, kernel_shape=[size, size], strides=[2, 2], auto_pad=padding)

    def flatten(self, x: str) -> str:
        # The rows of the first dense layer run over columns, then rows, then channels: the networks were trained
        # in a language that counts columns first.
        return self._add("Flatten", self._add("Transpose", x, perm=[0, 3, 2, 1]))

    def face_probability(self, x: str) -> str:
        """Class 1 of 2; the classes lie on axis 1 in maps and vectors alike."""
        return self._add("Gather", self._add("Softmax", x, axis=1), self._constant(np.int64(1)), axis=1)

    def model(self, **outputs: str) -> bytes:
        """The finished file.

        Raises:
            CheckpointError: weights are left over.
        """
        import onnx

        if next(self._weights, None) is not None:
            raise CheckpointError("mtcnn: its weights have more layers than those of version 1")
        results = []
        for name, x in outputs.items():
            self._add("Identity", x, output=name)
            results.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        graph = onnx.helper.make_graph(self._nodes, "mtcnn", [self._pixels], results, self._constants)
        # Old forms on purpose, so that every supported ONNX Runtime reads what any onnx writes.
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        return bytes(model.SerializeToString())

    def _next(self) -> np.ndarray:
        weight = next(self._weights, None)
        if weight is None:
            raise CheckpointError("mtcnn: its weights have fewer layers than those of version 1")
        return weight

    def _constant(self, value: Any) -> str:
        import onnx.numpy_helper

        name = f"constant{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def _add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        import onnx.helper

        output = output or f"x{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output
