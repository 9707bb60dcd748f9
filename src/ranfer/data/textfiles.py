"""Text files of any origin, by numbered line; JSONL, whose last line may be torn; and files that appear by rename."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ranfer.errors import DataError


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, numbered from 1 and stripped; line ends of any kind, with or without BOM.

    Raises:
        DataError: no such file, or one that is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def parse_jsonl(
    path: Path, lines: Sequence[tuple[int, str]], surprises: list[str]
) -> tuple[dict[str, Any] | None, list[tuple[int, dict[str, Any]]]]:
    """What a first line ``{"about": ...}`` tells, None without one, and the objects of the others, each with an ``id``.

    A last line that is torn, because its writer was stopped half way, is dropped, and surprises say so.

    Raises:
        DataError: a line that is no JSON object with an ``id``, with its number.
    """
    about: dict[str, Any] | None = None
    rows: list[tuple[int, dict[str, Any]]] = []
    for line, text in lines:
        try:
            values = json.loads(text)
        except ValueError as error:
            if line == lines[-1][0]:
                surprises.append(f"{path}:{line}: this last line is torn and dropped")
                break
            raise DataError(f"{path}:{line}: not a line of JSON ({error})") from error
        if line == lines[0][0] and isinstance(values, dict) and isinstance(values.get("about"), dict):
            about = values["about"]
        elif isinstance(values, dict) and isinstance(values.get("id"), str):
            rows.append((line, values))
        else:
            raise DataError(f'{path}:{line}: expected an object with an "id", got {text[:80]!r}')
    return about, rows


def to_jsonl(lines: Iterable[Mapping[str, Any]]) -> str:
    """A line of JSON each; ASCII, because the name of a file need not be valid in any encoding."""
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears, finished, by rename; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")
    partial.replace(path)
