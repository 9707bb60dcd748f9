"""Rows of CSV and JSONL files, each with the file and line that messages name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
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


def csv_rows(data: bytes, table: Location) -> Iterator[tuple[str, list[str]]]:
    """The rows of a CSV that are not blank, each with its file and line; ``table`` is what messages call it.

    Raises:
        DataError: not text, or not a CSV.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        for row in reader:
            if row:
                yield f"{table}:{reader.line_num}", row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file ({error})") from error


def jsonl_rows(path: Path, surprises: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL, each with its file and line; a torn last line is dropped and told in ``surprises``.

    Raises:
        DataError: missing, not text, or a line that holds no object.
    """
    try:
        lines = read_file(path).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from error
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            if number == len(lines):  # no line end: its writer was stopped half way
                surprises.append(f"{path}:{number}: this last line is torn and dropped")
                return
            raise DataError(f"{path}:{number}: not a line of JSON ({error})") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}:{number}: expected an object, got {text[:80]!r}")
        yield f"{path}:{number}", values
