"""Text files of any origin by numbered line: plain, CSV, JSONL with a torn last line.

What gives rows as an iterator holds one at a time, so that a table may be larger than the memory.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ranfer.errors import DataError
from ranfer.vocab import Location


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, numbered from 1 and stripped; line ends of any kind, with or without BOM.

    Raises:
        DataError: no such file, or one that is not text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from error


def parse_number(text: str) -> float:
    """A number that is one, as neither ``nan`` nor ``inf`` is.

    Raises:
        ValueError: anything else.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


def csv_rows(table: Location, data: bytes | None = None) -> Iterator[tuple[str, list[str]]]:
    """The rows of a CSV that are not blank, each with its file and line; of a file, or of what was unpacked from one.

    Raises:
        DataError: it is missing, not text, or not a CSV.
    """
    try:
        with table.path.open("rb") if data is None else io.BytesIO(data) as file:
            reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            for row in reader:
                if row:
                    yield f"{table}:{reader.line_num}", row
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file ({error})") from error


def parse_objects(
    path: Path, lines: Iterable[tuple[int, str]], surprises: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL's numbered lines.

    A last line that is torn, because its writer was stopped half way and did not end it, is dropped, and surprises say
    so.

    Raises:
        DataError: a line that is no JSON object, with its number.
    """
    lines = iter(lines)
    for number, text in lines:
        try:
            values = json.loads(text)
        except ValueError as error:
            if next(lines, None) is None and not read_file(path).endswith((b"\n", b"\r")):
                surprises.append(f"{path}:{number}: this last line is torn and dropped")
                return
            raise DataError(f"{path}:{number}: not a line of JSON ({error})") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}:{number}: expected an object, got {text[:80]!r}")
        yield number, values


def parse_jsonl(
    path: Path, lines: Iterable[tuple[int, str]], surprises: list[str]
) -> tuple[dict[str, Any] | None, list[tuple[int, dict[str, Any]]]]:
    """What a first line ``{"about": ...}`` tells, None without one, and the objects of the others, each with an ``id``.

    Raises:
        DataError: a line that is no JSON object with an ``id``, with its number.
    """
    about: dict[str, Any] | None = None
    rows: list[tuple[int, dict[str, Any]]] = []
    for place, (line, values) in enumerate(parse_objects(path, lines, surprises)):
        if place == 0 and isinstance(values.get("about"), dict):
            about = values["about"]
        elif isinstance(values.get("id"), str):
            rows.append((line, values))
        else:
            raise DataError(f'{path}:{line}: expected an object with an "id", got {json.dumps(values)[:80]!r}')
    return about, rows


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """A line each; None is empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def to_jsonl(lines: Iterable[Mapping[str, Any]]) -> str:
    """A line of JSON each; ASCII, because the name of a file need not be valid in any encoding."""
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
