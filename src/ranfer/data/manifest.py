"""Any dataset as one JSONL manifest, and its faces, framed and resized once, as one memory-mapped array beside it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from ranfer.data.dataset import Dataset, Published, cut_face, fit, refuse_overwriting_data
from ranfer.data.labels import MOST_VOTES
from ranfer.data.textfiles import parse_objects, read_lines
from ranfer.errors import ConfigError, DataError, ImageError
from ranfer.faces.align import find_frame
from ranfer.faces.detection import Detector
from ranfer.faces.detectors import weight_files
from ranfer.files import locked, write_text
from ranfer.images import processing
from ranfer.provenance import file_hash
from ranfer.vocab import Expression, Location, Progress, Sample, silent

CHUNK = 256  # faces between two notes of what is done
VERSION = 3  # of how faces are framed and resized: another one makes old caches stale


class _Notes(NamedTuple):
    """What lies beside a cache: that it is whole, and what it was made of.

    key: of the settings and of what the dataset tells of each face.  sha256: of each ``chunk`` of its faces.
    inputs: of what was read besides, as :func:`_inputs` has it.
    """

    key: str
    shape: Sequence[int]
    chunk: int
    source: str
    published: Mapping[str, Published]
    unreadable: int
    missed: int
    sha256: Sequence[str]
    inputs: str


def prepare(
    dataset: Dataset,
    file: Path,
    size: int,
    channels: int = 3,
    detect: Detector | None = None,
    progress: Progress = silent,
) -> tuple[list[str], int]:
    """Write the manifest ``file`` and its cache of n faces; a stopped run goes on where it stopped.

    With a detector the largest face of each picture is found and aligned; where there is none, the whole picture is
    kept as the face, and ``"found": 0`` among its attributes. An unreadable face keeps its line, with the error.
    Faces and lines are written chunk by chunk, in as many threads as there are processors, so that of n faces only
    their samples are in memory. What was prepared with these settings before stands, unless faces were unreadable: then
    all are read again, also where pictures were replaced since.

    Returns:
        A line for each unreadable face, and how many faces the detector missed.

    Raises:
        ConfigError: ``file`` does not end in .jsonl, is one of the dataset's, or holds no manifest or one of other data
            or settings; pictures or the detector have changed since it was prepared; or another run is writing it.
    """
    if file.suffix != ".jsonl":  # the cache is called after it, and two manifests must not share one
        raise ConfigError(f"{file}: expected the name of a manifest, which ends in .jsonl")
    refuse_overwriting_data(manifest_files(file), dataset)
    key, inputs = _key(dataset, size, channels, detect is not None), _inputs(dataset, detect)
    if file.exists():
        if not _is_manifest(file):
            raise ConfigError(f"{file}: holds something else than a manifest; choose another --out")
        with suppress(DataError):  # of a cache that is not whole
            _, notes = _open_cache(file)
            if notes.key != key:
                raise ConfigError(
                    f"{file}: was prepared from other data or with other settings; choose another --out, or remove it"
                )
            if not notes.unreadable:
                if notes.inputs != inputs:
                    raise ConfigError(
                        f"{file}: pictures or the detector have changed since it was prepared; remove it to prepare "
                        "them again, or choose another --out"
                    )
                return [], notes.missed
    file.parent.mkdir(parents=True, exist_ok=True)
    log = _beside(file, ".log")
    log.touch()
    with locked(log):
        shape = (len(dataset.samples), size, size, channels)
        digests = _write_faces(dataset, file, f"{key} {inputs}", shape, detect, progress)
        return _finish(dataset, file, key, inputs, shape, digests)


def _write_faces(
    dataset: Dataset,
    file: Path,
    key: str,
    shape: tuple[int, int, int, int],
    detect: Detector | None,
    progress: Progress,
) -> list[str]:
    """Fill the cache, and the log with a line a chunk, from where both end; gives the hashes of all chunks."""
    log, partial = _beside(file, ".log"), _partial(file)
    going_on = partial.exists() and _key_of(log) == key
    faces = np.lib.format.open_memmap(partial, "r+" if going_on else "w+", np.uint8, None if going_on else shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and no signal while the faces are written
        with partial.open("r+b") as held:
            os.posix_fallocate(held.fileno(), 0, partial.stat().st_size)
    digests = _resume(log, faces, key)
    with log.open("a", encoding="utf-8") as writer, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(len(digests) * CHUNK, len(faces), CHUNK):
            rows = range(start, min(start + CHUNK, len(faces)))
            lines = list(pool.map(lambda row: _frame(dataset, row, faces[row], detect), rows))
            faces.flush()
            digests.append(_hash(faces[start : rows.stop]))
            writer.write(json.dumps({"key": key, "sha256": digests[-1], "lines": lines}) + "\n")
            writer.flush()
            progress(rows.stop, len(faces))
    return digests


def _frame(
    dataset: Dataset, row: int, face: UInt8[np.ndarray, "side side c"], detect: Detector | None
) -> dict[str, Any]:
    """Fill in one face, black where it cannot be read; gives its line of the manifest."""
    sample = dataset.samples[row]
    line = _line(dataset, sample) | {"row": row}
    try:
        picture = dataset.decode(sample.location)
        with processing(str(sample.location)):
            if detect is not None:
                found = max(detect(picture), key=lambda detection: find_frame(detection).side, default=None)
                line["attributes"]["found"] = int(found is not None)
                if found is not None:
                    five = found.landmarks
                    points = None if five is None else tuple((float(x), float(y)) for x, y in five)
                    sample = replace(sample, box=found.box, landmarks=points)
                    line |= {"box": list(map(float, found.box)), "landmarks": points}
            face[:] = fit(cut_face(picture, sample), face.shape[2], face.shape[0])
    except ImageError as error:
        face[:] = 0
        line["error"] = str(error)
    return line


def _finish(
    dataset: Dataset, file: Path, key: str, inputs: str, shape: tuple[int, int, int, int], digests: Sequence[str]
) -> tuple[list[str], int]:
    """Put cache and manifest in place. The notes go first and come last: where they are, the others belong to them."""
    cache, notes, log = (_beside(file, suffix) for suffix in (".npy", ".json", ".log"))
    unreadable = [line["error"] for line in _lines(log) if "error" in line]
    missed = sum(line["attributes"].get("found") == 0 for line in _lines(log))
    told = _Notes(key, shape, CHUNK, dataset.origin, dataset.published, len(unreadable), missed, digests, inputs)
    published = {split: counts._asdict() for split, counts in told.published.items()}
    notes.unlink(missing_ok=True)
    _partial(file).replace(cache)
    write_text(file, (json.dumps(line) + "\n" for line in _lines(log)))
    write_text(notes, json.dumps(told._asdict() | {"published": published}) + "\n")
    log.unlink()
    return unreadable, missed


def _chunks(log: Path) -> Iterator[dict[str, Any]]:
    """What the log holds of each chunk that was written, a torn last line left out."""
    return (chunk for _, chunk in parse_objects(log, read_lines(log), []))


def _key_of(log: Path) -> str | None:
    """The key of the run that began a log; None of an empty or damaged one."""
    try:
        return next(_chunks(log), {}).get("key")
    except DataError:
        return None


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    return (line for chunk in _chunks(log) for line in chunk["lines"])


def _resume(log: Path, faces: UInt8[np.ndarray, "n side side c"], key: str) -> list[str]:
    """The hashes of the chunks that are done, from the first one on; what follows them is cut off the log.

    It is cut in place: the log is what a run holds to keep others out.
    """
    digests: list[str] = []
    end = 0
    with log.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):  # torn
                break
            start = len(digests) * CHUNK
            try:
                chunk = json.loads(line)
                if chunk["key"] != key or chunk["sha256"] != _hash(faces[start : start + CHUNK]):
                    break
            except (ValueError, KeyError, TypeError):  # damaged
                break
            digests.append(chunk["sha256"])
            end += len(line)
        file.truncate(end)
    return digests


def open_manifest(path: Path) -> Dataset:
    """What :func:`prepare` wrote; lines may be taken out or edited. Pixels come from the cache.

    Raises:
        DataError: missing, a malformed line, or a cache that is not as its notes say.
    """
    surprises: list[str] = []
    samples, errors = [], {}
    file = _beside(path, ".npy")
    cache, notes = _open_cache(path)
    seen: dict[str, int] = {}
    shared: dict[tuple[int, ...], tuple[int, ...]] = {}  # votes are equal for many faces: one object serves them
    for number, line in parse_objects(path, read_lines(path), surprises):
        try:
            votes = tuple(int(vote) for vote in line["votes"])
            row, id_ = int(line["row"]), str(line["id"])
            if len(votes) != len(Expression) + 2 or min(votes) < 0 or max(votes) > MOST_VOTES:
                raise ValueError(f"votes {votes}")
            if not 0 <= row < len(cache):
                raise ValueError(f"row {row} of {len(cache)}")
            if seen.setdefault(id_, number) != number:
                raise ValueError(f"{id_} stands in line {seen[id_]} already")
            location = Location(file, str(row))
            split, codes = sys.intern(line["split"]), line.get("attributes") or {}
            if not isinstance(codes, dict):
                raise ValueError(f"attributes {codes!r}")
            samples.append(Sample(id_, split, location, shared.setdefault(votes, votes), codes=codes))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}:{number}: expected an object with id, split, votes and row ({error!r})") from error
        if line.get("error"):
            errors[str(row)] = str(line["error"])
    if not samples:
        raise DataError(f"{path}: no faces are listed here")

    def decode(location: Location) -> UInt8[np.ndarray, "h w 3"]:
        assert location.member is not None
        if location.member in errors:
            raise ImageError(errors[location.member])
        face = np.asarray(cache[int(location.member)])
        return np.repeat(face, 3, axis=2) if face.shape[2] == 1 else face

    return Dataset(
        "manifest",
        path,
        tuple(samples),
        tuple(surprises),
        decode,
        notes.published,
        source=notes.source,
        cache=cache,
        files=manifest_files(path),
        broken=frozenset(map(int, errors)),
    )


def verify(path: Path) -> None:
    """Compare the cache of a manifest with its hashes.

    Raises:
        DataError: some chunks differ; they are counted.
    """
    cache, notes = _open_cache(path)
    starts = range(0, len(cache), notes.chunk)
    pairs = zip(starts, notes.sha256, strict=True)
    wrong = sum(_hash(cache[start : start + notes.chunk]) != digest for start, digest in pairs)
    if wrong:
        raise DataError(f"{_beside(path, '.npy')}: {wrong} of {len(starts)} parts are damaged; prepare the data again")


def _open_cache(path: Path) -> tuple[UInt8[np.ndarray, "n side side c"], _Notes]:
    """The faces of a manifest, mapped from the disk, and the notes beside them.

    Raises:
        DataError: one of them or the manifest is missing, or they are damaged or do not fit each other.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; ranfer data prepare writes it")
    file = _beside(path, ".npy")
    try:
        about = json.loads(_beside(path, ".json").read_text(encoding="utf-8"))
        published = {split: Published(**counts) for split, counts in about["published"].items()}
        notes = _Notes(**about | {"published": published})
        shape = tuple(notes.shape)
        cache = np.load(file, mmap_mode="c", allow_pickle=False)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: no readable cache of faces ({error}); run ranfer data prepare again") from error
    if cache.shape != shape or cache.dtype != np.uint8:
        raise DataError(f"{file}: expected bytes of shape {shape}, got {cache.dtype} of {cache.shape}; prepare again")
    return np.asarray(cache), notes


