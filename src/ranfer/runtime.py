"""ONNX files as predictors: ours, which hold everything from pixels to probabilities, and anybody's classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from pydantic import PositiveInt, field_validator, model_validator

from ranfer.config import RegionsConfig, Settings, parse
from ranfer.errors import CheckpointError, ConfigError
from ranfer.face_regions import FaceRegions
from ranfer.session import metadata, open_session
from ranfer.vocab import NAMES, Expression, Prediction, normalised, parse_expression

PIXEL_TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}


class OnnxModel:
    """A file that ``ranfer export`` wrote: uint8 faces of any size in, a whole :class:`Prediction` out.

    ``threads`` are those of the attribute model, which a file with regions round landmarks needs beside its session.

    Raises:
        CheckpointError: other inputs or labels than those of this version.
        ConfigError: the file's description of its regions is wrong.
    """

    def __init__(self, path: Path, session: ort.InferenceSession, threads: int | None = None) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self.description = {"kind": "ranfer ONNX", "file": str(path), **(metadata(session) or {})}
        needed = [entry.name for entry in session.get_inputs()]
        self._regions: FaceRegions | None = None
        if needed == ["faces", "boxes", "mask"]:  # each face has regions of its own
            told = self.description.get("model", {}).get("regions", {})
            self._regions = FaceRegions(parse(RegionsConfig, told, f"{path}, its regions"), threads)
        elif needed != ["faces"]:
            raise CheckpointError(
                f"{path}: expected the input 'faces', or faces, boxes and mask; the file wants {', '.join(needed)}"
            )
        if self.description.get("labels") != NAMES:
            raise CheckpointError(f"{path}: label order {self.description.get('labels')} is not that of this version")

    def __call__(self, faces: UInt8[np.ndarray, "b h w 3"], ids: Sequence[str]) -> Prediction:
        """What the model says of a batch of faces; ids seed the regions of a ``random`` model."""
        inputs = {"faces": faces}
        if self._regions is not None:
            boxes, mask = self._regions(faces, ids)
            inputs |= {"boxes": boxes, "mask": np.ones(boxes.shape[:2], dtype=bool) if mask is None else mask}
        # Boxes are an output, or the input that was found for each face.
        found = {**inputs, **dict(zip(self._outputs, self._session.run(None, inputs), strict=True))}
        return Prediction(
            found["probabilities"],
            found.get("boxes"),
            found.get("mu"),
            found.get("nu"),
            found.get("weight"),
            found.get("representation"),
        )


class InputDescription(Settings):
    """What a classifier takes and gives: its faces are resized, turned grey, scaled, normalised and laid out so."""

    size: tuple[PositiveInt, PositiveInt]  # height, width; one number stands for both
    channels: Literal[1, 3]
    layout: Literal["nchw", "nhwc"]
    range: tuple[float, float] = (0.0, 1.0)  # what black and white become
    mean: tuple[float, ...] = (0.0,)  # one, or one a channel; taken off after the range
    std: tuple[float, ...] = (1.0,)
    order: Literal["rgb", "bgr"] = "rgb"
    output: Literal["probabilities", "logits"] = "probabilities"

    @field_validator("size", mode="before")
    @classmethod
    def _both_sides(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        sides = value.split("x")
        return sides * 2 if len(sides) == 1 else sides

    @field_validator("channels", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return int(value) if value in ("1", "3") else value

    @field_validator("range", "mean", "std", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return value.replace("..", "/").split("/") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> InputDescription:
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range must rise, as in 0..1, got {self.range[0]:g}..{self.range[1]:g}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} must be one number, or {self.channels} joined by '/', got {len(values)}")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self


def describe_input(session: ort.InferenceSession, preprocess: str, path: Path) -> InputDescription:
    """The input description of a file: what its input tells, completed by ``key=value,...``.

    Raises:
        CheckpointError: the file's input is no batch of pictures.
        ConfigError: an unknown or wrong key, a key that contradicts the file, or one that is missing.
    """
    told = _told_by(session, path)
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in preprocess.split(","))):
        key, equals, value = part.partition("=")
        if not equals or key in given:
            raise ConfigError(f"--preprocess {part}: expected each key once, as in size=48,channels=1,mean=0.5")
        given[key] = value
    if missing := [key for key in ("size", "channels", "layout") if key not in given and key not in told]:
        shape = session.get_inputs()[0].shape
        raise ConfigError(f"{path}: its input {shape} does not specify {', '.join(missing)}: give it with --preprocess")
    description = parse(InputDescription, {**told, **given}, f"--preprocess {preprocess}")
    _check_fits(description, session, path)
    return description


def _told_by(session: ort.InferenceSession, path: Path) -> dict[str, Any]:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise CheckpointError(f"{path}: expected one input, got {len(inputs)}: {', '.join(i.name for i in inputs)}")
    shape, kind = inputs[0].shape, inputs[0].type
    if kind not in PIXEL_TYPES or len(shape) != 4:
        raise CheckpointError(f"{path}: expected a batch of pictures (four axes, uint8 or float), got {kind} {shape}")
    told: dict[str, Any] = {"range": (0.0, 255.0)} if kind == "tensor(uint8)" else {}
    layout = "nchw" if shape[1] in (1, 3) else "nhwc" if shape[3] in (1, 3) else None
    if layout is not None:
        channels, *size = (shape[1], shape[2], shape[3]) if layout == "nchw" else (shape[3], shape[1], shape[2])
        told |= {"layout": layout, "channels": channels}
        if all(isinstance(side, int) for side in size):
            told["size"] = tuple(size)
    return told


def _check_fits(description: InputDescription, session: ort.InferenceSession, path: Path) -> None:
    entry, (height, width) = session.get_inputs()[0], description.size
    nchw = description.layout == "nchw"
    wanted = (description.channels, height, width) if nchw else (height, width, description.channels)
    if any(isinstance(side, int) and side != want for side, want in zip(entry.shape[1:], wanted, strict=True)):
        raise ConfigError(f"{path}: its input is {entry.shape}, but --preprocess makes faces {list(wanted)}")
    plain = description.range == (0, 255) and set(description.mean) == {0} and set(description.std) == {1}
    if entry.type == "tensor(uint8)" and not plain:
        raise ConfigError(f"{path}: its input is uint8, which takes no range, mean or std")


class OnnxClassifier:
    """Anybody's classifier: one input of pictures, one output of logits or probabilities a label.

    ``labels`` names the outputs in their order, by any synonym of an expression; ``-`` stands for an output to ignore.
    What remains is normalised to sum 1. An expression that the classifier does not know gets probability 0.

    Raises:
        ConfigError: two outputs of one name, no usable output, or a wrong input description.
        DataError: a name that stands for no expression.
        CheckpointError: no ONNX, or not the shape of a classifier with as many outputs as labels.
    """

    def __init__(
        self, path: Path, labels: Sequence[str], preprocess: str = "", session: ort.InferenceSession | None = None
    ) -> None:
        self._path = path
        self._session = session or open_session(path)
        self._labels = len(labels)
        self._columns = _columns(labels)
        self.input = describe_input(self._session, preprocess, path)
        self._output = _output_of(self._session, len(labels), path)
        self.description = {
            "kind": "ONNX classifier",
            "file": str(path),
            "labels": list(labels),
            "expressions without an output": [e.value for e in Expression if e.column not in self._columns.values()],
            "input": self.input.model_dump(),
        }

    def __call__(self, faces: UInt8[np.ndarray, "b h w 3"], ids: Sequence[str]) -> Prediction:
        """What the classifier says of a batch of faces; a file whose batch size is fixed gets batches of that size.

        Raises:
            CheckpointError: the output is not what the description says.
        """
        pixels, entry = self._pixels(faces), self._session.get_inputs()[0]
        fixed = entry.shape[0] if isinstance(entry.shape[0], int) else None
        parts = []
        for batch in _batches(pixels, fixed or len(pixels)):
            try:
                (found,) = self._session.run([self._output], {entry.name: batch})
            except Exception as error:  # the runtime's exceptions have no common type of their own
                raise CheckpointError(f"{self._path}: cannot run on {batch.shape} ({error})") from error
            if found.size != len(batch) * self._labels or (found.ndim > 1 and len(found) != len(batch)):
                raise CheckpointError(f"{self._path}: {self._labels} labels, but an output of shape {found.shape}")
            parts.append(found.reshape(len(batch), -1).astype(np.float64))
        scores = np.concatenate(parts)[: len(faces)]
        return Prediction(self._probabilities(scores))

    def _pixels(self, faces: UInt8[np.ndarray, "b h w 3"]) -> Shaped[np.ndarray, "b x y z"]:
        height, width = self.input.size
        mode = "L" if self.input.channels == 1 else "RGB"
        # Pillow widens its filter where it shrinks: antialiasing.
        resized = [
            Image.fromarray(face).convert(mode).resize((width, height), Image.Resampling.BILINEAR) for face in faces
        ]
        pixels = np.stack([np.asarray(face) for face in resized]).reshape(len(faces), height, width, -1)
        if self.input.order == "bgr":
            pixels = pixels[..., ::-1]
        kind = PIXEL_TYPES[self._session.get_inputs()[0].type]
        if kind is not np.uint8:
            low, high = self.input.range
            scaled = pixels / 255.0 * (high - low) + low
            pixels = (scaled - self.input.mean) / self.input.std
        if self.input.layout == "nchw":
            pixels = pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels, dtype=kind)

    def _probabilities(self, scores: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b 8"]:
        if not np.isfinite(scores).all():
            raise CheckpointError(
                f"{self._path}: the outputs are not finite numbers for {(~np.isfinite(scores).all(axis=1)).sum()} faces"
            )
        looks_normal = bool((scores >= -1e-3).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-2))
        if looks_normal != (self.input.output == "probabilities"):
            other = "logits" if self.input.output == "probabilities" else "probabilities"
            raise CheckpointError(
                f"{self._path}: output={self.input.output} was expected, but the values look like {other} "
                f"({_sketch(scores)}): say output={other} in --preprocess"
            )
        kept = scores[:, list(self._columns)]
        if self.input.output == "logits":
            kept = np.exp(kept - kept.max(axis=1, keepdims=True))
        result = np.zeros((len(scores), len(Expression)))
        result[:, list(self._columns.values())] = normalised(kept)
        return result


def _columns(labels: Sequence[str]) -> dict[int, int]:
    """For each output that counts, its column among ours."""
    columns: dict[int, int] = {}
    for place, name in enumerate(labels):
        if name.strip() != "-":
            column = parse_expression(name, f"--labels, name {place + 1}").column
            if column in columns.values():
                raise ConfigError(f"--labels: two outputs are called {list(Expression)[column]}; ignore one with '-'")
            columns[place] = column
    if not columns:
        raise ConfigError("--labels: every output is ignored")
    return columns


def _output_of(session: ort.InferenceSession, labels: int, path: Path) -> str:
    """The one floating output with a number a label; an axis of unknown length may hold it, too."""
    outputs = session.get_outputs()
    fitting = [
        output.name
        for output in outputs
        if output.type in ("tensor(float)", "tensor(double)", "tensor(float16)")
        and (not output.shape or not isinstance(output.shape[-1], int) or output.shape[-1] == labels)
    ]
    if len(fitting) == 1:
        return str(fitting[0])
    shapes = "; ".join(f"{output.name} {output.type} {output.shape}" for output in outputs)
    wanted = f"{labels} labels want one float output of {labels} numbers a face"
    raise CheckpointError(f"{path}: {wanted}, but the file gives {shapes}")


def _batches(pixels: Shaped[np.ndarray, "b x y z"], size: int) -> Iterator[Shaped[np.ndarray, "s x y z"]]:
    """Batches of one size; the last is filled up with its last face."""
    for start in range(0, len(pixels), size):
        batch = pixels[start : start + size]
        yield np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])


def _sketch(scores: Float[np.ndarray, "b k"]) -> str:
    return "such as " + " ".join(f"{score:.3g}" for score in scores[0])


def open_onnx(path: Path, labels: Sequence[str] | None = None, preprocess: str = "") -> OnnxModel | OnnxClassifier:
    """A file of ours, which carries its own labels and preprocessing, or another's classifier, which needs ``labels``.

    Raises:
        ConfigError: no labels for a file that is not ours.
        CheckpointError: see the classes.
    """
    session = open_session(path)
    if metadata(session) is not None:
        return OnnxModel(path, session)
    if not labels:
        raise ConfigError(f"{path}: not a file of ranfer: name its outputs with --labels, as in neutral,happy,-,sad")
    return OnnxClassifier(path, labels, preprocess, session)
