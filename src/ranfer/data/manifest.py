"""Any dataset as one JSONL manifest, and its faces, framed and resized once, as one memory-mapped array beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ranfer.data.dataset import Dataset, cut_face, fit
from ranfer.data.tables import jsonl_rows
from ranfer.errors import DataError, ImageError
from ranfer.faces.detect import Detection, Detector
from ranfer.vocab import Location, Sample

CHUNK = 256  # faces between two notes of what is done
VERSION = 1  # of how faces are framed and resized: another one makes old caches stale


def prepare(
    dataset: Dataset,
    file: Path,
    size: int,
    channels: int = 3,
    detect: Detector | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[str], int]:
    """Write the manifest ``file`` and its cache of n faces; a stopped run goes on where it stopped.

    With a detector the largest face of each picture is found and aligned; where there is none, the whole picture is
    kept as the face, and ``"found": 0`` among its attributes. An unreadable face keeps its line, with the error.
    Memory stays constant: faces are written chunk by chunk, in as many threads as there are processors.

    Returns:
        A line for each unreadable face, and how many faces the detector missed.
    """
    key = _key(dataset, size, channels, detect is not None)
    cache, notes = _beside(file, ".npy"), _beside(file, ".json")
    partial, log = cache.with_name(cache.name + ".partial"), _beside(file, ".log")
    file.parent.mkdir(parents=True, exist_ok=True)
    done: dict[int, dict[str, Any]] = {}
    shape = (len(dataset.samples), size, size, channels)
    if log.exists() and partial.exists():
        for _, line in jsonl_rows(log, []):
            if line["key"] == key:
                done[line["chunk"]] = line
    faces = np.lib.format.open_memmap(partial, "r+" if done else "w+", dtype=np.uint8, shape=None if done else shape)
    log.write_text("".join(json.dumps(line) + "\n" for line in done.values()), encoding="utf-8")

    def one(index: int) -> dict[str, Any]:
        sample = dataset.samples[index]
        line: dict[str, Any] = _line(dataset, sample) | {"row": index}
        try:
            picture = dataset.decode(sample.location)
            if detect is not None:
                found = max(detect(picture), key=_area, default=None)
                line["attributes"]["found"] = int(found is not None)
                if found is not None:
                    points = (
                        None if found.landmarks is None else tuple((float(x), float(y)) for x, y in found.landmarks)
                    )
                    sample = replace(sample, box=found.box, landmarks=points)
                    line |= {"box": list(map(float, found.box)), "landmarks": sample.landmarks}
            faces[index] = fit(cut_face(picture, sample), channels, size)
        except ImageError as error:
            faces[index] = 0
            line["error"] = str(error)
        return line

    with log.open("a", encoding="utf-8") as writer, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(dataset.samples), CHUNK):
            stop = min(start + CHUNK, len(dataset.samples))
            if start not in done or done[start]["sha256"] != _hash(faces[start:stop]):
                lines = list(pool.map(one, range(start, stop)))
                faces.flush()
                done[start] = {"key": key, "chunk": start, "sha256": _hash(faces[start:stop]), "lines": lines}
                writer.write(json.dumps(done[start]) + "\n")
                writer.flush()
            if progress is not None:
                progress(stop)
    lines = [line for start in sorted(done) for line in done[start]["lines"]]
    about = {"key": key, "shape": shape, "chunk": CHUNK, "sha256": [done[start]["sha256"] for start in sorted(done)]}
    del faces
    partial.replace(cache)
    _write(notes, json.dumps(about) + "\n")
    _write(file, "".join(json.dumps(line) + "\n" for line in lines))
    log.unlink()
    missed = sum(line["attributes"].get("found") == 0 for line in lines)
    return [line["error"] for line in lines if "error" in line], missed


def open_manifest(path: Path) -> Dataset:
    """What :func:`prepare` wrote; lines may be taken out or edited. Pixels come from the cache where it is there.

    Raises:
        DataError: missing, a malformed line, or a cache that is not as its notes say.
    """
    surprises: list[str] = []
    samples, errors = [], {}
    for where, line in jsonl_rows(path, surprises):
        try:
            location = Location(path.with_name(_beside(path, ".npy").name), str(int(line["row"])))
            votes = tuple(int(vote) for vote in line["votes"])
            samples.append(Sample(line["id"], line["split"], location, votes, codes=line.get("attributes", {})))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: expected an object with id, split, votes and row ({error!r})") from error
        if "error" in line:
            errors[str(line["row"])] = line["error"]
    if not samples:
        raise DataError(f"{path}: no faces are listed here")
    cache = _cache(path)

    def decode(location: Location) -> UInt8[np.ndarray, "h w 3"]:
        assert location.member is not None
        if location.member in errors:
            raise ImageError(errors[location.member])
        face = np.asarray(cache[int(location.member)])
        return np.repeat(face, 3, axis=2) if face.shape[2] == 1 else face

    return Dataset(
        "manifest", path, tuple(samples), tuple(surprises), decode, cache=cache, broken=frozenset(map(int, errors))
    )


def verify(path: Path) -> None:
    """Compare the cache of a manifest with its hashes.

    Raises:
        DataError: some chunks differ; they are counted.
    """
    cache, about = _cache(path), json.loads(_beside(path, ".json").read_text(encoding="utf-8"))
    starts = range(0, len(cache), about["chunk"])
    pairs = zip(starts, about["sha256"], strict=True)
    wrong = sum(_hash(cache[start : start + about["chunk"]]) != digest for start, digest in pairs)
    if wrong:
        raise DataError(f"{_beside(path, '.npy')}: {wrong} of {len(starts)} parts are damaged; prepare the data again")


def _cache(path: Path) -> UInt8[np.ndarray, "n side side c"]:
    file, notes = _beside(path, ".npy"), _beside(path, ".json")
    try:
        shape = tuple(json.loads(notes.read_text(encoding="utf-8"))["shape"])
        cache = np.load(file, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{file}: no readable cache of faces ({error}); run ranfer data prepare again") from error
    if cache.shape != shape or cache.dtype != np.uint8:
        raise DataError(f"{file}: expected bytes of shape {shape}, got {cache.dtype} of {cache.shape}; prepare again")
    return np.asarray(cache)


def _line(dataset: Dataset, sample: Sample) -> dict[str, Any]:
    place = {"id": sample.id, "image": str(sample.location), "box": sample.box, "landmarks": sample.landmarks}
    told = {"votes": sample.votes, "split": sample.split, "attributes": dict(sample.codes)}
    return place | told | {"source": dataset.name}


def _key(dataset: Dataset, size: int, channels: int, found: bool) -> str:
    digest = hashlib.sha256(json.dumps([VERSION, CHUNK, size, channels, found]).encode())
    for sample in dataset.samples:
        digest.update(json.dumps(_line(dataset, sample)).encode())
    return digest.hexdigest()


def _hash(faces: UInt8[np.ndarray, "m side side c"]) -> str:
    return hashlib.sha256(np.ascontiguousarray(faces).data).hexdigest()


def _area(found: Detection) -> float:
    left, top, right, bottom = found.box
    return (right - left) * (bottom - top)


def _beside(file: Path, suffix: str) -> Path:
    return file.with_suffix(".faces" + suffix)


def _write(file: Path, text: str) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
