"""What a model has learnt: the record that a training run leaves in the description of its weights.

By it a report says what a figure owes to faces that the model knows; training and calibration choose nothing on such
faces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from ranfer.config import DataConfig, TrainConfig
from ranfer.vocab import Expression


class TrainingRecord(TypedDict, total=False):
    """Plain values under ``training`` in the description of a weights file; of another program, some may be missing."""

    dataset: str  # its origin, as a manifest of it would have, too
    split: str  # several are joined by +
    faces: int
    classes: list[str]  # expressions that are part of a target
    label_rule: str
    sampling: str
    drawn_over: float  # share of the faces that get synthetic occlusion
    epoch_chosen_on: str  # see :func:`chosen_on`; of a mean of weights several, joined by "; "
    pre_training: str | None  # the file that it started from
    teachers: list[str]
    known: list[str]  # what start and teachers have learnt, as :func:`learnt_by` tells it


def training_record(
    config: TrainConfig, origin: str, faces: int, classes: Iterable[Expression], known: Sequence[str]
) -> TrainingRecord:
    """The record of a run.

    Args:
        config: its settings.  origin: of the dataset.  faces: how many it learns.
        classes: expressions that are part of a target.  known: what its start and its teachers have learnt.
    """
    data = config.data
    return {
        "dataset": origin,
        "split": data.train,
        "faces": faces,
        "classes": [str(expression) for expression in classes],
        "label_rule": data.label_rule,
        "sampling": "balanced over expressions" if data.balanced else "each face once an epoch",
        "drawn_over": config.augment.occlude,
        "epoch_chosen_on": chosen_on(data),
        "pre_training": None if config.start is None else _short(config.start),
        "teachers": [_short(path) for path in config.loss.teachers],
        "known": list(known),
    }


def _short(path: Path) -> str:
    return "/".join(path.parts[-2:])  # all checkpoints have one name, and their folders tell them apart


def chosen_on(data: DataConfig) -> str:
    """Which faces choose the epoch: a split by its name, held-out training faces, or none, in words."""
    part = f", fold {data.fold}" if data.fold else ""
    return f"{data.held_out:g} of {data.train}, held out{part}" if data.held_out else data.valid or "none, the last"


def record_of_mean(descriptions: Sequence[Mapping[str, Any]]) -> TrainingRecord:
    """The record of a model whose weights are the mean of those of several: the last one's, and what concerns all.

    It knows what they have learnt, and its epochs are chosen on all that chose theirs.
    """
    records = [recorded(description) for description in descriptions]
    merged = cast(TrainingRecord, dict(records[-1]))
    if known := sorted({learnt for description in descriptions for learnt in learnt_by(description)}):
        merged["known"] = known
    if chosen := dict.fromkeys(one for record in records if (one := record.get("epoch_chosen_on"))):
        merged["epoch_chosen_on"] = "; ".join(chosen)
    return merged


def recorded(description: Mapping[str, Any]) -> TrainingRecord:
    """The record in the description of a weights file; empty where there is none."""
    training = description.get("training")
    return cast(TrainingRecord, training) if isinstance(training, dict) else {}


def learnt_by(description: Mapping[str, Any]) -> list[str]:
    """What a model has learnt by its own description, as in ``ferplus train``: itself, or by what it started from."""
    record = recorded(description)
    splits = str(record.get("split")).split("+") if "dataset" in record else []
    return sorted({*(f"{record['dataset']} {split}" for split in splits), *(record.get("known") or [])})


def has_learnt(description: Mapping[str, Any], origin: str, split: str) -> bool:
    """Whether a model has learnt this split of the dataset of this name, by its own description."""
    return f"{origin} {split}" in learnt_by(description)


def learnt_selection(description: Mapping[str, Any], origin: str, data: DataConfig) -> list[str]:
    """The splits whose faces choose the epoch of a run, and which this model may have learnt, as in ``ferplus valid``.

    Held-out faces are new to a model that left the same ones out.
    """
    record = recorded(description)
    if data.held_out and (record.get("dataset"), record.get("epoch_chosen_on")) == (origin, chosen_on(data)):
        return []
    splits = data.learnt if data.held_out else filter(None, (data.valid,))
    return [f"{origin} {split}" for split in splits if has_learnt(description, origin, split)]
