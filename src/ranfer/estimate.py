"""Pose and occlusion of every face of a dataset, estimated into a file that an interrupted run resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ranfer.data.attributes import about_path, read_attributes, to_line
from ranfer.data.dataset import Dataset, read_face, require_framed
from ranfer.data.face_lists import list_hash
from ranfer.data.textfiles import to_jsonl
from ranfer.errors import ConfigError, ImageError
from ranfer.faces.attributes import AttributeEstimate, AttributeModel
from ranfer.files import locked, write_text
from ranfer.images import by_shape
from ranfer.vocab import Attributes, Progress, Sample, silent

BATCH = 64  # faces in one call of the model, of one size


@dataclass(frozen=True)
class Estimated:
    """What a file of estimates holds: the attributes by id, and why the other faces have none."""

    records: dict[str, Attributes]
    errors: dict[str, str]


def estimate(
    dataset: Dataset,
    split: str,
    path: Path,
    model: AttributeModel,
    *,
    progress: Progress = silent,
) -> Estimated:
    """Write a line a face into ``path``: id, yaw, pitch, roll, occlusion with ``none``, and landmarks.

    Lines are appended as they come; what an earlier run with the same model and data wrote is kept. A face that cannot
    be read has a line with ``error``. Beside it, ``*.meta.json`` tells how the file came about.

    Raises:
        ConfigError: ``path`` holds faces of other data or of another model, or another run is writing it.
        DataError: no such split, a damaged file, or stills whose faces must be found first.
    """
    require_framed(dataset)
    samples = dataset.split(split)
    about = {
        "data": dataset.title,
        "split": split,
        "faces": list_hash((sample.id, None) for sample in samples)[:16],  # folders of one name may hold others
        "model": {name: model.description.get(name) for name in ("sha256", "revision", "date")},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file, locked(path):
        done = _earlier(path, about)
        if not (done.records or done.errors):  # what lies there may be of a file that was removed
            write_text(about_path(path), json.dumps(about, indent=2) + "\n")
        waiting = [sample for sample in samples if sample.id not in done.records and sample.id not in done.errors]
        finished = len(samples) - len(waiting)
        progress(finished, len(samples))
        for start in range(0, len(waiting), BATCH):
            lines = _lines(dataset, waiting[start : start + BATCH], model, done)
            file.write(to_jsonl(lines).encode("ascii"))
            file.flush()
            finished += len(lines)
            progress(finished, len(samples))
    return done


def _earlier(path: Path, about: dict[str, Any]) -> Estimated:
    if not path.stat().st_size:
        return Estimated({}, {})
    content = path.read_bytes()
    if not content.startswith(b"{"):
        raise ConfigError(f"{path}: holds something else than attributes; name another file")
    found = read_attributes(path)
    if found.about != about:
        raise ConfigError(
            f"{path}: was made from {_told(found.about)}, not from {_told(about)}; name another file, or remove it"
        )
    if not content.endswith(b"\n"):  # its writer was stopped: the last line goes, were it whole but for its end
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
        found = read_attributes(path)
    return Estimated(dict(found.records), dict(found.errors))


def _told(about: Mapping[str, Any]) -> str:
    """What a file was made from, in short."""
    model = about.get("model") or {}
    return (
        f"{about.get('data', 'unknown data')} {about.get('split', '')} (faces {about.get('faces', 'unknown')}, "
        f"attribute model {str(model.get('sha256', 'unknown'))[:12]})"
    )


def _lines(dataset: Dataset, samples: Sequence[Sample], model: AttributeModel, done: Estimated) -> list[dict[str, Any]]:
    """The lines of a batch, in order; what they say is added to ``done``."""
    faces: dict[str, UInt8[np.ndarray, "h w 3"]] = {}
    for sample in samples:
        try:
            faces[sample.id] = read_face(dataset, sample)
        except ImageError as error:
            done.errors[sample.id] = str(error)
    lines: dict[str, dict[str, Any]] = {}
    ids = list(faces)
    for places, pixels in by_shape(list(faces.values()), BATCH):
        said: AttributeEstimate = model(pixels)
        for place, attributes, points in zip(places, said.attributes(), said.landmarks, strict=True):
            done.records[ids[place]] = attributes
            lines[ids[place]] = to_line(ids[place], attributes) | {"landmarks": np.round(points, 4).tolist()}
    return [lines.get(sample.id) or {"id": sample.id, "error": done.errors[sample.id]} for sample in samples]
