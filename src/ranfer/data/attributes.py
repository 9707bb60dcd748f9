"""Attributes of faces as files: a JSONL with a line a face, and beside it a small file that tells how they came about.

``faces.jsonl`` holds faces alone, so that it may be appended to and gone on with; ``faces.meta.json`` holds the data,
the model, the revision and the date, as beside the predictions of ``ranfer predict``. A subset manifest, which is never
appended to, tells the same in its first line and can be read here too.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ranfer.data.textfiles import parse_jsonl, read_lines, to_jsonl
from ranfer.errors import DataError
from ranfer.files import write_text
from ranfer.vocab import ESTIMATED, Attributes, Occlusion, Pose

TURNED = (0, 30, 45)  # what people say of a pose: neither yaw nor pitch over 30 degrees, one of them over 30, over 45
FREE = "none"  # what a face is called that nothing covers
# What one person says: "occlusion", a set of kinds; "turned", degrees; angles by name; what was not said is absent.
Answer = dict[str, Any]


@dataclass(frozen=True)
class AttributesFile:
    """The attributes of faces by id, in the order of their file, and how they came about.

    about: plain values, such as the data, the model and its hash, the revision and the date; empty where nobody said.
    errors: why faces have no attributes, by id.
    """

    path: Path
    records: Mapping[str, Attributes]
    about: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    surprises: tuple[str, ...] = ()


def about_path(path: Path) -> Path:
    """The metadata file beside a file of attributes: ``faces.meta.json`` beside ``faces.jsonl``."""
    return path.with_suffix(".meta.json")


def to_line(face: str, attributes: Attributes) -> dict[str, Any]:
    """The line of a face: ``id``, ``yaw``, ``pitch``, ``roll`` and ``occlusion`` with ``none``; null where untold.

    ``turned``, ``codes``, ``annotators`` and ``decided`` follow where there are any.
    """
    pose = [None] * 3 if attributes.pose is None else [round(float(angle), 2) for angle in attributes.pose]
    rounded = {kind: round(float(p), 6) for kind, p in attributes.occlusion.items()}
    occlusion: dict[str, float] = {kind.value: p for kind, p in rounded.items()}
    none = Attributes(rounded, uncovered=attributes.uncovered).none  # as a reader of the line computes it
    if not math.isnan(none):
        occlusion[FREE] = round(none, 6)
    values = {
        "turned": attributes.turned,
        "codes": dict(attributes.codes) or None,
        "annotators": list(attributes.annotators) or None,
        "decided": attributes.decided,
    }
    told = {name: value for name, value in values.items() if value is not None}
    return {"id": face, **dict(zip(Pose._fields, pose, strict=True)), "occlusion": occlusion or None, **told}


def write_attributes(path: Path, records: Mapping[str, Attributes], about: Mapping[str, Any]) -> None:
    """A whole file of attributes, and what :func:`about_path` names; both appear by rename."""
    write_text(about_path(path), json.dumps(about, indent=2) + "\n")
    write_text(path, to_jsonl(to_line(face, attributes) for face, attributes in records.items()))


def read_attributes(path: Path) -> AttributesFile:
    """The attributes of a JSONL, or of a subset manifest; keys of a line that are not ours are left alone.

    A torn last line is dropped, and a line that is repeated word for word counts once; surprises name both. ``none``
    is read from the lines that name annotators alone: it follows from the others in estimates.

    Raises:
        DataError: unreadable, a malformed line, a value out of its range, or two lines that tell different things of
            one face; with the lines' numbers.
    """
    surprises: list[str] = []
    about, rows = parse_jsonl(path, read_lines(path), surprises)
    records: dict[str, Attributes] = {}
    errors: dict[str, str] = {}
    first: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for line, values in rows:
        face = values["id"]
        known, told = first.setdefault(face, (line, values))
        if known != line:
            if told != values:
                raise DataError(f"{path}:{line}: conflict: {face} stands in line {known} too, with other attributes")
            surprises.append(f"{path}:{line}: {face} stands in line {known} too and counts once")
        elif isinstance(values.get("error"), str):
            errors[face] = values["error"]
        else:
            records[face] = from_line(values, f"{path}:{line}")
    return AttributesFile(path, records, _read_about(path) if about is None else about, errors, tuple(surprises))


def from_line(values: Mapping[str, Any], where: str) -> Attributes:
    """What a line tells of a face; ``where`` opens the error message.

    Raises:
        DataError: a value that is of another kind or out of its range.
    """
    angles = [values.get(name) for name in Pose._fields]
    pose = None
    if any(angle is not None for angle in angles):
        pose = Pose(
            *(to_number(angle, -180, 180, where, name) for name, angle in zip(Pose._fields, angles, strict=True))
        )
    occlusion = values.get("occlusion")
    if not isinstance(occlusion, dict | None):
        raise DataError(f"{where}: expected occlusion by kind, such as {{'upper': 0.1}}, got {occlusion!r}")
    kinds = {name: p for name, p in (occlusion or {}).items() if name != FREE}
    if unknown := [name for name in kinds if name not in list(Occlusion)]:
        raise DataError(f"{where}: no occlusion is called {unknown[0]!r}; there are {', '.join(Occlusion)} and {FREE}")
    turned = values.get("turned")
    if turned is not None and (isinstance(turned, bool) or turned not in TURNED):
        raise DataError(f"{where}: expected turned to be one of {', '.join(map(str, TURNED))}, got {turned!r}")
    people = _of_kind(values, "annotators", list, where) or []
    if not all(isinstance(person, str) for person in people):
        raise DataError(f"{where}: expected annotators to be a list of names, got {people!r}")
    free = (occlusion or {}).get(FREE) if people else None
    return Attributes(
        occlusion={Occlusion(name): to_number(p, 0, 1, where, name) for name, p in kinds.items()},
        pose=pose,
        turned=None if turned is None else int(turned),
        uncovered=None if free is None else to_number(free, 0, 1, where, FREE),
        codes=_of_kind(values, "codes", dict, where) or {},
        annotators=tuple(people),
        decided=_of_kind(values, "decided", str, where),
    )


def merge_answers(said: Sequence[Answer], people: Sequence[str], decided: str | None) -> Attributes:
    """What several people say of a face, as its attributes.

    Each kind's probability is the share of people who chose it, ``uncovered`` that of those who chose none, angles are
    their mean, ``turned`` is the most frequent (the least of several).
    """
    sets = [answer["occlusion"] for answer in said if "occlusion" in answer]
    kinds = dict.fromkeys((*ESTIMATED, *sorted(set().union(*sets)))) if sets else {}
    bins = Counter(answer["turned"] for answer in said if "turned" in answer)
    posed = [[answer[name] for name in Pose._fields] for answer in said if answer.keys() >= set(Pose._fields)]
    return Attributes(
        occlusion={kind: sum(kind in chosen for chosen in sets) / len(sets) for kind in kinds},
        pose=Pose(*(float(fmean(angles)) for angles in zip(*posed, strict=True))) if posed else None,
        turned=min(bins, key=lambda degrees: (-bins[degrees], degrees)) if bins else None,
        uncovered=sum(not chosen for chosen in sets) / len(sets) if sets else None,
        annotators=tuple(dict.fromkeys(people)),
        decided=decided,
    )


def to_number(value: Any, low: int, high: int, where: str, name: str) -> float:
    """A value that is a number within bounds.

    Raises:
        DataError: it is not; ``where`` opens the message.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise DataError(f"{where}: expected {name} to be a number from {low} to {high}, got {value!r}")
    return float(value)


def _of_kind(values: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    value = values.get(name)
    if value is not None and not isinstance(value, kind):
        raise DataError(f"{where}: expected {name} to be a {kind.__name__}, got {value!r}")
    return value


def _read_about(path: Path) -> dict[str, Any]:
    beside = about_path(path)
    try:
        about = json.loads(beside.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{beside}: how {path.name} came about cannot be read ({error})") from error
    if not isinstance(about, dict):
        raise DataError(f"{beside}: expected a JSON object, got {str(about)[:80]!r}")
    return about