def _line(dataset: Dataset, sample: Sample) -> dict[str, Any]:
    place = {"id": sample.id, "image": str(sample.location), "box": sample.box, "landmarks": sample.landmarks}
    told = {"votes": sample.votes, "split": sample.split, "attributes": dict(sample.codes)}
    return place | told | {"source": dataset.origin}


def _key(dataset: Dataset, size: int, channels: int, found: bool) -> str:
    digest = hashlib.sha256(json.dumps([VERSION, CHUNK, size, channels, found]).encode())
    for sample in dataset.samples:
        digest.update(json.dumps(_line(dataset, sample)).encode())
    return digest.hexdigest()


def _inputs(dataset: Dataset, detect: Detector | None) -> str:
    """A hash of the detector, and of the size and time of change of each file that holds pictures."""
    found = None if detect is None else [type(detect).__name__, *map(file_hash, weight_files("ranfer"))]
    digest = hashlib.sha256(json.dumps(found).encode())
    for path in dict.fromkeys(sample.location.path for sample in dataset.samples):
        try:
            told = path.stat()
        except OSError:  # which is told when the picture is read
            digest.update(b"none\n")
        else:
            digest.update(f"{told.st_size} {told.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _hash(faces: UInt8[np.ndarray, "m side side c"]) -> str:
    return hashlib.sha256(np.ascontiguousarray(faces).data).hexdigest()


def manifest_files(path: Path) -> list[Path]:
    """A manifest, its cache and the notes of that."""
    return [path, _beside(path, ".npy"), _beside(path, ".json")]


def _is_manifest(file: Path) -> bool:
    try:
        _, line = next(parse_objects(file, read_lines(file), []), (0, dict[str, Any]()))
    except DataError:
        return False
    return line.keys() >= {"id", "votes", "row"}


def _beside(file: Path, suffix: str) -> Path:
    return file.with_suffix(".faces" + suffix)


def _partial(file: Path) -> Path:
    """The cache while it is filled."""
    return _beside(file, ".npy.partial")
