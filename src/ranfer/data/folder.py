"""Any pictures of faces: a folder per class with or without splits, pictures alone, or a table of paths and labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ranfer.config import read_yaml
from ranfer.data.dataset import Dataset, decode_file, first_few
from ranfer.data.labels import one_vote
from ranfer.data.textfiles import csv_rows, parse_objects, read_lines
from ranfer.errors import DataError
from ranfer.vocab import PICTURES, SYNONYMS, Expression, Location, Sample, face_id, parse_expression

CLASSES = "classes.yaml"
IGNORE = "ignore"  # the class whose faces are left out
WHOLE = "all"  # the split of a dataset that has none
SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
# What the columns of a table, or the keys of a JSONL, may be called.
COLUMNS = {
    "image": ("image", "path", "file", "filename"),
    "class": ("expression", "label", "class", "emotion"),
    "split": ("split", "usage"),
    "id": ("id",),
}

LAYOUTS = f"""expected one of:
  a folder per class:    PATH/happy/1.jpg
  the same in splits:    PATH/train/happy/1.jpg, PATH/val/..., PATH/test/...
  pictures alone:        PATH/1.jpg, or PATH/train/1.jpg (faces without labels)
  a .csv or .jsonl file: image, expression (may be missing or empty), split and id (likewise); paths from its folder
A file {CLASSES} beside the pictures maps class names to expressions, a line each, as in `grin: happiness`."""


class _Picture(NamedTuple):
    """A picture as found: where it is named, where it lies, its name below the dataset, its class as it is called."""

    where: str
    file: Path
    name: str
    split: str
    class_name: str | None
    id: str | None = None


def open_folder(path: Path) -> Dataset:
    """Faces from a folder per class (with or without splits), from a folder of pictures, or from a CSV or JSONL.

    Class names are matched to expressions by ``vocab.SYNONYMS`` and by ``classes.yaml`` in the folder or beside the
    table, whose lines win; the class ``ignore`` leaves faces out. Without splits the one split is called ``all``. An
    id is what the table says, or else the path below the folder: the name in it without the suffix or, where two faces
    share that, the whole of it, joined by ``__``, with the suffix (``a__png``) for those that differ in nothing else.
    A face without a class has no votes.

    Raises:
        DataError: another layout, a class that stands for no expression (the message shows the table), missing
            pictures, a malformed line, an id that is written as a file, or no face but those that are ignored; the
            message has file and line.
    """
    surprises: list[str] = []
    if path.is_dir():
        base, pictures = path, list(_walk(path, surprises))
    elif path.suffix.lower() in (".csv", ".jsonl") and path.is_file():
        base, pictures = path.parent, _read_table(path, surprises)
    else:
        raise DataError(f"{path}: no such folder or table; {LAYOUTS}")
    if not pictures:
        raise DataError(f"{path}: no pictures here; {LAYOUTS}")
    classes = read_classes(base / CLASSES)
    _check_classes(base, pictures, classes)
    ids = _ids(pictures)
    samples = []
    ignored: Counter[str] = Counter()
    for picture, face in zip(pictures, ids, strict=True):
        expression = None if picture.class_name is None else classes[_key(picture.class_name)]
        if picture.class_name is not None and expression is None:
            ignored[picture.class_name] += 1
        else:
            votes = one_vote(expression)
            samples.append(Sample(face, picture.split, Location(picture.file), votes))
    if not samples:
        raise DataError(f"{path}: every face is left out, because its class is ignored: {first_few(ignored)}")
    surprises += [f"{base / CLASSES}: {n} faces of {name!r} are left out" for name, n in ignored.items()]
    order = list(dict.fromkeys([*SPLITS.values(), *(sample.split for sample in samples)]))
    samples.sort(key=lambda sample: (order.index(sample.split), sample.id))
    return Dataset("folder", path, tuple(samples), tuple(surprises), decode_file, files=[base / CLASSES])


def read_classes(path: Path) -> dict[str, Expression | None]:
    """What each class name (in lower case) stands for; None leaves its faces out. A missing file changes nothing.

    Raises:
        ConfigError: not YAML.
        DataError: a line that names no expression.
    """
    classes: dict[str, Expression | None] = {**SYNONYMS, IGNORE: None}
    if path.exists():
        for name, value in read_yaml(path).items():
            said = str(value).strip().lower()
            classes[_key(str(name))] = None if said == IGNORE else parse_expression(said, f"{path}: {name}")
    return classes


def _key(name: str) -> str:
    return name.strip().lower()


def _check_classes(base: Path, pictures: Iterable[_Picture], classes: Mapping[str, Expression | None]) -> None:
    unknown = Counter(p.class_name for p in pictures if p.class_name is not None and _key(p.class_name) not in classes)
    if not unknown:
        return
    by_expression: dict[str, list[str]] = {}
    for name, expression in classes.items():
        by_expression.setdefault(str(expression or IGNORE), []).append(name)
    table = "\n".join(f"  {expression}: {', '.join(names)}" for expression, names in by_expression.items())
    named = first_few((f"{name!r} ({count} faces)" for name, count in unknown.items()), shown=12)
    example = next(iter(unknown))
    raise DataError(
        f"{base}: no expression is known for the class {named}; the names that are known:\n{table}\n"
        f"Add what is missing to {base / CLASSES}, a line each, as in `{example}: neutral` or `{example}: {IGNORE}`. "
        "Pictures without labels lie in a folder without folders in it."
    )


def _walk(path: Path, surprises: list[str]) -> Iterator[_Picture]:
    folders = _folders(path)
    splits = {folder: SPLITS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLITS}
    if not splits:
        yield from _walk_classes(path, path, WHOLE, surprises)
        return
    if len(set(splits.values())) < len(splits):
        raise DataError(f"{path}: two folders are the same split: {', '.join(folder.name for folder in splits)}")
    if loose := [file for file in sorted(path.iterdir()) if _is_picture(file)]:
        surprises.append(f"{path}: left out, for they are in no split: {first_few(loose)}")
    if others := [str(folder) for folder in folders if folder not in splits and _pictures(folder, surprises)]:
        surprises.append(f"{path}: left out, for they are no split: {first_few(others)}")
    for folder, split in splits.items():
        yield from _walk_classes(path, folder, split, surprises)


def _walk_classes(base: Path, folder: Path, split: str, surprises: list[str]) -> Iterator[_Picture]:
    def picture(file: Path, class_name: str | None) -> _Picture:
        return _Picture(str(file), file, file.relative_to(base).as_posix(), split, class_name)

    loose = [file for file in sorted(folder.iterdir()) if _is_picture(file)]
    inside = {inner: files for inner in _folders(folder) if (files := _pictures(inner, surprises))}
    if not inside:
        yield from (picture(file, None) for file in loose)
        return
    if loose:
        surprises.append(f"{folder}: left out, for they are in no folder of a class: {first_few(loose)}")
    for inner, files in inside.items():
        yield from (picture(file, inner.name) for file in files)


def _folders(path: Path) -> list[Path]:
    return sorted(inner for inner in path.iterdir() if inner.is_dir() and not inner.name.startswith((".", "__MACOSX")))


def _pictures(path: Path, surprises: list[str]) -> list[Path]:
    """All pictures below a folder, but nothing hidden, in the order of names; folders out of reach are surprises."""
    found: list[Path] = []
    out_of_reach: list[OSError] = []
    for parent, folders, files in os.walk(path, onerror=out_of_reach.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [inner for name in folders if (inner := Path(parent, name)).is_symlink()]
        surprises += [f"{link}: left out, for it is a link to a folder" for link in links]
        found += [file for name in files if _is_picture(file := Path(parent, name))]
    surprises += [f"{error.filename}: {error.strerror}" for error in out_of_reach]
    return sorted(found)


def _is_picture(file: Path) -> bool:
    if file.suffix.lower() not in PICTURES or file.name.startswith("."):
        return False
    return file.is_file() or not file.exists()  # a broken link is told when it is read


def _read_table(path: Path, surprises: list[str]) -> list[_Picture]:
    pictures, missing = [], []
    unsplit: list[str] = []
    for where, row in _rows(path, surprises):
        fields = {key: next((row[name] for name in names if name in row), "") for key, names in COLUMNS.items()}
        if not fields["image"]:
            raise DataError(f"{where}: expected a picture under {' or '.join(COLUMNS['image'])}; {LAYOUTS}")
        file = path.parent / fields["image"]
        if not file.is_file():
            missing.append(f"{fields['image']} ({where})")
        split = SPLITS.get(fields["split"].lower(), fields["split"]) or WHOLE
        if not fields["split"]:
            unsplit.append(where)
        pictures.append(_Picture(where, file, fields["image"], split, fields["class"] or None, fields["id"] or None))
    if missing:
        raise DataError(f"{path}: {len(missing)} of {len(pictures)} pictures are missing: {first_few(missing)}")
    if 0 < len(unsplit) < len(pictures):
        raise DataError(f"{path}: {len(unsplit)} of {len(pictures)} rows name no split: {first_few(unsplit)}")
    return pictures


def _rows(path: Path, surprises: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row by the names of its columns, in lower case."""
    if path.suffix.lower() == ".jsonl":
        for line, values in parse_objects(path, read_lines(path), surprises):
            yield (
                f"{path}:{line}",
                {key.lower(): "" if value is None else str(value).strip() for key, value in values.items()},
            )
        return
    lines = csv_rows(Location(path))
    where, header = next(lines, (f"{path}:1", []))
    names = [name.strip().lower() for name in header]
    if not set(names) & set(COLUMNS["image"]):
        raise DataError(f"{where}: no column is called {' or '.join(COLUMNS['image'])}; {LAYOUTS}")
    for where, row in lines:
        if len(row) != len(names):
            raise DataError(f"{where}: expected {len(names)} columns, as in the header, got {len(row)}")
        yield where, dict(zip(names, (field.strip() for field in row), strict=True))


