"""Weights in files: ours (one safetensors file that says all about itself), the published ones, and anybody's backbone.

No file decides which code runs: PyTorch files are read as tensors alone, without pickle, and a backbone by import path
is made only where the caller names that path, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import ValidationError
from rich.console import Console
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ranfer.backbones import BUILT_IN, Foreign
from ranfer.config import BackboneConfig, ModelConfig, RegionsConfig
from ranfer.errors import CheckpointError, ConfigError
from ranfer.face_regions import FaceRegions
from ranfer.files import atomic_path
from ranfer.model import RAN
from ranfer.onnx_file import read_weights
from ranfer.regions import CENTRE_80, FIXED5
from ranfer.vocab import NAMES, Expression, Prediction

FORMAT = "ranfer-1"
STATE_FORMAT = "ranfer-run-1"  # of what a training run resumes from


@dataclass
class Trained:
    """A model with its weights, ready to predict, and what its file says of it.

    ``views`` are as in ``RAN.predict``.
    """

    model: RAN
    description: dict[str, Any] = field(default_factory=dict)
    views: int = 1

    def __post_init__(self) -> None:
        self._regions = FaceRegions(self.model.config.regions)

    def on_best_device(self) -> Trained:
        """Itself, on a GPU where there is one."""
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        return self

    @torch.inference_mode()
    def __call__(self, faces: UInt8[np.ndarray, "b h w c"], ids: Sequence[str]) -> Prediction:
        """Probabilities and region weights of faces; ids seed the regions of a ``random`` model."""
        self.model.eval()
        boxes, mask = self._regions(faces, ids)
        device = self.model.fc.weight.device
        probabilities, out = self.model.predict(
            self.model.prepare(torch.from_numpy(np.ascontiguousarray(faces)).to(device)),
            torch.from_numpy(boxes).to(device),
            None if mask is None else torch.from_numpy(mask).to(device),
            views=self.views,
        )
        mu, nu, weight = (tensor.float().cpu().numpy() for tensor in (out.mu, out.nu, out.weight))
        return Prediction(probabilities.cpu().double().numpy(), np.broadcast_to(boxes, (*mu.shape, 4)), mu, nu, weight)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Tensors and a JSON description as one safetensors file, which appears complete or not at all.

    Raises:
        CheckpointError: it cannot be written (disk full, no permission); what stood there before still stands.
    """
    metadata = {key: json.dumps(value) for key, value in about.items()}
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    try:
        with atomic_path(path) as partial, partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror}); what stood there before is kept"
        ) from error


def read_tensors(path: Path, of: Collection[str] | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, all or those of some names, and the description of a file of ours, or of any safetensors file.

    Raises:
        CheckpointError: missing, truncated, or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in (file.keys() if of is None else of)}
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: truncated, or no safetensors file ({error})") from error
    about = {}
    for key, value in metadata.items():
        try:
            about[key] = json.loads(value)
        except json.JSONDecodeError:  # another program's text
            about[key] = value
    return tensors, about


def save_model(path: Path, model: RAN, about: Mapping[str, Any]) -> None:
    """A model and its description: settings, label order and format are added to what ``about`` says."""
    settings = model.config.model_dump(mode="json")
    own = {"format": FORMAT, "model": settings, "labels": NAMES}
    write_tensors(path, model.state_dict(), {**about, **own})


def load(path: Path, backbone: str | None = None) -> Trained:
    """A model from a file of ours, a checkpoint or an exported one, or from one of the published network.

    Of an exported file it is the network alone, without temperature and further views. ``backbone`` is the import path
    that may be called, for a model whose backbone is none of ours.

    Raises:
        CheckpointError: missing, truncated, of another program, its weights do not fit its own settings, or its
            backbone has an import path other than ``backbone``.
    """
    suffix = path.suffix.lower()
    if suffix in (".safetensors", ".onnx"):
        tensors, about = read_tensors(path) if suffix == ".safetensors" else read_weights(path)
        if about.get("format") == FORMAT:
            model = _build(path, about, backbone)
            _fill(model, tensors, path)
            return Trained(model, {"file": path.name, **about})
        if about.get("format") == STATE_FORMAT:
            raise CheckpointError(f"{path}: the state that a run resumes from; its model is best.safetensors beside it")
    return load_published(path)


def _build(path: Path, about: dict[str, Any], backbone: str | None) -> RAN:
    """The network that a file of ours describes, with random weights."""
    if about.get("labels") != NAMES:
        raise CheckpointError(f"{path}: its labels are {about.get('labels')}, expected {NAMES}")
    try:
        config = ModelConfig.model_validate(about.get("model"))
        # A copy of initial weights may be gone by now, and the file's own weights replace them anyway.
        config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"initial": None})})
        about["model"] = config.model_dump(mode="json")
        if (name := config.backbone.name) not in (*BUILT_IN, backbone):
            raise CheckpointError(
                f"{path}: its backbone is made by calling {name} with {config.backbone.arguments}, which runs code "
                f"from outside of ranfer; if you trust the file, add --backbone {name}"
            )
        return RAN(config)
    except (ValidationError, ConfigError) as error:
        reason = shorten(" ".join(str(error).split()), 300, placeholder=" ...")
        raise CheckpointError(f"{path}: its settings describe no network ({reason})") from error


