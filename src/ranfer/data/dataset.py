"""A dataset as every other file sees it: labelled faces, where their pixels are, and what was odd about the files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from ranfer.errors import DataError, ImageError
from ranfer.faces.align import align, find_frame
from ranfer.faces.detection import Detection, shrink_to
from ranfer.files import refuse_overwriting
from ranfer.images import decode_image
from ranfer.vocab import Expression, Location, Progress, Sample, silent

# Pixels: the least and the largest side of a face that is aligned, whatever its frame in the picture.
LEAST_SIDE, LARGEST_SIDE = 16, 512


class Published(NamedTuple):
    """How many faces a split has by its authors, how many the majority rule keeps, and of each expression."""

    faces: int
    majority: int
    expressions: Mapping[Expression, int] | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled faces in a fixed order: by split, then by id.

    name: the format, as in ``ferplus:PATH``.  path: what was opened.
    samples: every face once; ids are unique over all splits.
    surprises: each oddity met while reading that is no error, with its file and line.
    decode: the pixels that lie at a location, RGB; raises ImageError.
    published: for the splits whose size is known from their authors.
    source: the name of the dataset that it was prepared from, or is a part of.
    cache: the faces as one memory-mapped array, whose rows are the members of their locations.
    broken: rows of it whose face could not be read.
    files: what it was read from beside the pictures: tables, votes, names of classes, a cache.
    stills: pictures are scenes, and the faces in them must be found (``ranfer data prepare``) before they are stacked.
    """

    name: str
    path: Path
    samples: tuple[Sample, ...]
    surprises: tuple[str, ...]
    decode: Callable[[Location], UInt8[np.ndarray, "h w 3"]] = field(repr=False)
    published: Mapping[str, Published] = field(default_factory=dict, repr=False)
    stills: bool = False
    source: str | None = None
    broken: frozenset[int] = frozenset()
    cache: UInt8[np.ndarray, "n side side c"] | None = field(default=None, repr=False, compare=False)
    files: Sequence[Path] = field(default=(), repr=False, compare=False)

    def image(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """The face of a sample as RGB: its picture, or what its landmarks or its box frame there.

        Raises:
            ImageError: it cannot be read, or the box lies outside of it; the message names its location.
        """
        return cut_face(self.decode(sample.location), sample)

    @property
    def title(self) -> str:
        """Format and file name, such as ``ferplus:faces.zip``: how files of ours name the data, whatever the folder."""
        return f"{self.name}:{self.path.resolve().name}"

    @property
    def origin(self) -> str:
        """The dataset that the faces come from, of which a manifest may hold a part; of a folder its name, too."""
        return self.source or (self.title if self.name == "folder" else self.name)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that are present."""
        return tuple(dict.fromkeys(sample.split for sample in self.samples))

    def split(self, name: str) -> list[Sample]:
        """The samples of one split.

        Raises:
            DataError: there is no such split; the message lists those that there are.
        """
        if name not in self.splits:
            raise DataError(f"{self.path}: no split is called {name!r}; there are {', '.join(self.splits)}")
        return [sample for sample in self.samples if sample.split == name]


def refuse_overwriting_data(outputs: Iterable[Path], dataset: Dataset, others: Iterable[Path | None] = ()) -> None:
    """Refuse to write over what is read: any file of a dataset, or one of the others.

    Raises:
        ConfigError: as :func:`ranfer.files.refuse_overwriting`.
    """
    outputs = list(outputs)
    names = {output.name for output in outputs}  # pictures are many, and few are called as an output is
    pictures = {sample.location.path for sample in dataset.samples if sample.location.path.name in names}
    refuse_overwriting(outputs, [dataset.path, *dataset.files, *pictures, *others])


def decode_file(location: Location) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a picture that is a file of its own, RGB."""
    return decode_image(location.path, str(location))


def cut_face(picture: UInt8[np.ndarray, "h w 3"], sample: Sample) -> UInt8[np.ndarray, "a b 3"]:
    """The face of a sample in its picture: aligned by its landmarks, or cropped by its box, as far as it is inside.

    Raises:
        ImageError: the box lies outside of the picture.
    """
    if sample.landmarks is not None:
        detection = Detection(sample.box or (0.0, 0.0, 0.0, 0.0), 1.0, np.array(sample.landmarks))
        frame = find_frame(detection)
        return align(picture, frame, round(min(max(frame.side, LEAST_SIDE), LARGEST_SIDE)))
    if sample.box is None:
        return picture
    left, top, right, bottom = inside(sample.box, picture, sample.location)
    return picture[top:bottom, left:right]


def inside(
    box: tuple[float, float, float, float], picture: UInt8[np.ndarray, "h w 3"], location: Location
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of a box that lies in its picture, in whole pixels.

    Raises:
        ImageError: the box lies outside of the picture.
    """
    height, width = picture.shape[:2]
    left, top = (max(round(edge), 0) for edge in box[:2])
    right, bottom = min(round(box[2]), width), min(round(box[3]), height)
    if left >= right or top >= bottom:
        raise ImageError(f"{location}: the face's box {box} lies outside of the {width}x{height} picture")
    return left, top, right, bottom


def first_few(items: Iterable[object], shown: int = 3) -> str:
    """``a, b, c and 17 more``: how messages name many things."""
    names = [str(item) for item in items]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def picture_name(dataset: Dataset, sample: Sample) -> str:
    """Where the picture lies within the data: relative to its folder, or the member of its archive or table."""
    path, member = sample.location
    if member is not None:
        return member
    try:
        return path.relative_to(dataset.path).as_posix()
    except ValueError:
        return path.name


def last_row_wins(rows: Iterable[tuple[str, Sample]], surprises: list[str]) -> list[Sample]:
    """One sample a face, each given with its file and line; a face in two rows is a surprise.

    Raises:
        DataError: a face is in two splits.
    """
    seen: dict[str, tuple[str, Sample]] = {}
    for where, sample in rows:
        if sample.id in seen:
            earlier, first = seen[sample.id]
            if first.split != sample.split:
                raise DataError(f"{where}: {sample.id} is in {sample.split}, but in {first.split} by {earlier}")
            difference = "the same" if first.votes == sample.votes else "other"
            surprises.append(f"{where}: {sample.id} again, with {difference} votes; the row {earlier} is dropped")
        seen[sample.id] = (where, sample)
    return [sample for _, sample in seen.values()]


def read_face(dataset: Dataset, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
    """A face as RGB, of its own size; a photo is shrunk to 262,144 pixels, a square of 512.

    Raises:
        ImageError: it cannot be read.
    """
    return shrink_to(dataset.image(sample), LARGEST_SIDE**2)[0]


def stack_faces(
    dataset: Dataset,
    samples: Sequence[Sample],
    channels: int = 1,
    size: int | None = None,
    progress: Progress = silent,
) -> UInt8[np.ndarray, "n side side c"]:
    """The faces of the samples in memory, grey (1 channel, Rec. 601 luma as Pillow computes it) or RGB (3).

    Faces of another size are resized with antialiasing; ``size`` None takes the size that all faces share.
    ``progress`` is called with the faces read so far and in all.

    Raises:
        DataError: some faces cannot be read (all of them are counted, the first few named), ``size`` is None and
            the faces are not square or not of one size, or the dataset holds stills.
    """
    require_framed(dataset)
    rows = cached_rows(dataset, samples, channels, size)
    if rows is not None:
        assert dataset.cache is not None
        return np.asarray(dataset.cache[rows])
    faces = np.empty((0, size or 0, size or 0, channels), dtype=np.uint8)
    unread: list[ImageError] = []
    sizes: Counter[str] = Counter()
    for index, sample in enumerate(samples):  # in one thread: for faces of 48 pixels, several were measured slower
        try:
            face = fit(dataset.image(sample), channels, size)
        except ImageError as error:
            unread.append(error)
        else:
            sizes[f"{face.shape[1]}x{face.shape[0]}"] += 1
            if len(faces) == 0:
                faces = np.empty((len(samples), *face.shape), dtype=np.uint8)
            if face.shape == faces.shape[1:]:
                faces[index] = face
        progress(index + 1, len(samples))
    require_read(unread, samples)
    if len(sizes) > 1 or faces.shape[1] != faces.shape[2]:
        found = first_few(f"{count} of {name}" for name, count in sizes.most_common())
        raise DataError(
            f"{dataset.path}: expected square faces of one size, got {found}; ranfer data prepare gives them one"
        )
    return faces


def require_framed(dataset: Dataset) -> None:
    """Refuse stills, whose faces must be found first.

    Raises:
        DataError: the dataset holds stills; the message says what to do.
    """
    if dataset.stills:
        raise DataError(
            f"{dataset.path}: these are film stills, whose faces must be found first: ranfer data prepare "
            f"{dataset.name}:{dataset.path} --out FILE.jsonl, then use manifest:FILE.jsonl"
        )


def require_read(unread: Sequence[ImageError | str], samples: Sequence[Sample]) -> None:
    """Refuse to go on without the faces that could not be read.

    Raises:
        DataError: there are some; all are counted, the first few named.
    """
    if unread:
        raise DataError(f"{len(unread)} of {len(samples)} faces cannot be read: {first_few(unread)}")


def cached_rows(
    dataset: Dataset, samples: Sequence[Sample], channels: int, size: int | None
) -> Int[np.ndarray, " n"] | None:
    """The rows of the samples in the dataset's cache; None where it does not hold them all, so wide and so coloured."""
    cache = dataset.cache
    if cache is None or cache.shape[3] != channels or size not in (None, cache.shape[1]):
        return None
    rows = np.array([int(sample.location.member or 0) for sample in samples], dtype=np.int64)
    return None if dataset.broken.intersection(rows.tolist()) else rows


def fit(face: UInt8[np.ndarray, "h w 3"], channels: int, size: int | None) -> UInt8[np.ndarray, "a b c"]:
    """A face in grey or colour, square where ``size`` is given, resized with antialiasing."""
    if channels == 3 and size in (None, face.shape[0]) and face.shape[0] == face.shape[1]:
        return face
    picture = Image.fromarray(face)
    if channels == 1:
        picture = picture.convert("L")
    if size is not None and picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)  # Pillow widens the filter where it shrinks
    return np.asarray(picture).reshape(picture.height, picture.width, channels)


def data_hash(
    samples: Sequence[Sample], faces: UInt8[np.ndarray, "m h w c"], rows: Int[np.ndarray, " n"] | None = None
) -> str:
    """A SHA-256 of the ids, votes and pixels of n faces in their order, as 64 hexadecimal digits.

    rows: where each stands among the pixels; None where these are as the samples.
    """
    rows = np.arange(len(faces)) if rows is None else rows
    digest = hashlib.sha256(f"{(len(rows), *faces.shape[1:])}\n".encode())
    for sample, row in zip(samples, rows, strict=True):
        digest.update(f"{sample.id} {sample.votes}\n".encode())
        digest.update(faces[row].tobytes())
    return digest.hexdigest()
