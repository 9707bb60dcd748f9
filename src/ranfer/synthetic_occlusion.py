"""How answers change as more of a face is covered: things of growing size drawn over a sample of faces.

What is drawn over a face depends only on its id and the kind of thing, and its size on the share; so every model sees
the same faces, today and elsewhere. A model that cannot run here gets them as pictures, and answers in a CSV.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from ranfer.answers import BATCH, Predictor, Source, as_source
from ranfer.data.dataset import Dataset, first_few, require_read, stack_faces
from ranfer.data.textfiles import to_jsonl
from ranfer.errors import ConfigError, DataError, ImageError
from ranfer.evaluate import labelled, sharing
from ranfer.faces.attributes import AttributeModel
from ranfer.files import write_text
from ranfer.occluders import Kind, occlude
from ranfer.provenance import revision
from ranfer.vocab import Expression, Progress, Sample, face_id, silent

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # of the face's oval
NEAR = 0.02  # a share counts as reached where the faces' mean comes as near as this
# Below, above, over the eyes, from the side, and anywhere.
KINDS = (Kind.SURGICAL_MASK, Kind.HAND_ON_MOUTH, Kind.FRINGE, Kind.SUNGLASSES, Kind.CURTAIN, Kind.BLOCK)
MANIFEST = "covered.jsonl"


def parse_kinds(text: str) -> tuple[Kind, ...]:
    """Kinds by their names, joined by commas, or ``all``; ``KINDS`` where the text is empty.

    Raises:
        ConfigError: no kind is called so; the message lists them.
    """
    if text in ("", "all"):
        return tuple(Kind) if text else KINDS
    try:
        return tuple(dict.fromkeys(Kind(name.strip().replace("-", " ")) for name in text.split(",")))
    except ValueError as error:
        raise ConfigError(f"{text}: {error}; there are {', '.join(Kind)}") from None


@dataclass(frozen=True)
class Subjects:
    """The n faces of the test and their labels; things are placed by their landmarks.

    unreadable: why other faces were skipped, a line each.  expressions: those that answers are to be among.
    """

    ids: tuple[str, ...]
    truth: Int[np.ndarray, " n"]
    faces: UInt8[np.ndarray, "n h w 3"]
    landmarks: Float[np.ndarray, "n 5 2"]  # in fractions of the face
    placed: str  # by which landmarks, in words
    unreadable: tuple[str, ...] = ()
    expressions: tuple[Expression, ...] = tuple(Expression)

    def among(self, expressions: Sequence[Expression]) -> Subjects:
        """Those of some expressions.

        Raises:
            ConfigError: none is.
        """
        kept = np.isin(self.truth, [expression.column for expression in expressions])
        if not kept.any():
            raise ConfigError(f"covered faces: none of them is one of {', '.join(expressions)}; take more")
        ids = tuple(id_ for id_, keep in zip(self.ids, kept, strict=True) if keep)
        arrays = {name: getattr(self, name)[kept] for name in ("truth", "faces", "landmarks")}
        return replace(self, ids=ids, expressions=tuple(expressions), **arrays)


class Covered(NamedTuple):
    """All faces under one kind of thing that was to cover one share; kind None, share 0: the faces as they are."""

    kind: Kind | None
    share: float
    faces: UInt8[np.ndarray, "n h w 3"]
    covered: Float[np.ndarray, " n"]  # the share of each face that is really covered


@dataclass(frozen=True)
class OcclusionResult:
    """What m models said of n faces under k kinds of things at s shares.

    covered: the share of each face that was really covered; plain, predicted: columns of expressions, without and
        with the thing.
    """

    ids: tuple[str, ...]
    truth: Int[np.ndarray, " n"]
    kinds: tuple[Kind, ...]
    shares: tuple[float, ...]
    covered: Float[np.ndarray, "k s n"]
    plain: Int[np.ndarray, "m n"]
    predicted: Int[np.ndarray, "m k s n"]
    placed: str

    @property
    def reached(self) -> Bool[np.ndarray, "k s"]:
        """Whether the faces' mean share under a kind is the one that was asked for."""
        return np.asarray(np.abs(self.covered.mean(axis=2) - self.shares) <= NEAR)

    @property
    def graded(self) -> tuple[Kind, ...]:
        """The kinds that reach every share: only means over these compare one share with another."""
        return tuple(kind for kind, reached in zip(self.kinds, self.reached, strict=True) if reached.all())

    @property
    def mean_right(self) -> Float[np.ndarray, "m s n"]:
        """For each face and share, under how many of the graded kinds the answer is right, 0 to 1."""
        rows = [self.kinds.index(kind) for kind in self.graded]
        return np.asarray((self.predicted[:, rows] == self.truth).mean(axis=1))


