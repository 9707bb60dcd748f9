"""A check of a dataset: what is in it, what differs from its published size, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import rich.table
from rich.console import Console
from rich.markup import escape

from ranfer.data.copies import Copies, CopyFinder, count_copies
from ranfer.data.dataset import Dataset, first_few
from ranfer.data.face_lists import Agreement, FaceList, compare, resolve
from ranfer.data.labels import Labels, label
from ranfer.errors import ImageError
from ranfer.vocab import Expression, Progress, Sample, silent

_TRAIN = "train"
_SHOWN = 12  # lines of unreadable files and of surprises in the printed report; the dictionary has all


@dataclass(frozen=True)
class SplitCheck:
    """A split: its faces, those that the majority rule keeps by expression, and those it leaves out by reason."""

    faces: int
    published_faces: int | None
    majority: int
    published_majority: int | None
    expressions: dict[str, int]
    published_expressions: dict[str, int] | None
    excluded: dict[str, int]


@dataclass(frozen=True)
class ListCheck:
    """A list of faces against the data: its lines, its faces, those that the data lack, and its labels."""

    path: str
    rows: int
    faces: int
    absent: tuple[str, ...]
    majority: Agreement


@dataclass(frozen=True)
class CheckReport:
    """Everything that was found.

    pictures: faces by size and colour, as in ``48x48 grey``.  framing: faces by how they are cut from their pictures.
    copies: faces with the same pixels.  near: nearly the same faces; None where they were not looked for.
    originals: ids of the readable faces outside the training split that are no copy, exact or near, of a face in it.
    """

    name: str
    path: str
    splits: dict[str, SplitCheck]
    pictures: dict[str, int]
    framing: dict[str, int]
    copies: tuple[Copies, ...]
    near: tuple[Copies, ...] | None
    originals: tuple[str, ...]
    blank: tuple[str, ...]
    unreadable: tuple[str, ...]
    lists: tuple[ListCheck, ...]
    surprises: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether a face cannot be read or a list names one that is not there; all else is a finding."""
        return bool(self.unreadable) or any(checked.absent for checked in self.lists)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {
            **asdict(self),
            "originals": len(self.originals),
            "lists": [_plain(checked) for checked in self.lists],
            "failed": self.failed,
        }


def check(dataset: Dataset, lists: Sequence[FaceList] = (), progress: Progress = silent) -> CheckReport:
    """Read every face of a dataset and every list once; nothing that is found raises.

    ``progress`` is called with the faces read so far and in all.
    """
    labels = label(dataset.samples, "majority")
    finder = CopyFinder()
    pictures: Counter[str] = Counter()
    blank, unreadable, readable = [], [], []
    for index, sample in enumerate(dataset.samples):
        try:
            face = dataset.image(sample)
        except ImageError as error:
            unreadable.append(str(error))
        else:
            grey = bool((face[..., 0] == face[..., 1]).all() and (face[..., 1] == face[..., 2]).all())
            pictures[f"{face.shape[1]}x{face.shape[0]} {'grey' if grey else 'colour'}"] += 1
            finder.add(index, face)
            readable.append(index)
            if (face == face[0, 0]).all():
                blank.append(f"{sample.id} ({sample.location})")
        progress(index + 1, len(dataset.samples))

    ids = [sample.id for sample in dataset.samples]
    same, near = finder.same(), finder.near()
    return CheckReport(
        name=dataset.name,
        path=str(dataset.path),
        splits={split: _check_split(dataset, split) for split in dataset.splits},
        pictures=dict(pictures.most_common()),
        framing=dict(Counter(_framing(dataset, sample) for sample in dataset.samples)),
        copies=count_copies(same, dataset.samples, labels),
        near=count_copies(near, dataset.samples, labels) if finder.perceptual else None,
        originals=_originals(dataset.samples, readable, [*same, *near]),
        blank=tuple(blank),
        unreadable=tuple(unreadable),
        lists=tuple(_check_list(faces, ids, labels) for faces in lists),
        surprises=(*dataset.surprises, *(surprise for faces in lists for surprise in faces.surprises)),
    )


def _originals(samples: Sequence[Sample], readable: Sequence[int], groups: Sequence[Sequence[int]]) -> tuple[str, ...]:
    copies = {index for group in groups if any(samples[i].split == _TRAIN for i in group) for index in group}
    return tuple(samples[i].id for i in readable if samples[i].split != _TRAIN and i not in copies)


def _framing(dataset: Dataset, sample: Sample) -> str:
    if dataset.stills:
        return "scenes, whose faces are still to be found"
    if sample.codes.get("found") == 0:
        return "whole pictures, in which no face was found"
    if sample.landmarks is not None:
        return "aligned by landmarks"
    return "the picture is the face" if sample.box is None else "cut by a box"


def _check_split(dataset: Dataset, split: str) -> SplitCheck:
    samples = dataset.split(split)
    labels = label(samples, "majority")
    published = dataset.published.get(split)
    return SplitCheck(
        faces=len(samples),
        published_faces=published.faces if published else None,
        majority=int(labels.kept.sum()),
        published_majority=published.majority if published else None,
        expressions={str(e): int((labels.expressions == e.column).sum()) for e in Expression},
        published_expressions=None
        if published is None or published.expressions is None
        else {str(e): published.expressions.get(e, 0) for e in Expression},
        excluded=labels.excluded,
    )