def _ids(pictures: list[_Picture]) -> list[str]:
    """One id a picture, from what the rows say or else from the names of the files."""
    for picture in pictures:
        if picture.id is not None and face_id(picture.id) != picture.id:  # lists and tables would name another face
            raise DataError(
                f"{picture.where}: expected an id without folders and without the ending of a picture, got "
                f"{picture.id!r}; where it is left empty, it is made from the name of the file"
            )
    ids = [picture.id or face_id(picture.name) for picture in pictures]
    if len(set(ids)) < len(ids):
        paths = [picture.name.replace("\\", "/").strip("./").replace("/", "__") for picture in pictures]
        ids = [picture.id or face_id(path) for picture, path in zip(pictures, paths, strict=True)]
        counts = Counter(ids)
        for number, (picture, path) in enumerate(zip(pictures, paths, strict=True)):
            if picture.id is None and counts[ids[number]] > 1:  # a dot would be taken off again, see face_id
                ids[number] += f"__{path.rpartition('.')[2]}"
    seen: dict[str, str] = {}
    for face, picture in zip(ids, pictures, strict=True):
        if face in seen:
            raise DataError(
                f"{picture.where}: another face has the id {face!r}, by {seen[face]}; rename it, or use a table of ids"
            )
        seen[face] = picture.where
    return ids