def prepare_subjects(
    dataset: Dataset,
    split: str,
    rule: str,
    count: int,
    kinds: Sequence[Kind] = KINDS,
    models: Sequence[Predictor | Source] = (),
    only_shared: bool = False,
) -> Subjects:
    """The faces on which models are to be tested: ``count`` of those of a split that the rule has a label for.

    With ``only_shared`` these and the answers are of expressions that the split and all models share.

    Raises:
        ConfigError: as :func:`~ranfer.evaluate.labelled`, or no face is left.
        DataError: no face can be read, or a file of predictions has no row for a covered face.
    """
    faces, sources = labelled(dataset, split, rule), list(map(as_source, models))
    subjects = choose(dataset, faces.samples, faces.truth, count)
    subjects = subjects.among(sharing(faces, sources, only_shared).evaluated)
    ids = [covered_id(face, kind, share) for kind, share, face in product(kinds, SHARES, subjects.ids)]
    for source in sources:
        try:
            source.require(ids)
        except DataError as error:
            raise DataError(f"{error}; ranfer data cover writes covered faces for other programs") from None
    return subjects


def choose(
    dataset: Dataset,
    samples: Sequence[Sample],
    truth: Int[np.ndarray, " n"],
    count: int,
) -> Subjects:
    """The ``count`` readable faces among labelled samples whose ids have the least SHA-256, in their order.

    The choice of a face depends on no other face, so that samples of two sizes, or of data with and without some
    faces, overlap as far as they can. Landmarks come from the attribute model.

    Raises:
        ConfigError: there are no samples.
        DataError: no face can be read, or they are not square and of one size.
    """
    if not samples:
        raise ConfigError("covered faces: the split has no face with a label to test with")
    hashes = [hashlib.sha256(sample.id.encode()).digest() for sample in samples]
    rows: list[int] = []
    unreadable: list[str] = []
    for row in sorted(range(len(hashes)), key=hashes.__getitem__):
        if len(rows) == count:
            break
        try:
            dataset.image(samples[row])
        except ImageError as error:
            unreadable.append(str(error))
        else:
            rows.append(row)
    if not rows:
        require_read(unreadable, samples)
    rows.sort()
    chosen = [samples[row] for row in rows]
    faces = stack_faces(dataset, chosen, channels=3)
    model = AttributeModel()
    landmarks = np.concatenate([model(faces[i : i + BATCH]).landmarks for i in range(0, len(faces), BATCH)])
    placed = f"each face's own, as the attribute model {model.description['sha256'][:12]} sees them"
    ids = tuple(sample.id for sample in chosen)
    return Subjects(ids, truth[rows], faces, landmarks, placed, tuple(unreadable))


def cover(subjects: Subjects, kinds: Sequence[Kind] = KINDS, shares: Sequence[float] = SHARES) -> Iterator[Covered]:
    """The faces as they are, and then under each kind of thing at each share."""
    yield Covered(None, 0.0, subjects.faces, np.zeros(len(subjects.ids)))
    for kind in kinds:
        for share in shares:
            faces, covered = np.empty_like(subjects.faces), np.empty(len(subjects.ids))
            for row, (id_, face) in enumerate(zip(subjects.ids, subjects.faces, strict=True)):
                seed = hashlib.sha256(f"{id_} {kind}".encode()).digest()[:8]
                points = subjects.landmarks[row].astype(float)
                if (face == face[..., :1]).all():  # what covers a grey face is grey
                    face = face[..., :1]
                found = occlude(face, kind, np.random.default_rng(int.from_bytes(seed)), points, share)
                faces[row], covered[row] = found.face, found.share
            yield Covered(kind, share, faces, covered)


