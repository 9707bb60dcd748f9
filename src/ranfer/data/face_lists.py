"""Lists of faces: the published split and attribute lists, read as they are, and plain lists of ids."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from ranfer.data import affectnet, rafdb
from ranfer.data.dataset import first_few
from ranfer.data.labels import Labels
from ranfer.data.textfiles import parse_jsonl, read_lines
from ranfer.errors import DataError
from ranfer.vocab import Expression, Occlusion, Pose, face_id, parse_expression

_FERPLUS, _AFFECTNET, _RAFDB = tuple(Expression), affectnet.ORDER, rafdb.ORDER

# The lines of each dataset's lists, and what the digit in them means. The constants 6 and 8 mean nothing.
_LINES = (
    (re.compile(r"((?P<digit>\d)[/_])?(?P<id>fer\d{7})(\.\w+)?( 6| 8 (?P<code>[0-3]))?"), _FERPLUS),
    (re.compile(r"((val/)?(?P<digit>\d)/)?(?P<id>[0-9a-f]{56})(\.\w+|/|/8\.jpg)?"), _AFFECTNET),
    (re.compile(r"((?P<digit>\d)/)?(?P<id>(test|train)_\d+_aligned)(\.\w+)?"), _RAFDB),
    (re.compile(r"(?P<id>(test|train)_\d+_aligned) (?P<digit>\d) (?P<code>[1-4])"), _RAFDB),
)
_HEADER = re.compile(r"(\d+) \d+")
_ATTRIBUTES = {"occlusion", "turned", *Pose._fields, "error"}  # what a line of attributes tells at least one of

# What the codes of FERPlus mean, from looking at the faces. Those of RAF-DB are explained nowhere and stay raw.
FERPLUS_OCCLUSION = (Occlusion.UPPER, Occlusion.LOWER, Occlusion.SIDE, Occlusion.EYEWEAR)


@dataclass(frozen=True, slots=True)
class FaceEntry:
    """A face of a list, with what the list says of it; ``occlusion_code`` is the dataset's own."""

    id: str
    line: int
    expression: Expression | None = None
    occlusion_code: int | None = None
    occlusion: Occlusion | None = None


@dataclass(frozen=True)
class FaceList:
    """A list as read: each face once, in the order of the file; ``rows`` counts its lines, repeated ones included.

    about: what a subset manifest tells of itself: rule, source, revision, counts, hash; None for other lists.
    attributes: its lines tell attributes of faces from which no subset was chosen.
    """

    path: Path
    entries: tuple[FaceEntry, ...]
    rows: int
    surprises: tuple[str, ...]
    about: Mapping[str, Any] | None = None
    attributes: bool = False


class Agreement(NamedTuple):
    """How the labels of a list compare with those of a rule; the three sum to the faces that the list labels."""

    same: int
    other: int
    excluded: int


def read_list(path: Path, labels: Path | None = None) -> FaceList:
    """A list of faces in any of the published forms, or of plain ids or file names, or a JSONL with an ``id`` a line.

    ``labels`` is a file with one code a line, as RAF-DB's pose lists have it; where none is named, ``NAME_label.txt``
    beside ``NAME.txt`` is taken if it is there. A face that is listed twice
    counts once, as its first line says; a surprise names both lines. A torn last line of a JSONL is dropped.

    Raises:
        DataError: a file is missing, holds no faces or not as many as its labels, has a malformed line, or is a subset
            manifest whose faces are not those that its hash was made of.
    """
    surprises: list[str] = []
    about: Mapping[str, Any] | None = None
    attributes = False
    beside = path.with_name(f"{path.stem}_label{path.suffix}")
    if labels is None and beside.is_file():
        labels = beside
    lines = _lines(path, surprises)
    if lines and lines[0][1].startswith("{"):
        about, entries, attributes = _parse_jsonl(path, lines, surprises)
    else:
        entries = [_parse_line(text, line, path) for line, text in lines]
    if not entries:
        raise DataError(f"{path}: expected a list of faces; there is none in it")
    if labels is not None:
        entries = _add_labels(path, entries, labels, surprises)
    return FaceList(path, _once(path, entries, surprises), len(entries), tuple(surprises), about, attributes)


