"""A dataset as every other file sees it: labelled faces, where their pixels are, and what was odd about the files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranfer.errors import DataError, ImageError
from ranfer.vocab import Location, Sample


class Published(NamedTuple):
    """How many faces a split has by its authors, and how many of them the majority rule keeps."""

    faces: int
    majority: int


@dataclass(frozen=True)
class Dataset:
    """Labelled faces in a fixed order: by split, then by id.

    name: the format, as in ``ferplus:PATH``.  path: what was opened.
    samples: every face once; ids are unique over all splits.
    surprises: each oddity met while reading that is no error, with its file and line.
    decode: the pixels that lie at a location, RGB; raises ImageError.
    published: for the splits whose size is known from their authors.
    """

    name: str
    path: Path
    samples: tuple[Sample, ...]
    surprises: tuple[str, ...]
    decode: Callable[[Location], UInt8[np.ndarray, "h w 3"]] = field(repr=False)
    published: Mapping[str, Published] = field(default_factory=dict, repr=False)

    def image(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """The face of a sample as RGB.

        Raises:
            ImageError: it cannot be read; the message names its location.
        """
        return self.decode(sample.location)

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


def first_few(items: Iterable[object], shown: int = 3) -> str:
    """``a, b, c and 17 more``: how messages name many things."""
    names = [str(item) for item in items]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def stack_faces(
    dataset: Dataset,
    samples: Sequence[Sample],
    channels: int = 1,
    size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> UInt8[np.ndarray, "n side side c"]:
    """The faces of the samples in memory, grey (1 channel, Rec. 601 luma as Pillow computes it) or RGB (3).

    Faces of another size are resized with antialiasing; ``size`` None takes the size that all faces share.
    ``progress`` is called with the number of faces read so far.

    Raises:
        DataError: some faces cannot be read (all of them are counted, the first few named), or ``size`` is None and
            the faces are not square or not of one size.
    """
    faces = np.empty((0, size or 0, size or 0, channels), dtype=np.uint8)
    unread: list[ImageError] = []
    sizes: Counter[str] = Counter()
    for index, sample in enumerate(samples):  # in one thread: for faces of 48 pixels, several were measured slower
        try:
            face = _fit(dataset.image(sample), channels, size)
        except ImageError as error:
            unread.append(error)
        else:
            sizes[f"{face.shape[1]}x{face.shape[0]}"] += 1
            if len(faces) == 0:
                faces = np.empty((len(samples), *face.shape), dtype=np.uint8)
            if face.shape == faces.shape[1:]:
                faces[index] = face
        if progress is not None:
            progress(index + 1)
    if unread:
        raise DataError(f"{len(unread)} of {len(samples)} faces cannot be read: {first_few(unread)}")
    if len(sizes) > 1 or faces.shape[1] != faces.shape[2]:
        found = first_few(f"{count} of {name}" for name, count in sizes.most_common())
        raise DataError(f"{dataset.path}: expected square faces of one size, or a size to give them; got {found}")
    return faces


def _fit(face: UInt8[np.ndarray, "h w 3"], channels: int, size: int | None) -> UInt8[np.ndarray, "a b c"]:
    if channels == 3 and size in (None, face.shape[0]) and face.shape[0] == face.shape[1]:
        return face
    picture = Image.fromarray(face)
    if channels == 1:
        picture = picture.convert("L")
    if size is not None and picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)  # Pillow widens the filter where it shrinks
    return np.asarray(picture).reshape(picture.height, picture.width, channels)


def data_hash(samples: Sequence[Sample], faces: UInt8[np.ndarray, "n h w c"]) -> str:
    """A SHA-256 of the ids, votes and pixels of faces in their order, as 64 hexadecimal digits."""
    digest = hashlib.sha256(f"{faces.shape}\n".encode())
    for sample, face in zip(samples, faces, strict=True):
        digest.update(f"{sample.id} {sample.votes}\n".encode())
        digest.update(face.tobytes())
    return digest.hexdigest()