def covered_id(face: str, kind: Kind | None, share: float) -> str:
    """The id of a covered face, which is the name of its picture and its id in a file of predictions.

    >>> covered_id("fer0028638", Kind.SURGICAL_MASK, 0.3)
    'fer0028638.surgical-mask.30'
    """
    return face if kind is None else f"{face}.{kind.replace(' ', '-')}.{100 * share:.0f}"


def write_covered(
    subjects: Subjects,
    kinds: Sequence[Kind],
    folder: Path,
    about: Mapping[str, Any],
    progress: Progress = silent,
) -> int:
    """Write the covered faces as PNG, for a model that cannot run here; returns how many.

    ``covered.jsonl``, written last, holds of each its id, file, face, kind, and the share that was asked for and that
    was reached. The faces without a thing are not among them. What a stopped call left is drawn again. ``progress`` is
    called with the pictures done and in all.

    Raises:
        DataError: an id that is not the name of a file, or a folder that holds something else already.
    """
    own = {f"{covered_id(*names)}.png" for names in product(subjects.ids, kinds, SHARES)}
    if folder.exists() and any(path.name not in own for path in folder.iterdir()):
        raise DataError(f"{folder}: holds files already, which would mix with the covered faces; name another folder")
    if bad := [face for face in subjects.ids if face_id(f"{face}.png") != face]:
        raise DataError(f"covered faces: ids are to be names of files, and these are not: {first_few(bad)}")
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = [{"about": {**about, "landmarks": subjects.placed, "ranfer": revision()}}]
    for cell in cover(subjects, kinds):
        if cell.kind is None:
            continue
        for face, pixels, covered in zip(subjects.ids, cell.faces, cell.covered.tolist(), strict=True):
            id_ = covered_id(face, cell.kind, cell.share)
            Image.fromarray(pixels).save(folder / f"{id_}.png")
            said = {"kind": cell.kind.value, "share": cell.share, "covered": round(covered, 4)}
            lines.append({"id": id_, "image": f"{id_}.png", "face": face, **said})
        progress(len(lines) - 1, len(own))
    write_text(folder / MANIFEST, to_jsonl(lines))
    return len(lines) - 1


def answer_covered(
    models: Sequence[Predictor | Source],
    subjects: Subjects,
    kinds: Sequence[Kind] = KINDS,
    shares: Sequence[float] = SHARES,
    *,
    cells: Iterable[Covered] | None = None,
    progress: Progress = silent,
) -> OcclusionResult:
    """What models answer about the subjects' faces under each kind of thing at each share.

    ``cells`` are those of :func:`cover`, where they are drawn already. A file of predictions is looked up by
    :func:`covered_id`. ``progress`` is called with the covered faces done and in all.

    Raises:
        DataError: a file of predictions has no row for a face.
        RanferError: a model returns something other than probabilities.
    """
    sources, total = list(map(as_source, models)), len(subjects.ids) * (1 + len(kinds) * len(shares))
    said: dict[tuple[Kind | None, float], tuple[np.ndarray, np.ndarray]] = {}
    for cell in cover(subjects, kinds, shares) if cells is None else cells:
        names = [covered_id(face, cell.kind, cell.share) for face in subjects.ids]
        answers = [source.look(cell.faces, subjects.ids, names).among(subjects.expressions) for source in sources]
        said[cell.kind, cell.share] = cell.covered, np.stack([answer.predicted for answer in answers])
        progress(len(said) * len(subjects.ids), total)
    (_, plain), *_ = said.values()
    covered = np.stack([np.stack([said[kind, share][0] for share in shares]) for kind in kinds])
    predicted = np.stack([np.stack([said[kind, share][1] for share in shares], 1) for kind in kinds], 1)
    return OcclusionResult(
        subjects.ids, subjects.truth, tuple(kinds), tuple(shares), covered, plain, predicted, subjects.placed
    )
