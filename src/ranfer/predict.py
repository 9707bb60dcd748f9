"""Pictures through the recognizer: searched and judged side by side, written in order, gone on with after a stop."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ranfer.draw import CELL, annotate, contact_sheet, fit
from ranfer.errors import DataError, ImageError
from ranfer.images import decode_image
from ranfer.outputs import Format, Results, check_format, read_lines, read_pictures, to_face, write_table
from ranfer.recognize import Face, Found, Recognizer
from ranfer.vocab import Expression

GROUP = 8  # pictures whose faces go through the model together
AHEAD = GROUP  # pictures that may be searched before their group is there; with those of JUDGED they bound the memory
JUDGED = 2  # groups that may be with the model at once
WORKERS = 8  # pictures that are searched at once, at most: each takes some hundred megabytes for it
DRAWN, SHEET = "drawn", "contact_sheet.jpg"
ON_SHEET = 48  # pictures at most

T = TypeVar("T")
R = TypeVar("R")


class _Looked(NamedTuple):
    """A picture that was read and searched; ``shown`` only where it is to be drawn."""

    source: str
    found: list[Found]
    shown: tuple[UInt8[np.ndarray, "h w 3"], float] | None = None
    error: str | None = None


def own_pictures(folder: Path) -> tuple[Path, Path]:
    """What a run draws into its folder, and what must not be taken for input of the next."""
    return folder / DRAWN, folder / SHEET


def predict(
    recognizer: Recognizer,
    pictures: Sequence[Path],
    folder: Path,
    *,
    form: Format = "jsonl",
    draw: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    complain: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Recognise pictures into ``predictions.jsonl`` of a folder, in their order, but for those that it holds already.

    A picture that cannot be read gets a line of its own, and the rest goes on. Stopped at any moment, by Ctrl-C or
    worse, the next call with the same settings goes on from there.

    Args:
        form: csv and parquet make a table of all lines in the end, too.
        draw: annotated copies in ``drawn/``, under the number of the picture, and a contact sheet.
        progress: called with the pictures done and those in all.
        complain: called with a line for each picture that cannot be read, or could not be in an earlier run.

    Raises:
        ConfigError: the folder holds predictions with other settings, or Parquet cannot be written.
        DataError: the folder's predictions are damaged otherwise than by a stop.
    """
    check_format(form)
    again = set(map(str, pictures))
    with Results(folder, recognizer.settings(), recognizer.description, again) as results:
        if draw:
            (folder / DRAWN).mkdir(exist_ok=True)
        for error in filter(None, results.done.values()):
            complain(error)
        waiting = [path for path in pictures if str(path) not in results.done]
        already = len(pictures) - len(waiting)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, WORKERS)) as pool:
            looked = _ahead(pool, lambda path: _look(recognizer, path, draw), waiting, AHEAD)
            groups: Iterator[list[_Looked]] = iter(lambda: list(islice(looked, GROUP)), [])

            def judge(group: list[_Looked]) -> tuple[list[_Looked], list[list[Face]]]:
                return group, recognizer.judge([one.found for one in group])

            for group, faces in _ahead(pool, judge, groups, JUDGED):
                if draw:
                    first = len(results.done) + 1
                    names = [_drawn_name(number, one.source) for number, one in enumerate(group, start=first)]
                    list(pool.map(_draw, group, faces, [folder / DRAWN / name for name in names]))
                for one, its_faces in zip(group, faces, strict=True):
                    if one.error is None:
                        results.write(one.source, its_faces)
                        continue
                    results.write_error(one.source, one.error)
                    complain(one.error)
                already += len(group)
                progress(already, len(pictures))
    if form != "jsonl":
        write_table(results.path, form, recognizer.classes, recognizer.regions)
    if draw:
        _write_sheet(results.path, folder / SHEET)
    return summarise(results.path)