def read_subset(path: Path, labels: Path | None = None) -> FaceList:
    """The faces of a subset: as :func:`read_list`, but for attributes, which tell of faces inside and outside of it.

    Raises:
        DataError: as of :func:`read_list`, or the file tells the attributes of faces.
    """
    faces = read_list(path, labels)
    if faces.attributes:
        raise DataError(f"{path}: is an attributes file, not a subset; make subsets with ranfer annotate export")
    return faces


def to_list_line(
    face: str,
    expression: Expression | None,
    covered: bool,
    kind: Occlusion | None = None,
    code: int | str | None = None,
) -> str:
    """A face as the published lists of its dataset have it: those of covered faces, or those of turned ones.

    FERPlus: ``1_fer0034656.png 8 0`` and ``0/fer0032226.jpg``; AffectNet: ``val/0/HASH/`` and ``0/HASH.jpg``; RAF-DB:
    ``test_0003_aligned 3 4`` and ``0/test_0004_aligned.jpg``. What is not known is left out, as far as
    :func:`read_list` understands it; a face of another dataset is its id alone. ``code`` is the dataset's own, as a
    list told it; FERPlus has one for the ``kind`` of occlusion, too, but what those of RAF-DB mean nobody knows.

    Raises:
        DataError: the id is no file name, or has blanks, so that no such list can name it.
    """
    order = next((order for pattern, order in _LINES if pattern.fullmatch(face)), None)
    if order is None:
        if face_id(face) != face or len(face.split()) != 1:
            raise DataError(f"{face!r}: a list in text cannot name this face; a manifest can")
        return face
    digit = str(order.index(expression)) if expression in order else ""
    if order is _FERPLUS and covered:
        if code not in range(4):
            code = FERPLUS_OCCLUSION.index(kind) if kind in FERPLUS_OCCLUSION else None
        return (f"{digit}_" if digit else "") + f"{face}.png" + ("" if code is None else f" 8 {code}")
    if order is _AFFECTNET and covered and digit:
        return f"val/{digit}/{face}/"
    if order is _RAFDB and covered and digit and code in range(1, 5):
        return f"{face} {digit} {code}"
    return (f"{digit}/" if digit else "") + f"{face}.jpg"


def resolve(faces: FaceList, ids: Sequence[str]) -> Int[np.ndarray, " m"]:
    """Where the m faces of a list stand among the ids, in the order of the list.

    Raises:
        DataError: some are not there; all are counted, the first few named with their lines.
    """
    positions = {id_: position for position, id_ in enumerate(ids)}
    absent = [f"{entry.id} (line {entry.line})" for entry in faces.entries if entry.id not in positions]
    if absent:
        raise DataError(
            f"{faces.path}: {len(absent)} of {len(faces.entries)} faces are not in the data: {first_few(absent)}; "
            f"ids of the data are such as {first_few(ids[:2])}"
        )
    return np.array([positions[entry.id] for entry in faces.entries], dtype=np.int64)


def compare(faces: FaceList, positions: Int[np.ndarray, " m"], labels: Labels) -> Agreement:
    """The labels of a list against those of a rule; ``positions`` are those of its faces among the labels."""
    pairs = [
        (entry.expression.column, labels.expressions[position])
        for entry, position in zip(faces.entries, positions, strict=True)
        if entry.expression is not None
    ]
    same = sum(listed == ruled for listed, ruled in pairs)
    excluded = sum(ruled < 0 for _, ruled in pairs)
    return Agreement(int(same), int(len(pairs) - same - excluded), int(excluded))


def _lines(path: Path, surprises: list[str]) -> list[tuple[int, str]]:
    """The numbered lines, without the header of RAF-DB's label files."""
    lines = list(read_lines(path))
    if lines and (header := _HEADER.fullmatch(lines[0][1])):
        if int(header[1]) != len(lines) - 1:
            surprises.append(f"{path}:{lines[0][0]}: the header announces {header[1]} lines, {len(lines) - 1} follow")
        return lines[1:]
    return lines


