"""AffectNet in both of its releases: tables with face boxes and hash names, or numbered faces with NumPy annotations.

Source: Mollahosseini, Hasani, Mahoor, AffectNet: A Database for Facial Expression, Valence, and Arousal Computing in
the Wild, IEEE TAC 2017, and the files of its releases. Its validation faces are the test, as its test is withheld.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ranfer.data.dataset import Dataset, Published, decode_file, first_few
from ranfer.data.labels import one_vote
from ranfer.data.textfiles import csv_rows, parse_number
from ranfer.errors import DataError
from ranfer.vocab import Expression, Location, Sample, face_id

ORDER = (
    Expression.NEUTRAL,
    Expression.HAPPINESS,
    Expression.SADNESS,
    Expression.SURPRISE,
    Expression.FEAR,
    Expression.DISGUST,
    Expression.ANGER,
    Expression.CONTEMPT,
)
OTHERS = ("8 (none)", "9 (uncertain)", "10 (no face)")
TABLES = {"test": "validation.csv", "train": "training.csv"}
SETS = {
    "test": ("val_set", "val"),
    "train": ("train_set", "train"),
}  # folder, and what the ids of its numbers begin with
IMAGES = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated", ".")
COLUMNS = [
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
]
_COUNTS = (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750)
PUBLISHED = {
    "train": Published(sum(_COUNTS), sum(_COUNTS), dict(zip(ORDER, _COUNTS, strict=True))),
    "test": Published(4_000, 4_000, dict.fromkeys(ORDER, 500)),
}

LAYOUTS = """expected AffectNet in one of two forms, at least one split of it:
  the original release:  training.csv, validation.csv, and their pictures below Manually_Annotated_Images/
  the later release:     train_set/ and val_set/, each with images/N.jpg and annotations/N_exp.npy (_val, _aro)
Its authors give it for research: http://mohammadmahoor.com/pages/databases/affectnet/"""


def open_affectnet(path: Path) -> Dataset:
    """AffectNet with its eight classes; the splits are train, and the validation faces as test.

    Expression codes 8 to 10 (none, uncertain, no face) are left out and counted. In the original release a face is
    cropped by its box, and its id is its hash; the later one names faces by numbers only, ids are ``val_17`` or
    ``train_17``, and nothing in it says which hash a number has, so that the published lists do not apply to it.

    Raises:
        DataError: another layout, a missing picture, or a malformed line or annotation; the message names it.
    """
    if any((path / name).is_file() for name in TABLES.values()):
        samples, surprises = _open_tables(path)
    elif any((path / folder).is_dir() for folder, _ in SETS.values()):
        samples, surprises = _open_numbered(path)
    else:
        raise DataError(f"{path}: no AffectNet here; {LAYOUTS}")
    samples.sort(key=lambda sample: (sample.split != "train", sample.id))
    if not samples:
        raise DataError(f"{path}: no faces with an expression from 0 to 7; {LAYOUTS}")
    tables = [path / name for name in TABLES.values()]
    return Dataset("affectnet", path, tuple(samples), tuple(surprises), decode_file, PUBLISHED, files=tables)


def open_affectnet7(path: Path) -> Dataset:
    """AffectNet without contempt: 3,500 faces to test; else as :func:`open_affectnet`."""
    dataset = open_affectnet(path)
    kept = tuple(sample for sample in dataset.samples if not sample.votes[Expression.CONTEMPT.column])
    published = {}
    for split, (faces, _, expressions) in PUBLISHED.items():
        assert expressions is not None
        seven = faces - expressions[Expression.CONTEMPT]
        published[split] = Published(seven, seven, {**expressions, Expression.CONTEMPT: 0})
    told = f"{path}: {len(dataset.samples) - len(kept)} faces of contempt are left out"
    surprises = (*dataset.surprises, told)
    return replace(
        dataset, name="affectnet7", source="affectnet", samples=kept, surprises=surprises, published=published
    )


