"""Which faces belong to a subset: rules over attributes, in words and as code, and the subsets that they make."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ranfer.data.attributes import AttributesFile, read_attributes
from ranfer.data.dataset import Dataset, first_few
from ranfer.data.face_lists import FaceList, list_hash, resolve
from ranfer.data.labels import label
from ranfer.errors import ConfigError, DataError
from ranfer.provenance import file_hash, revision
from ranfer.vocab import ESTIMATED, Attributes, Expression, Occlusion, Sample

THRESHOLD = 0.5
LIMITED = (*map(str, ESTIMATED), "any")  # what has a threshold
ANY, NONE = "occlusion_any", "occlusion_none"


class Rule(NamedTuple):
    """A subset's name, its rule in words and as a formula, and whether a face fulfils it; None where that is untold."""

    name: str
    words: str
    formula: str
    holds: Callable[[Attributes], bool | None]


class LabelledFace(NamedTuple):
    """A face of the data with the expression that a label rule or a list gives it, and its attributes."""

    sample: Sample
    expression: Expression | None
    attributes: Attributes


@dataclass(frozen=True)
class Subset:
    """The faces that fulfil a rule, in the order of the data.

    rule, formula: in words, and as code.  source: the data, the split and the attributes it was made of.
    untold: faces whose attributes do not say whether they belong to it.
    """

    name: str
    rule: str
    formula: str
    faces: tuple[LabelledFace, ...]
    source: Mapping[str, Any]
    untold: int = 0
    made: Mapping[str, str] = field(
        default_factory=lambda: {
            "revision": f"ranfer {revision()}",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )

    @property
    def counts(self) -> dict[str, int]:
        """How many faces have each expression; those without a label are ``unlabelled``."""
        found = Counter(face.expression or "unlabelled" for face in self.faces)
        return {name: found[name] for name in (*map(str, Expression), "unlabelled")}

    @property
    def sha256(self) -> str:
        """The hash of its ids and expressions."""
        return list_hash((face.sample.id, face.expression) for face in self.faces)

    def about(self) -> dict[str, Any]:
        """All but the faces, as plain values."""
        told = {"subset": self.name, "rule": self.rule, "formula": self.formula, "source": dict(self.source)}
        sums = {"faces": len(self.faces), "untold": self.untold, "expressions": self.counts}
        return {**told, **self.made, **sums, "sha256": self.sha256}


def rules(thresholds: Mapping[str, float] | None = None) -> tuple[Rule, ...]:
    """Pose over 30 and over 45 degrees, each kind of occlusion, any, and none.

    ``thresholds`` gives other probabilities than 0.5, by the kind's name, or ``any``.

    Raises:
        ConfigError: an unknown name, or a threshold that is no probability.
    """
    given = dict(thresholds or {})
    for name, value in given.items():
        if name not in LIMITED:
            raise ConfigError(f"no threshold is called {name!r}; there are {', '.join(LIMITED)}")
        if not 0 < value <= 1:
            raise ConfigError(f"threshold {name}: expected a probability over 0, to 1, got {value:g}")
    limits = {name: given.get(name, THRESHOLD) for name in LIMITED}
    return (
        *map(_pose_rule, (30, 45)),
        *(_kind_rule(kind, limits[kind]) for kind in ESTIMATED),
        _any_rule(limits["any"], True),
        _any_rule(limits["any"], False),
    )


def _pose_rule(degrees: int) -> Rule:
    """The published rule."""

    def holds(face: Attributes) -> bool | None:
        if face.pose is not None:
            return face.pose.turn > degrees
        return None if face.turned is None else face.turned >= degrees

    words = f"yaw or pitch over {degrees} degrees, to either side; roll does not count"
    return Rule(f"pose_{degrees}", words, f"max(|yaw|, |pitch|) > {degrees}", holds)


def _kind_rule(kind: Occlusion, limit: float) -> Rule:
    def holds(face: Attributes) -> bool | None:
        told = face.occlusion.get(kind)
        return None if told is None else told >= limit

    where = {Occlusion.SIDE: "a side of the face is covered", Occlusion.EYEWEAR: "eyewear covers the eyes"}
    words = where.get(kind, f"the {kind} face is covered")
    return Rule(
        f"occlusion_{kind}", f"{words}, with a probability of at least {limit:g}", f"{kind} >= {limit:g}", holds
    )


def _any_rule(limit: float, covered: bool) -> Rule:
    def holds(face: Attributes) -> bool | None:
        if math.isnan(face.none):
            return None
        return (1 - face.none >= limit - 1e-9) == covered  # 1 - (1 - 0.1) is less than 0.1

    if covered:
        return Rule(
            ANY, f"covered in any way, with a probability of at least {limit:g}", f"1 - none >= {limit:g}", holds
        )
    return Rule(NONE, f"covered in no way: the chance of any is under {limit:g}", f"1 - none < {limit:g}", holds)


def label_faces(
    dataset: Dataset, split: str, attributes: AttributesFile, label_rule: str = "majority"
) -> list[LabelledFace]:
    """The faces of a split that have attributes, with the label of a rule.

    Raises:
        DataError: attributes of faces that are not in the data, or of no face of the split.
    """
    known = {sample.id for sample in dataset.samples}
    if absent := [face for face in attributes.records if face not in known]:
        raise DataError(
            f"{attributes.path}: {len(absent)} of {len(attributes.records)} faces are not in the data: "
            f"{first_few(absent)}"
        )
    samples = [sample for sample in dataset.split(split) if sample.id in attributes.records]
    if not samples:
        raise DataError(f"{attributes.path}: expected attributes of the split {split}, got none of its faces")
    return _labelled(samples, [attributes.records[sample.id] for sample in samples], label_rule)


def make_subsets(
    dataset: Dataset,
    split: str,
    attributes: AttributesFile,
    faces: Sequence[LabelledFace],
    thresholds: Mapping[str, float] | None = None,
    label_rule: str = "majority",
) -> list[Subset]:
    """A subset of the faces, as :func:`label_faces` gives them, for every rule of :func:`rules` of which the attributes
    tell anything; it may be empty.

    Raises:
        ConfigError: as :func:`rules`.
    """
    source = {
        "data": dataset.title,
        "split": split,
        "split_faces": len(dataset.split(split)),
        "label_rule": label_rule,
        "attributes": _described(attributes.path, attributes.about),
        "attributed_faces": len(faces),
    }
    if decided := sorted(face.attributes.decided for face in faces if face.attributes.decided):
        source["decided"] = {"from": decided[0], "to": decided[-1]}
    if people := sorted({person for face in faces for person in face.attributes.annotators}):
        source["annotators"] = people
    subsets = []
    for rule in rules(thresholds):
        told = [rule.holds(face.attributes) for face in faces]
        if any(answer is not None for answer in told):
            kept = tuple(face for face, answer in zip(faces, told, strict=True) if answer)
            subsets.append(Subset(rule.name, rule.words, rule.formula, kept, source, told.count(None)))
    return subsets


def subset_of_list(dataset: Dataset, faces: FaceList, label_rule: str = "majority") -> Subset:
    """A list as a subset: a manifest with its own rule and source, any other one with the list as its rule.

    Expressions are the list's own where it has any, else those of the label rule.

    Raises:
        DataError: faces that are not in the data.
    """
    samples = [dataset.samples[place] for place in resolve(faces, [sample.id for sample in dataset.samples])]
    if faces.about is None:
        records = {entry.id: _listed(entry.occlusion, entry.occlusion_code) for entry in faces.entries}
    else:
        records = dict(read_attributes(faces.path).records)
    labelled = _labelled(samples, [records[sample.id] for sample in samples], label_rule)
    own = [entry.expression for entry in faces.entries]
    if any(own):
        labelled = [face._replace(expression=expression) for face, expression in zip(labelled, own, strict=True)]
    if faces.about is not None:
        about = dict(faces.about)
        made: dict[str, str] = {key: str(about.get(key, "")) for key in ("revision", "date")}
        name, rule, formula = (str(about.get(key, "")) for key in ("subset", "rule", "formula"))
        if Path(name).name != name:
            raise DataError(f"{faces.path}:1: the subset's name {name!r} cannot be that of a file")
        return Subset(name or faces.path.stem, rule, formula, tuple(labelled), about.get("source", {}),
                      about.get("untold", 0), made)  # fmt: skip
    source = {
        "data": dataset.title,
        "label_rule": "the list's own labels" if any(own) else label_rule,
        "list": _described(faces.path, {}),
    }
    return Subset(faces.path.stem, f"listed in {faces.path.name}", "", tuple(labelled), source)


def _listed(occlusion: Occlusion | None, code: int | None) -> Attributes:
    """What a published list tells: one kind of occlusion, or a code that nobody explains, or nothing."""
    if code is None:
        return Attributes({})
    return Attributes({occlusion or Occlusion.UNSPECIFIED: 1.0}, codes={"list": code})


def _labelled(samples: Sequence[Sample], records: Sequence[Attributes], rule: str) -> list[LabelledFace]:
    order = tuple(Expression)
    columns = label(samples, rule).expressions.tolist()
    return [
        LabelledFace(sample, order[column] if column >= 0 else None, record)
        for sample, column, record in zip(samples, columns, records, strict=True)
    ]


def _described(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    return {"file": path.name, "sha256": file_hash(path), **about}
