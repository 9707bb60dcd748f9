"""FERPlus from any of its three forms, which give the same ids, splits, votes and pixels.

Source: Barsoum et al., Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution,
ICMI 2016, and the published files.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ranfer.data.dataset import Dataset, Published, decode_file, first_few, last_row_wins
from ranfer.data.labels import MOST_VOTES
from ranfer.data.textfiles import csv_rows, read_file
from ranfer.errors import DataError, ImageError
from ranfer.images import decode_image
from ranfer.vocab import Expression, Location, Sample, face_id

FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
USAGES = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
PUBLISHED = {
    "train": Published(28_558, 25_057),
    "valid": Published(3_579, 3_199),
    "test": Published(3_573, 3_152),
}
LABELS = "label.csv"
PIXELS = "fer2013.csv"
VOTES = "fer2013new.csv"
VOTES_HEADER = ["Usage", "Image name", *(expression.value for expression in Expression), "unknown", "NF"]
_SIDE = 48

LAYOUTS = f"""expected FERPlus in one of three forms:
  a folder of {", ".join(f"{folder}/" for folder in FOLDERS.values())} (at least one), each with {LABELS} and its PNGs;
  a zip of such a folder;
  a folder with {PIXELS} and {VOTES}, or the path of that {PIXELS}
Votes: https://github.com/microsoft/FERPlus. Faces: FER2013, of
https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge"""


def open_ferplus(path: Path) -> Dataset:
    """FERPlus from the folder layout, that layout zipped, or ``fer2013.csv`` with ``fer2013new.csv``.

    Some of the three splits may be absent. Where a face is listed twice, the last row wins. The published
    ``fer2013new.csv`` gives exact copies of a face the same votes, the published ``label.csv`` does not, so that
    majority keeps 25,057 or 25,045 training faces. To be the same in every form, the votes are those of
    ``fer2013new.csv`` where it lies in a layout or beside it; a surprise counts the faces for which that matters.

    Raises:
        DataError: the path holds none of the forms, a file or a listed image is missing, or a row is malformed; the
            message has file and line.
    """
    if path.is_dir():
        if any((path / folder).is_dir() for folder in FOLDERS.values()):
            return _open_folder(path)
        if (path / PIXELS).is_file():
            return _open_csv(path, path / PIXELS)
        raise DataError(f"{path}: no FERPlus in this folder; {LAYOUTS}")
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; {LAYOUTS}")
    if path.suffix.lower() == ".csv" and path.name != VOTES:
        return _open_csv(path, path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: neither a readable zip ({error}) nor {PIXELS}; {LAYOUTS}") from error
    return _open_zip(path, archive)


def read_votes(path: Path) -> tuple[list[Sample | None], list[str]]:
    """The rows of ``fer2013new.csv`` in their order, None for a face that was taken out, and what is odd about them.

    The location of a sample is its row. The same face may stand in several rows.

    Raises:
        DataError: the file is missing, has another header, or has a malformed row.
    """
    return _parse_votes(read_file(path), Location(path))


def _open_folder(path: Path) -> Dataset:
    folders = [path / folder for folder in FOLDERS.values() if (path / folder).is_dir()]
    files = {f"{folder.name}/{file.name}": Location(file) for folder in folders for file in folder.iterdir()}
    around = (path, path.parent, path.resolve().parent)  # the parent of "." is "."
    votes = next((Location(folder / VOTES) for folder in around if (folder / VOTES).is_file()), None)
    return _open_layout(path, files, votes, lambda location: read_file(location.path), decode_file)


def _open_zip(path: Path, archive: zipfile.ZipFile) -> Dataset:
    names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
    parts = [name.split("/") for name in names]
    tops = {"/".join([*part[:-2], ""]) for part in parts if len(part) > 1 and part[-2] in FOLDERS.values()}
    if len(tops) != 1:
        raise DataError(f"{path}: {'several folders of FERPlus' if tops else 'no FERPlus'} in this zip; {LAYOUTS}")
    top = tops.pop()
    files = {name.removeprefix(top): Location(path, name) for name in names if name.startswith(top)}
    beside = path.with_name(VOTES)
    votes = files.get(VOTES) or (Location(beside) if beside.is_file() else None)

    def read(location: Location) -> bytes:
        if location.member is None:
            return read_file(location.path)
        try:
            return archive.read(location.member)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise ImageError(f"{location}: cannot be unpacked ({error})") from error

    return _open_layout(path, files, votes, read, lambda location: decode_image(read(location), str(location)))


def _open_layout(
    path: Path,
    files: Mapping[str, Location],
    votes: Location | None,
    read: Callable[[Location], bytes],
    decode: Callable[[Location], UInt8[np.ndarray, "h w 3"]],
) -> Dataset:
    """The folder layout, given its files by name (``FER2013Train/label.csv``) and how to read its tables and faces."""
    rows: list[tuple[str, Sample]] = []
    tables: list[Location] = []
    surprises: list[str] = []
    for split, folder in FOLDERS.items():
        inside = {name for name in files if name.startswith(f"{folder}/") and name != f"{folder}/"}
        if not inside:
            continue
        if (labels := files.get(f"{folder}/{LABELS}")) is None:
            raise DataError(f"{path}: {folder}/{LABELS} is missing; {LAYOUTS}")
        tables.append(labels)
        missing = []
        for where, row in csv_rows(labels, read(labels)):
            if len(row) != 12:
                raise DataError(f"{where}: expected 12 columns (image name, box, ten votes), got {len(row)}")
            name = f"{folder}/{row[0].strip()}"
            inside.discard(name)
            if name in files:
                counts = _parse_counts(row[2:], where, surprises)
                rows.append((where, Sample(face_id(name), split, files[name], counts)))
            else:
                missing.append(f"{name} ({where})")
        if missing:
            raise DataError(f"{path}: {len(missing)} images that {labels} lists are missing: {first_few(missing)}")
        unlisted = sorted(inside - {f"{folder}/{LABELS}"})
        surprises += [f"{files[name]}: no row of {labels} names this file" for name in unlisted]
    samples = last_row_wins(rows, surprises)
    if votes is not None:
        samples = _take_votes(samples, read(votes), votes, surprises)
        tables.append(votes)
    return _dataset(path, samples, surprises, decode, [table.path for table in tables])


def _take_votes(samples: Iterable[Sample], data: bytes, votes: Location, surprises: list[str]) -> list[Sample]:
    """The samples with the votes of ``fer2013new.csv``; those that it lacks keep theirs."""
    rows, odd = _parse_votes(data, votes)
    named = [(str(row.location), row) for row in rows if row is not None]
    counts = {row.id: row.votes for row in last_row_wins(named, odd)}
    samples = list(samples)
    taken = [replace(sample, votes=counts.get(sample.id, sample.votes)) for sample in samples]
    for split, folder in FOLDERS.items():
        ids = [sample.id for sample in samples if sample.split == split]
        others = [a.id for a, b in zip(samples, taken, strict=True) if a.split == split and a.votes != b.votes]
        if others:
            surprises.append(
                f"{votes}: its votes are taken; {folder}/{LABELS} has others for {len(others)} of {len(ids)} faces "
                f"({first_few(others)})"
            )
        if absent := [face for face in ids if face not in counts]:
            surprises.append(
                f"{votes}: {len(absent)} of {len(ids)} faces of {folder}/{LABELS} have no row here and keep the votes "
                f"there ({first_few(absent)})"
            )
    surprises += odd
    return taken


def _open_csv(path: Path, file: Path) -> Dataset:
    rows, surprises = read_votes(file.with_name(VOTES))
    lines = _scan_pixels(file)
    if len(lines) != len(rows):
        raise DataError(
            f"{file}: {len(lines)} faces, but {len(rows)} rows in {file.with_name(VOTES)}; they must agree row by row"
        )
    named: list[tuple[str, Sample]] = []
    for line, row in zip(lines, rows, strict=True):
        if row is not None:
            if USAGES.get(line.usage) != row.split:
                raise DataError(f"{file}:{line.number}: usage {line.usage!r}, but {row.location} says {row.split}")
            named.append((str(row.location), replace(row, location=Location(file, str(line.number)))))
    offsets = {str(line.number): line.offset for line in lines}

    def decode(location: Location) -> UInt8[np.ndarray, "h w 3"]:
        assert location.member is not None
        with file.open("rb") as table:  # opened anew, since threads would share its position
            table.seek(offsets[location.member])
            fields = table.readline().split(b",")
        try:
            grey = np.frombuffer(bytes(map(int, fields[lines[0].column].strip(b' "\r\n').split())), dtype=np.uint8)
            return np.repeat(grey.reshape(_SIDE, _SIDE, 1), 3, axis=2)
        except ValueError as error:
            raise ImageError(f"{location}: expected {_SIDE}x{_SIDE} numbers from 0 to 255 ({error})") from error

    return _dataset(path, last_row_wins(named, surprises), surprises, decode, [file, file.with_name(VOTES)])


class _Line(NamedTuple):
    """Where a row of ``fer2013.csv`` starts, and its usage; the pixels stay on the disk."""

    number: int
    offset: int
    usage: str
    column: int


def _scan_pixels(file: Path) -> list[_Line]:
    lines = []
    try:
        with file.open("rb") as table:
            header = table.readline()
            # Kaggle has handed out "emotion,pixels,Usage" and "emotion, Usage, pixels".
            names = [name.strip(b' "\r\n\xef\xbb\xbf').decode(errors="replace").lower() for name in header.split(b",")]
            if not {"pixels", "usage"} <= set(names):
                raise DataError(f"{file}:1: expected the header 'emotion,pixels,Usage', got {','.join(names)[:80]!r}")
            usage, column = names.index("usage"), names.index("pixels")
            offset = len(header)
            for number, line in enumerate(table, start=2):
                fields = line.split(b",")
                if line.strip():
                    if len(fields) != len(names):
                        raise DataError(f"{file}:{number}: expected {len(names)} columns, got {len(fields)}")
                    lines.append(_Line(number, offset, fields[usage].strip(b' "\r\n').decode(errors="replace"), column))
                offset += len(line)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    return lines


def _parse_votes(data: bytes, table: Location) -> tuple[list[Sample | None], list[str]]:
    rows: list[Sample | None] = []
    surprises: list[str] = []
    lines = csv_rows(table, data)
    where, header = next(lines, (f"{table}:1", []))
    if [name.strip() for name in header] != VOTES_HEADER:
        raise DataError(f"{where}: expected the header {','.join(VOTES_HEADER)!r}, got {','.join(header)!r}")
    for where, row in lines:
        if len(row) != 12:
            raise DataError(f"{where}: expected 12 columns (usage, image name, ten votes), got {len(row)}")
        usage, name = row[0].strip(), row[1].strip()
        if usage not in USAGES:
            raise DataError(f"{where}: expected the usage {' or '.join(USAGES)}, got {usage!r}")
        if name:
            counts = _parse_counts(row[2:], where, surprises)
            line = where.rsplit(":", 1)[1]
            member = line if table.member is None else f"{table.member}:{line}"
            rows.append(Sample(face_id(name), USAGES[usage], Location(table.path, member), counts))
        else:
            rows.append(None)
    return rows, surprises


def _parse_counts(fields: Sequence[str], where: str, surprises: list[str]) -> tuple[int, ...]:
    try:
        votes = tuple(int(field) for field in fields)
    except ValueError as error:
        raise DataError(f"{where}: expected ten whole numbers of votes ({error})") from error
    if not 0 <= min(votes) <= max(votes) <= MOST_VOTES:
        raise DataError(f"{where}: expected votes from 0 to {MOST_VOTES:,}, got {','.join(fields)[:80]}")
    if sum(votes) != 10:
        surprises.append(f"{where}: {sum(votes)} votes, where faces have ten")
    return votes


def _dataset(
    path: Path,
    samples: Iterable[Sample],
    surprises: Iterable[str],
    decode: Callable[[Location], UInt8[np.ndarray, "h w 3"]],
    tables: Sequence[Path],
) -> Dataset:
    splits = list(FOLDERS)
    ordered = tuple(sorted(samples, key=lambda sample: (splits.index(sample.split), sample.id)))
    if not ordered:
        raise DataError(f"{path}: no faces are listed here; {LAYOUTS}")
    return Dataset("ferplus", path, ordered, tuple(surprises), decode, PUBLISHED, files=tables)