def _open_tables(path: Path) -> tuple[list[Sample], list[str]]:
    samples: dict[str, Sample] = {}
    surprises: list[str] = []
    for split, name in TABLES.items():
        table = path / name
        if not table.is_file():
            continue
        left_out: Counter[str] = Counter()
        repeated, missing = [], []
        folder = None
        for where, row in csv_rows(Location(table)):
            if row[0].strip() == COLUMNS[0]:
                continue
            if len(row) != len(COLUMNS):
                raise DataError(f"{where}: expected {len(COLUMNS)} columns ({', '.join(COLUMNS)}), got {len(row)}")
            expression = _expression(row[6], where, left_out)
            if expression is None:
                continue
            relative = row[0].strip().replace("\\", "/")
            if folder is None:  # where the first picture lies, all lie
                folder = next((path / i for i in IMAGES if (path / i / relative).is_file()), path / IMAGES[0])
            if not (folder / relative).is_file():
                missing.append(f"{relative} ({where})")
            try:
                left, top, width, height = map(parse_number, row[1:5])
                codes = {"valence": parse_number(row[7]), "arousal": parse_number(row[8])}
            except ValueError as error:
                raise DataError(f"{where}: expected numbers in the columns of the box, valence, arousal") from error
            sample = Sample(
                face_id(relative),
                split,
                Location(folder / relative),
                one_vote(expression),
                box=(left, top, left + width, top + height),
                codes=codes,
            )
            if samples.setdefault(sample.id, sample) is not sample:
                repeated.append(f"{sample.id} ({where})")
        if missing:
            raise DataError(
                f"{path}: {len(missing)} pictures that {name} lists are missing: {first_few(missing)}; to go without "
                f"that split, move {name} away"
            )
        surprises += _told(table, left_out)
        if repeated:
            surprises.append(f"{table}: {len(repeated)} faces were there before and are dropped: {first_few(repeated)}")
    return list(samples.values()), surprises


def _open_numbered(path: Path) -> tuple[list[Sample], list[str]]:
    samples: list[Sample] = []
    surprises = [
        f"{path}: this release numbers its faces and does not say their published hash names: lists that name faces by "
        "hash cannot be applied to it"
    ]
    for split, (name, prefix) in SETS.items():
        images, notes = path / name / "images", path / name / "annotations"
        if not (path / name).is_dir():
            continue
        if not (images.is_dir() and notes.is_dir()):
            raise DataError(f"{path / name}: images/ or annotations/ is missing; {LAYOUTS}")
        left_out: Counter[str] = Counter()
        pictures = {os.path.splitext(entry)[0]: entry for entry in os.listdir(images)}  # noqa: PTH122, PTH208 (290,000)
        numbers = [e.removesuffix("_exp.npy") for e in os.listdir(notes) if e.endswith("_exp.npy")]  # noqa: PTH208
        if missing := sorted(set(numbers) - set(pictures)):
            raise DataError(f"{images}: {len(missing)} of {len(numbers)} pictures are missing: {first_few(missing)}")
        if bare := sorted(set(pictures) - set(numbers)):
            surprises.append(f"{images}: {len(bare)} pictures have no annotation: {first_few(bare)}")
        for number in numbers:
            expression = _expression(_read_value(notes / f"{number}_exp.npy"), str(notes / number), left_out)
            if expression is not None:
                named = {"valence": notes / f"{number}_val.npy", "arousal": notes / f"{number}_aro.npy"}
                codes = {word: _read_number(file) for word, file in named.items() if file.is_file()}
                location = Location(images / pictures[number])
                samples.append(Sample(f"{prefix}_{number}", split, location, one_vote(expression), codes=codes))
        surprises += _told(path / name, left_out)
    return samples, surprises


def _expression(text: str, where: str, left_out: Counter[str]) -> Expression | None:
    """The expression of a code; None, and counted, for those that are none."""
    try:
        code = int(text)
    except ValueError:
        code = -1
    if not 0 <= code < len(ORDER) + len(OTHERS):
        raise DataError(f"{where}: expected an expression code from 0 to 10, got {text[:80]!r}")
    if code >= len(ORDER):
        left_out[OTHERS[code - len(ORDER)]] += 1
        return None
    return ORDER[code]


def _read_value(file: Path) -> str:
    try:
        value = np.load(file, allow_pickle=False)  # what is downloaded must not run
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: not a readable NumPy file ({error})") from error
    if value.size != 1:
        raise DataError(f"{file}: expected one value, got {value.size}")
    return str(value.reshape(-1)[0])


def _read_number(file: Path) -> float:
    try:
        return parse_number(_read_value(file))
    except ValueError as error:
        raise DataError(f"{file}: expected a number ({error})") from error


def _told(where: Path, left_out: Counter[str]) -> Iterable[str]:
    return [f"{where}: {count} faces of code {code} are left out" for code, count in sorted(left_out.items())]