def _check_list(faces: FaceList, ids: Sequence[str], labels: Labels) -> ListCheck:
    known = set(ids)
    present = replace(faces, entries=tuple(entry for entry in faces.entries if entry.id in known))
    return ListCheck(
        path=str(faces.path),
        rows=faces.rows,
        faces=len(faces.entries),
        absent=tuple(f"{entry.id} (line {entry.line})" for entry in faces.entries if entry.id not in known),
        majority=compare(present, resolve(present, ids), labels),
    )


def _plain(checked: ListCheck) -> dict[str, Any]:
    return {**asdict(checked), "majority": checked.majority._asdict()}


class Odd(str):
    """A count that is not as published."""


class Table(NamedTuple):
    """Rows of plain words; without any, ``otherwise`` is said, or nothing.

    examples: ids of a few groups of faces that are alike.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    otherwise: str = ""
    examples: Sequence[Sequence[str]] = ()


def tables(report: CheckReport) -> list[Table]:
    """The report's figures, for any form of it."""
    splits = report.splits.values()
    reasons = sorted({reason for split in splits for reason in split.excluded})
    counts = [
        ["faces", *(_against(s.faces, s.published_faces) for s in splits)],
        ["with a majority", *(_against(s.majority, s.published_majority) for s in splits)],
        *(
            [f"  {e}", *(_against(s.expressions[e], (s.published_expressions or {}).get(e)) for s in splits)]
            for e in Expression
        ),
        *([f"left out: {why}", *(f"{s.excluded.get(why, 0):,}" for s in splits)] for why in reasons),
    ]
    kinds = [[kind, f"{n:,}"] for kind, n in {**report.pictures, **report.framing}.items()]
    lists = [
        [Path(one.path).name, *(f"{n:,}" for n in (one.rows, one.faces, len(one.absent), *one.majority))]
        for one in report.lists
    ]
    list_header = ["", "lines", "faces", "not here", "same", "other", "none"]
    return [
        Table("Faces (✓ as published)", ["", *report.splits], counts),
        Table("Pictures", ["", "faces"], kinds),
        _copies_table("Faces with the same pixels", report.copies),
        _copies_table("Faces that are nearly the same", report.near),
        Table("Lists (same, other or no label by the majority)", list_header, lists),
    ]


def _against(count: int, published: int | None) -> str:
    if published is None:
        return f"{count:,}"
    return f"{count:,} ✓" if count == published else Odd(f"{count:,} (published {published:,})")


def _copies_table(title: str, found: Sequence[Copies] | None) -> Table:
    header = ["", "groups", "faces", "unlike labels", "for example"]
    if found is None:
        return Table(title, header, [], "not looked for: pip install 'ranfer[check]' brings what that needs")
    if not any(copies.groups for copies in found):
        return Table(title, header, [], "none")
    rows = []
    for copies in found:
        where = ("within " if len(copies.faces) == 1 else "") + " and ".join(copies.faces)
        faces = " + ".join(f"{count:,}" for count in copies.faces.values())
        example = " = ".join(copies.examples[0]) if copies.examples else ""
        rows.append([where, f"{copies.groups:,}", faces, f"{copies.conflicts:,}", example])
    return Table(title, header, rows, examples=[ids for copies in found for ids in copies.examples])


def findings(report: CheckReport) -> list[tuple[str, bool, Sequence[str]]]:
    """What is odd, and then what is wrong: what it is called, whether it is wrong, and a line for each."""
    absent = tuple(
        f"{one.path}: {len(one.absent):,} of {one.faces:,} faces, {first_few(one.absent)}"
        for one in report.lists
        if one.absent
    )
    found = (
        ("surprise{s} while reading", False, report.surprises),
        ("blank face{s} (every pixel the same)", False, report.blank),
        ("list{s} with faces that are not in the data", True, absent),
        ("unreadable face{s}", True, report.unreadable),
    )
    return [
        (f"{len(lines):,} {title.format(s='s' if len(lines) > 1 else '')}", wrong, lines)
        for title, wrong, lines in found
        if lines
    ]


def print_report(report: CheckReport, console: Console) -> None:
    """The report on a terminal, the faults last."""
    console.print(f"[bold]{report.name}[/bold]:{escape(report.path)}", highlight=False, soft_wrap=True)
    for table in tables(report):
        if table.rows:
            shown = rich.table.Table(title=table.title, title_justify="left")
            for place, name in enumerate(table.header):
                shown.add_column(escape(name), justify="right" if place else "left")
            for row in table.rows:
                shown.add_row(*(f"[yellow]{cell}[/yellow]" if isinstance(cell, Odd) else escape(cell) for cell in row))
            console.print(shown)
        elif table.otherwise:
            console.print(f"{table.title}: {table.otherwise}", markup=False)
    for title, wrong, lines in findings(report):
        console.print(title, style="red" if wrong else "yellow", highlight=False)
        for line in lines[:_SHOWN]:
            console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
        if len(lines) > _SHOWN:
            console.print(f"  and {len(lines) - _SHOWN:,} more", highlight=False)
    console.print("[bold red]failed[/bold red]" if report.failed else "[bold green]every face can be read[/bold green]")
