"""How a figure was measured, and with which published figures it may be compared.

A published figure is named only where the faces are those it was measured on: the whole split with as many faces, or a
list that holds the very ids of a published one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ranfer.data.face_lists import FaceList
from ranfer.evaluate import UNREADABLE, Evaluation, Group
from ranfer.training_record import has_learnt, recorded
from ranfer.vocab import Expression

UNKNOWN = "unknown: not recorded in the model file"
TRAINED_ON = "{dataset} {split}, {faces} faces by the rule {label_rule}, {sampling}"


class PublishedFigure(NamedTuple):
    """An accuracy in percent, by whom, and what it owes to its conditions."""

    accuracy: float
    who: str
    conditions: str


class PublishedSet(NamedTuple):
    """The faces that figures are published of: a split, or the first digits of the hash of a list's ids."""

    dataset: str
    name: str
    faces: int
    figures: tuple[PublishedFigure, ...]


def _ran(accuracy: float, conditions: str = "ResNet-18") -> PublishedFigure:
    return PublishedFigure(
        accuracy, "Wang et al. 2020 (RAN)", f"{conditions}, pre-trained on faces, epoch chosen on the test faces"
    )


def _again(pretrained: float, resnet18: float, resnet34: float) -> tuple[PublishedFigure, ...]:
    who = "an independent re-implementation of RAN"
    return (
        PublishedFigure(pretrained, who, "ResNet-18, pre-trained on MS-Celeb-1M"),
        PublishedFigure(resnet18, who, "ResNet-18, no pre-training"),
        PublishedFigure(resnet34, who, "ResNet-34, no pre-training"),
    )


SPLITS = (
    PublishedSet("affectnet", "test", 4000, (_ran(52.97), _ran(59.5, "ResNet-18, balanced training faces"))),
    PublishedSet("rafdb", "test", 3068, (_ran(86.90),)),
    PublishedSet("sfew", "valid", 436, (_ran(54.19), _ran(56.4, "two models"))),
)
LISTS = {
    "36bb606564c00e7e": PublishedSet(
        "ferplus",
        "the published test list",
        3137,
        (_ran(88.55), _ran(89.16, "VGG16, soft labels"), *_again(86.90, 84.44, 84.82)),
    ),
    "70d0f0e9e8a50cfe": PublishedSet("ferplus", "Occlusion", 605, (_ran(83.63), *_again(82.31, 80.17, 81.32))),
    "69d06bb495718834": PublishedSet("ferplus", "Pose over 30 degrees", 1170, _again(87.01, 83.58, 85.64)),
    "7fad47b9c524e149": PublishedSet("ferplus", "Pose over 45 degrees", 633, _again(85.47, 81.67, 82.78)),
    "dc558089b743e45f": PublishedSet("affectnet", "Occlusion", 683, (_ran(58.50),)),
    "d21459518805cb21": PublishedSet("rafdb", "Occlusion", 734, (_ran(82.72, "ResNet-18, one face counted twice"),)),
}


@dataclass(frozen=True)
class Protocol:
    """All that a figure depends on besides the model, in words.

    comparable: by the split or subset, the published figures of the same faces, or why there are none.
    stamps: what inflates the figure, and must be said wherever it is shown.
    """

    label_rule: str
    classes: tuple[str, ...]
    n: int
    sampling: str
    trained_on: str
    drawn_over_in_training: str
    epoch_chosen_on: str
    pre_training: str
    teachers: str
    test_time_augmentation: str
    comparable: dict[str, tuple[str, ...]]
    stamps: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        compared = {name: list(lines) for name, lines in self.comparable.items()}
        return {**asdict(self), "classes": list(self.classes), "stamps": list(self.stamps), "comparable": compared}

    def to_markdown(self) -> str:
        """A section of a report."""
        words = {key.replace("_", " "): value for key, value in asdict(self).items() if isinstance(value, str | int)}
        lines = [
            f"- {key}: {value:,}" if isinstance(value, int) else f"- {key}: {value}" for key, value in words.items()
        ]
        lines.append(f"- classes: {len(self.classes)} ({', '.join(self.classes)})")
        stamps = [f"**{stamp}**" for stamp in self.stamps]
        compared = [f"- *{name}*: {line}" for name, found in self.comparable.items() for line in found]
        parts = ["## Protocol", *stamps, "\n".join(lines), "Published figures of the same faces:", "\n".join(compared)]
        return "\n\n".join(parts)


