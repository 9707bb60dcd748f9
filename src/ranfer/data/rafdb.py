"""RAF-DB, the basic expressions: aligned faces of 100 pixels, or the original pictures with five landmarks each.

Source: Li, Deng, Du, Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the
Wild, CVPR 2017, and the files of its release.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ranfer.data.dataset import Dataset, Published, decode_file, first_few, last_row_wins
from ranfer.data.labels import one_vote
from ranfer.data.textfiles import parse_number, read_lines
from ranfer.errors import DataError
from ranfer.vocab import Expression, Location, Sample

LABELS = "EmoLabel/list_patition_label.txt"  # so spelled in the release
ORDER = (
    Expression.SURPRISE,
    Expression.FEAR,
    Expression.DISGUST,
    Expression.HAPPINESS,
    Expression.SADNESS,
    Expression.ANGER,
    Expression.NEUTRAL,
)  # labels 1 to 7
PUBLISHED = {
    "train": Published(12_271, 12_271, dict(zip(ORDER, (1290, 281, 717, 4772, 1982, 705, 2524), strict=True))),
    "test": Published(3_068, 3_068, dict(zip(ORDER, (329, 74, 160, 1185, 478, 162, 680), strict=True))),
}
LANDMARKS = 5

LAYOUT = f"""expected the folder basic/ of RAF-DB:
  {LABELS}                lines such as `train_00001.jpg 5`
  Image/aligned/train_00001_aligned.jpg            aligned faces, taken where they are there
  Image/original/train_00001.jpg                   original pictures, which need, to be aligned here,
  Annotation/manual/train_00001_manu_attri.txt     their five landmarks
Name basic/Image/original to take the original pictures although aligned ones are there.
Its authors give it for research: http://www.whdeng.cn/RAF/model1.html"""


def open_rafdb(path: Path) -> Dataset:
    """RAF-DB from its folder ``basic``; the splits are train and test, and ids are spelled as in the published lists.

    The id of ``test_0003.jpg`` is ``test_0003_aligned``, whichever pictures are taken. Original pictures are aligned
    by the five landmarks of the release, in the frame of all our faces; aligned ones are left as they are.

    Raises:
        DataError: another layout, a missing picture or annotation, or a malformed line; the message has file and line.
    """
    root, pictures = _find(path)
    aligned = pictures.name == "aligned"
    labels = root / LABELS
    rows: list[tuple[str, Sample]] = []
    surprises: list[str] = []
    missing = []
    there = {file.name for file in pictures.iterdir()}
    for number, line in read_lines(labels):
        match = re.fullmatch(r"((train|test)_\d+)\.jpg\s+([1-7])", line)
        if match is None:
            raise DataError(f"{labels}:{number}: expected a line such as 'train_00001.jpg 5', got {line[:80]!r}")
        stem, split, digit = match.groups()
        name = f"{stem}_aligned.jpg" if aligned else f"{stem}.jpg"
        if name not in there:
            missing.append(f"{name} (line {number})")
        votes = one_vote(ORDER[int(digit) - 1])
        rows.append((f"{labels}:{number}", Sample(f"{stem}_aligned", split, Location(pictures / name), votes)))
    if missing:
        raise DataError(f"{pictures}: {len(missing)} of {len(rows)} pictures are missing: {first_few(missing)}")
    if not rows:
        raise DataError(f"{labels}: no faces are listed here; {LAYOUT}")
    samples = last_row_wins(rows, surprises)
    if not aligned:
        samples = [replace(sample, landmarks=_read_landmarks(root, sample)) for sample in samples]
    samples.sort(key=lambda sample: (sample.split != "train", sample.id))
    return Dataset("rafdb", path, tuple(samples), tuple(surprises), decode_file, PUBLISHED, files=[labels])


def _find(path: Path) -> tuple[Path, Path]:
    """The folder of the release, and that of the pictures to take."""
    for root in (path, path / "basic"):
        if (root / LABELS).is_file():
            for pictures in (root / "Image" / "aligned", root / "Image" / "original"):
                if pictures.is_dir():
                    return root, pictures
            raise DataError(f"{root}: neither Image/aligned nor Image/original is there; {LAYOUT}")
    if path.is_dir() and path.parent.name == "Image" and (path.parents[1] / LABELS).is_file():
        return path.parents[1], path
    if not path.exists():
        raise DataError(f"{path}: no such folder; {LAYOUT}")
    raise DataError(f"{path}: no RAF-DB here, for {LABELS} is missing; {LAYOUT}")


def _read_landmarks(root: Path, sample: Sample) -> tuple[tuple[float, float], ...]:
    """Left eye, right eye, nose tip, left and right mouth corner, as the first five lines of the annotation give them.

    Three lines with gender, race and age follow there.
    """
    file = root / "Annotation" / "manual" / f"{sample.location.path.stem}_manu_attri.txt"
    lines = islice(read_lines(file), LANDMARKS)
    try:
        points = tuple((parse_number(x), parse_number(y)) for x, y in (line.split() for _, line in lines))
    except ValueError as error:
        raise DataError(f"{file}: expected five lines of two numbers, x and y ({error})") from error
    if len(points) < LANDMARKS:
        raise DataError(f"{file}: expected five lines of two numbers, x and y, got {len(points)}")
    return points
