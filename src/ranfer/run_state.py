"""What a training run needs to go on after a stop: its state in one file without pickle, and its figures as lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ranfer.checkpoint import STATE_FORMAT, read_tensors, write_tensors
from ranfer.errors import CheckpointError
from ranfer.files import write_text


def write_state(
    path: Path, about: Mapping[str, Any], model: nn.Module, average: nn.Module | None, optimizer: Any
) -> None:
    """All that a run needs to go on: weights, their average, the optimiser's memory; one file without pickle."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items() if isinstance(value, Tensor)}
    write_tensors(path, tensors, {**about, "format": STATE_FORMAT})


def restore(
    path: Path, about: Mapping[str, Any], model: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> tuple[int, list[dict[str, Any]]]:
    """Put the state of a run where it was: gives the epochs done, and their figures.

    Raises:
        CheckpointError: truncated, no state of a run, or of other settings or data; the message tells the differences.
    """
    tensors, said = read_tensors(path)
    if said.get("format") != STATE_FORMAT:
        raise CheckpointError(f"{path}: expected the state of a training run, got format {said.get('format')!r}")
    if lacking := [key for key in ("config", "data_hash", "epoch", "history") if not said.get(key)]:
        raise CheckpointError(f"{path}: damaged, for it lacks {', '.join(lacking)}; remove it to train from the start")
    for key in ("config", "data_hash"):
        if differing := differences(said[key], about[key]):
            raise CheckpointError(f"{path}: is of another run: {'; '.join(differing)}; name another --out folder")
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    slots: dict[int, dict[str, Tensor]] = {}
    try:
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        for name, tensor in parts["optimizer"].items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = tensor
        model.load_state_dict(parts["model"])
        if average is not None:
            average.load_state_dict(parts["average"])
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: damaged ({reason}); remove it to train from the start") from error
    return said["epoch"], said["history"]


def differences(was: Any, now: Any, key: str = "") -> list[str]:
    """In which keys two nested dictionaries differ, and how: one line each."""
    if isinstance(was, dict) and isinstance(now, dict):
        inner = sorted(was.keys() | now.keys())
        return [line for k in inner for line in differences(was.get(k), now.get(k), f"{key}.{k}".lstrip("."))]
    return [] if was == now else [f"{key} was {was!r} and is now {now!r}"]


def rewrite_metrics(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Bring ``metrics.jsonl`` in line with the state: a torn last line, or one of an epoch that runs again, goes."""
    try:
        write_text(path, (json.dumps(line) + "\n" for line in history))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error


def append_metrics(path: Path, line: Mapping[str, Any]) -> None:
    """Add the figures of an epoch, durably."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error