def _augmentation(source: Mapping[str, Any]) -> str:
    views = {
        2: "the mean over each face and its mirror image",
        6: "the mean over each face and its mirror image, and both rotated by 8 degrees either way, "
        "except faces of which the first two views are sure",
    }
    return views.get(source.get("views", 1), "none: each face is seen once")


def protocol(evaluation: Evaluation) -> Protocol:
    """The protocol of an evaluation, from what the model's file records of its training."""
    training = recorded(evaluation.source)
    predictions = str(evaluation.source.get("kind", "")).startswith("predictions")
    support = evaluation.whole.scores.confusion.sum(axis=1)
    averaged = evaluation.source.get("mean_of")
    mean = f"; its weights are the mean of those of {', '.join(averaged)}" if averaged else ""
    origin = evaluation.dataset.origin
    unread = evaluation.whole.excluded.get(UNREADABLE, 0)
    groups = {name: _compare_list(evaluation.lists[name], group) for name, group in evaluation.subsets.items()}
    return Protocol(
        label_rule=evaluation.rule,
        classes=tuple(str(expression) for expression in Expression if support[expression.column]),
        n=evaluation.whole.scores.n,
        sampling=f"every face of {origin} {evaluation.split} that the rule keeps, once"
        + (", except expressions that are not shared" if evaluation.shared.only else "")
        + (f", except {unread:,} that cannot be read" if unread else ""),
        trained_on=TRAINED_ON.format_map(defaultdict(lambda: "?", training)) + mean if training else UNKNOWN,
        drawn_over_in_training=f"{100 * training['drawn_over']:g} % of the faces"
        if "drawn_over" in training
        else UNKNOWN,
        epoch_chosen_on=training.get("epoch_chosen_on", UNKNOWN),
        pre_training=(training["pre_training"] or "none") if "pre_training" in training else UNKNOWN,
        teachers=(", ".join(training.get("teachers", [])) or "none") if training else UNKNOWN,
        test_time_augmentation=UNKNOWN if predictions else _augmentation(evaluation.source),
        comparable={evaluation.split: _compare_split(evaluation), **groups},
        stamps=tuple(_stamps(evaluation)),
    )


def _stamps(evaluation: Evaluation) -> Iterator[str]:
    origin, split = evaluation.dataset.origin, evaluation.split
    groups = {split: evaluation.whole, **evaluation.subsets}
    for who, source in (("model", evaluation.source), ("other model", evaluation.against or {})):
        training = recorded(source)
        chosen = (training.get("epoch_chosen_on") or "").split("; ")
        if "test" in chosen:
            yield f"The epoch of the {who} was chosen on the test split, which inflates every figure on it."
        elif training.get("dataset") == origin and split in chosen:
            yield f"The epoch of the {who} was chosen on these same faces, which inflates the figure."
        if learnt := [
            name
            for name, group in groups.items()
            if any(has_learnt(source, origin, part) for part in {sample.split for sample in group.samples})
        ]:
            yield f"The {who} was trained on faces of {', '.join(learnt)}; results there do not generalise."


def _compare_split(evaluation: Evaluation) -> tuple[str, ...]:
    origin, split, n = evaluation.dataset.origin, evaluation.split, evaluation.whole.scores.n
    found = next((known for known in SPLITS if (known.dataset, known.name) == (origin, split)), None)
    if found is None:
        return (f"none is known of {origin} {split} as a whole",)
    return _figures(found, n)


def _compare_list(faces: FaceList, group: Group) -> tuple[str, ...]:
    found = LISTS.get(ids_hash(faces))
    return ("none is known of this list",) if found is None else _figures(found, group.scores.n)


def ids_hash(faces: FaceList) -> str:
    """16 hexadecimal digits of the SHA-256 of the ids of a list in the order of their names."""
    return hashlib.sha256("\n".join(sorted(entry.id for entry in faces.entries)).encode()).hexdigest()[:16]


def _figures(found: PublishedSet, n: int) -> tuple[str, ...]:
    if n != found.faces:
        labels = "; --subset-labels list takes all of them" if found.name not in ("test", "valid") else ""
        return (f"not comparable as it is: published figures are of {found.faces:,} faces, this one of {n:,}{labels}",)
    return tuple(f"{figure.accuracy:.2f} % by {figure.who}: {figure.conditions}" for figure in found.figures)