def _ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """The results in order, while the pool works on the next ones, on ``most`` at once."""
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _look(recognizer: Recognizer, path: Path, draw: bool) -> _Looked:
    try:
        image = decode_image(path, str(path))
        return _Looked(str(path), recognizer.find(image), fit(image) if draw else None)
    except ImageError as error:
        return _Looked(str(path), [], error=str(error))
    except MemoryError:
        return _Looked(str(path), [], error=f"{path}: the picture is too large for the memory that is left")


def _drawn_name(number: int, source: str) -> str:
    return f"{number:05d}-{os.fsdecode(os.fsencode(Path(source).stem)[:200])}.jpg"  # names of files end at 255 bytes


def _draw(looked: _Looked, faces: Sequence[Face], path: Path) -> None:
    if looked.shown is not None:
        _save(annotate(looked.shown[0], faces, looked.shown[1]), path)


def _save(picture: Image.Image, path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    picture.save(partial, format="JPEG", quality=90)
    partial.replace(path)


def _write_sheet(lines: Path, path: Path) -> None:
    """The first pictures that can still be read, drawn at the size of the sheet, whoever recognised them and when."""
    shown: list[tuple[str, Image.Image]] = []
    total = 0
    for group in read_pictures(lines):
        total += 1
        if len(shown) == ON_SHEET or "error" in group[0]:
            continue
        source = group[0]["source"]
        try:
            small, scale = fit(decode_image(Path(source), source), CELL, CELL)
        except ImageError:
            continue
        faces = [to_face(line) for line in group if line["box"]]
        caption = Path(source).name if faces else f"{Path(source).name}: no face"
        shown.append((caption, annotate(small, faces, scale)))
    if shown:
        title = f"pictures: {total}" if len(shown) == total else f"pictures: {len(shown)} of {total}"
        _save(contact_sheet(shown, title), path)


@dataclass
class Tally:
    """The faces of one expression."""

    faces: int = 0
    probability: float = 0.0  # summed
    trusted: int = 0


@dataclass
class Summary:
    """What a ``predictions.jsonl`` holds, in numbers."""

    pictures: int = 0
    without_face: int = 0
    failed: int = 0
    expressions: dict[Expression, Tally] = field(default_factory=lambda: {name: Tally() for name in Expression})

    @property
    def total(self) -> Tally:
        """All faces together."""
        tallies = self.expressions.values()
        return Tally(
            sum(tally.faces for tally in tallies),
            sum(tally.probability for tally in tallies),
            sum(tally.trusted for tally in tallies),
        )


def summarise(lines: Path) -> Summary:
    """Count a ``predictions.jsonl``.

    Raises:
        DataError: a line is not of its form.
    """
    summary, last = Summary(), None
    for number, line in enumerate(read_lines(lines), start=1):
        summary.pictures += line["source"] != last
        last = line["source"]
        if "error" in line:
            summary.failed += 1
        elif line["box"] is None:
            summary.without_face += 1
        else:
            try:
                tally = summary.expressions[Expression(line["expression"])]
                tally.probability += line["probability"]
                tally.trusted += line["trusted"]
            except (KeyError, ValueError, TypeError) as error:
                raise DataError(f"{lines}:{number}: expected a face's expression ({error!r})") from None
            tally.faces += 1
    return summary


def print_summary(summary: Summary, folder: Path, console: Console) -> None:
    """The table at the end of a run."""
    table = Table(box=None, pad_edge=False)
    table.add_column("expression")
    for heading in ("faces", "mean probability", "trusted"):
        table.add_column(heading, justify="right")
    rows = {name.value: tally for name, tally in summary.expressions.items() if tally.faces}
    for name, tally in {**rows, "all": summary.total}.items():
        shares = (tally.probability / tally.faces, tally.trusted / tally.faces) if tally.faces else (None, None)
        table.add_row(name, f"{tally.faces:,}", *("-" if share is None else f"{share:.0%}" for share in shares))
    console.print(table)
    counts = f"pictures: {summary.pictures:,}, without a face: {summary.without_face:,}, unreadable: {summary.failed:,}"
    console.print(f"{counts}; in {escape(str(folder))}", soft_wrap=True)