def load_published(path: Path) -> Trained:
    """The published network (ResNet-18, RGB at 224 pixels, softmax attention, five crops) as our RAN.

    ``path`` holds safetensors or a PyTorch state dict with ``conv1`` ..., ``alpha.0``, ``beta.0`` and ``fc``, whose
    rows are FERPlus's eight expressions in their order, which is ours.

    Raises:
        CheckpointError: the keys are not those of that network, or it does not distinguish eight expressions.
    """
    tensors = read_named(path)
    if "fc.weight" in tensors and len(tensors["fc.weight"]) != len(Expression):
        raise CheckpointError(
            f"{path}: its classifier has {len(tensors['fc.weight'])} outputs; expected {len(Expression)}"
        )
    renamed = {}
    for key, tensor in tensors.items():
        match key.split("."):
            case ["alpha", "0", kind]:
                renamed[f"attention.self_attention.{kind}"] = tensor
            case ["beta", "0", kind]:
                renamed[f"attention.relation_attention.{kind}"] = tensor
            case ["fc", _]:
                renamed[key] = tensor
            case _:
                renamed[f"backbone.{key}"] = tensor
    if not {"attention.self_attention.weight", "attention.relation_attention.weight", "fc.weight"} <= renamed.keys():
        raise CheckpointError(
            f"{path}: neither a file of ranfer nor of the published network (expected keys alpha.0, beta.0 and fc, got "
            f"{', '.join(list(tensors)[:4])}, ...); for a backbone's weights use backbone.initial"
        )
    config = ModelConfig(
        backbone=BackboneConfig(name="resnet18", stem="large"),
        size=224,
        channels=3,
        mean=0.0,
        std=1.0,
        regions=RegionsConfig(scheme="boxes", boxes=(*FIXED5[:4], CENTRE_80)),
        normalization="softmax",
    )
    model = RAN(config)
    _fill(model, renamed, path)
    return Trained(model, {"file": path.name, "format": "published RAN", "model": config.model_dump(mode="json")})


def _fill(model: RAN, tensors: Mapping[str, Tensor], path: Path) -> None:
    if path.suffix.lower() == ".onnx":  # a graph has constants of its own, and no counters of batches
        own = model.state_dict()
        counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
        tensors = counters | {name: value for name, value in tensors.items() if name in own}
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = shorten(str(error), 300, placeholder=" ...")  # it names every tensor
        raise CheckpointError(f"{path}: its weights do not fit the network: {reason}") from error


def read_named(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file, a PyTorch file, or an ONNX file that we exported.

    A leading ``module.`` and a wrapper round the tensors are taken off.

    Raises:
        CheckpointError: missing, truncated, no such file, or one that would need code to be executed.
    """
    if path.suffix.lower() == ".safetensors":
        state: Any = read_tensors(path)[0]
    elif path.suffix.lower() == ".onnx":
        state = read_weights(path)[0]
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no such file") from None
        except UnpicklingError as error:  # whose text advises to execute what the file says
            raise CheckpointError(
                f"{path}: not a PyTorch file, or holds more than tensors, and nothing is executed here; "
                "torch.save(model.state_dict(), FILE) writes tensors alone"
            ) from error
        except Exception as error:  # bytes of any other kind can make the reader fail in any way
            reason = str(error).split("\n")[0]
            raise CheckpointError(f"{path}: truncated, or no file of PyTorch ({reason})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: expected named tensors, got {type(state).__name__}")
    return {key.removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}


def description(path: Path) -> dict[str, Any]:
    """What a file of ours says of itself; empty for a PyTorch file.

    Raises:
        CheckpointError: missing or truncated.
    """
    if path.suffix.lower() == ".safetensors":
        return read_tensors(path, of=())[1]
    return read_weights(path)[1] if path.suffix.lower() == ".onnx" else {}


def go_on_from(model: RAN, path: Path) -> ModelConfig:
    """Give a model all the weights of one of the same network, from any file that :func:`load` reads.

    A model with regions may also go on from one without: at first all regions weigh alike, and it answers with the mean
    of what the other would say of each.

    Returns:
        The settings of the other model.

    Raises:
        CheckpointError: as of :func:`load`, or the networks differ.
    """
    given = load(path, model.config.backbone.name).model
    tensors = given.state_dict()
    if given.config.attention == "none" != model.config.attention:
        own = model.state_dict()
        tensors |= {name: torch.zeros_like(own[name]) for name in own if name.startswith("attention.")}
        copies = model.attention.output_size // given.attention.output_size  # with relation-attention P holds two means
        tensors["fc.weight"] = given.fc.weight.detach().repeat(1, copies) / copies
    _fill(model, tensors, path)
    return given.config


def start_from(backbone: nn.Module, path: Path, console: Console) -> None:
    """Give a backbone the weights of a file, and print which keys matched and which did not.

    What the file lacks keeps its random start; a file of ours or of the published network lends its backbone.

    Raises:
        CheckpointError: nothing in the file matched.
    """
    network = backbone.module if isinstance(backbone, Foreign) else backbone  # the names are those of its own project
    own = network.state_dict()
    given = {key.removeprefix("backbone.").removeprefix("module."): tensor for key, tensor in read_named(path).items()}
    matched = {key: given[key] for key in own if key in given and given[key].shape == own[key].shape}
    shapes = [
        f"{key} {tuple(given[key].shape)}, not {tuple(own[key].shape)}" for key in own if key in given.keys() - matched
    ]
    missing = sorted(own.keys() - given.keys())
    unused = sorted(given.keys() - own.keys())
    weights = [key for key in matched if matched[key].ndim > 1]  # a shared "bias" or counter alone is no match
    if not weights:
        raise CheckpointError(
            f"{path}: nothing matched the backbone; it has {', '.join(list(own)[:3])}, ...; "
            f"the file has {', '.join(list(given)[:3])}, ... ({len(shapes)} of another shape)"
        )
    network.load_state_dict(matched, strict=False)
    console.print(f"initial weights from {path}: {len(matched)} of {len(own)} tensors matched")
    for title, keys in (("another shape", shapes), ("not in the file", missing), ("in the file but unused", unused)):
        if keys:
            console.print(
                f"  {title}: {len(keys)} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})", highlight=False
            )