def _parse_line(text: str, line: int, path: Path) -> FaceEntry:
    for pattern, order in _LINES:
        if match := pattern.fullmatch(text):
            found = match.groupdict()
            digit, code = found["digit"], found.get("code")
            return FaceEntry(
                id=found["id"],
                line=line,
                expression=None if digit is None else _expression(digit, order, f"{path}:{line}"),
                occlusion_code=None if code is None else int(code),
                occlusion=None if code is None or order is not _FERPLUS else FERPLUS_OCCLUSION[int(code)],
            )
    if len(text.split()) > 1:
        raise DataError(
            f"{path}:{line}: expected an id, a file name, or a line of a published list such as "
            f"'1_fer0034656.png 8 0', '0/fer0032226.jpg' or 'test_0003_aligned 3 4', got {text[:80]!r}"
        )
    return FaceEntry(face_id(text), line)


def _expression(digit: str, order: tuple[Expression, ...], where: str) -> Expression:
    if int(digit) >= len(order):
        raise DataError(f"{where}: expected an expression from 0 to {len(order) - 1}, got {digit}")
    return order[int(digit)]


def _parse_jsonl(
    path: Path, lines: Sequence[tuple[int, str]], surprises: list[str]
) -> tuple[dict[str, Any] | None, list[FaceEntry], bool]:
    about, rows = parse_jsonl(path, lines, surprises)
    entries = []
    attributes = (about is None or "subset" not in about) and any(_ATTRIBUTES & values.keys() for _, values in rows)
    for line, values in rows:
        name = values.get("expression")
        expression = parse_expression(name, f"{path}:{line}") if isinstance(name, str) else None
        entries.append(FaceEntry(values["id"], line, expression))
    if about is not None and "sha256" in about:
        found = list_hash((entry.id, entry.expression) for entry in entries)
        if about["sha256"] != found:
            raise DataError(
                f"{path}: expected {about.get('faces')} faces with the hash {str(about['sha256'])[:8]} that its first "
                f"line tells, got {len(entries)} with {found[:8]}: the file was cut or edited"
            )
    return about, entries, attributes


def list_hash(faces: Iterable[tuple[str, Expression | None]]) -> str:
    """A SHA-256 of the ids and expressions of faces in their order, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for face, expression in faces:
        digest.update(f"{face} {expression or '-'}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _add_labels(path: Path, entries: list[FaceEntry], labels: Path, surprises: list[str]) -> list[FaceEntry]:
    codes = _lines(labels, surprises)
    if len(codes) != len(entries):
        raise DataError(f"{labels}: expected {len(entries)} labels, one for each face of {path}, got {len(codes)}")
    labelled = []
    for entry, (line, code) in zip(entries, codes, strict=True):
        order = next((order for pattern, order in _LINES if pattern.fullmatch(entry.id)), None)
        if order is None:
            raise DataError(f"{labels}:{line}: the labels of {entry.id} have no known order ({path}:{entry.line})")
        if not re.fullmatch(r"\d", code):
            raise DataError(f"{labels}:{line}: expected one digit, got {code[:80]!r}")
        expression = _expression(code, order, f"{labels}:{line}")
        if entry.expression not in (None, expression):
            surprises.append(
                f"{labels}:{line}: conflict: {entry.id} is {expression} here and {entry.expression} in "
                f"{path}:{entry.line}; the labels file is taken"
            )
        labelled.append(replace(entry, expression=expression))
    return labelled


def _once(path: Path, entries: Iterable[FaceEntry], surprises: list[str]) -> tuple[FaceEntry, ...]:
    first: dict[str, FaceEntry] = {}
    for entry in entries:
        known = first.setdefault(entry.id, entry)
        if known is entry:
            continue
        if replace(known, line=entry.line) == entry:
            surprises.append(f"{path}:{entry.line}: {entry.id} stands in line {known.line} too and counts once")
        else:
            surprises.append(
                f"{path}:{entry.line}: conflict: {entry.id} stands in line {known.line} too, with another label; "
                f"line {known.line} counts"
            )
    return tuple(first.values())
