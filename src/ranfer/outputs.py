"""Predictions as files: ``predictions.jsonl``, which grows line by line and is gone on with, and tables made of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from ranfer.errors import ConfigError, DataError
from ranfer.provenance import revision
from ranfer.recognize import Face, Region
from ranfer.regions import LANDMARKS
from ranfer.vocab import ESTIMATED, Attributes, Box, Expression, Occlusion

LINES, ABOUT = "predictions.jsonl", "predictions.meta.json"
Format = Literal["jsonl", "csv", "parquet"]
CHUNK = 1000  # lines of a table that are in memory at once
# The order of py-feat's columns, with contempt at the end.
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")


def to_lines(source: str, faces: Sequence[Face]) -> list[dict[str, Any]]:
    """A line a face, in the form of ``predictions.jsonl``; a picture without any has one line, whose box is null."""
    where = {"source": source, "frame": 0, "time": None, "track": None}
    return [where | _values(face) for face in faces] or [where | dict.fromkeys(_KEYS)]


_KEYS = (
    *("box", "score", "landmarks", "expression", "probability", "probabilities", "regions"),
    *("yaw", "pitch", "roll", "occlusion", "trusted", "reason"),
)


def _values(face: Face) -> dict[str, Any]:
    values: dict[str, Any] = {key: getattr(face, key) for key in _KEYS}
    values |= {
        "box": [round(side, 2) for side in face.box],
        "score": round(face.score, 4),
        "probability": round(face.probability, 6),
        "probabilities": {name.value: round(value, 6) for name, value in face.probabilities.items()},
        "regions": [
            {"name": region.name, "box": [round(side, 4) for side in region.box], "weight": round(region.weight, 6)}
            | ({} if region.visible is None else {"visible": round(region.visible, 4)})
            for region in face.regions
        ],
    }
    for name in ("yaw", "pitch", "roll"):
        values[name] = None if values[name] is None else round(values[name], 2)
    if face.occlusion is not None:
        values["occlusion"] = {kind.value: round(p, 4) for kind, p in face.occlusion.items()}
        values["occlusion"]["none"] = round(Attributes(face.occlusion).none, 4)
    if face.landmarks is not None:
        values["landmarks"] = [[round(x, 2), round(y, 2)] for x, y in face.landmarks]
    if face.feature is not None:
        values["feature"] = [float(f"{value:.7g}") for value in face.feature.tolist()]
    return values


def to_face(line: Mapping[str, Any]) -> Face:
    """The face that a line tells of; the line must have a box."""
    occlusion, feature = line["occlusion"], line.get("feature")
    return Face(
        box=tuple(line["box"]),
        score=line["score"],
        landmarks=None if line["landmarks"] is None else tuple((x, y) for x, y in line["landmarks"]),
        expression=Expression(line["expression"]),
        probability=line["probability"],
        probabilities={Expression(name): value for name, value in line["probabilities"].items()},
        regions=tuple(
            Region(region["name"], Box(*region["box"]), region["weight"], region.get("visible"))
            for region in line["regions"]
        ),
        trusted=line["trusted"],
        reason=line["reason"],
        yaw=line["yaw"],
        pitch=line["pitch"],
        roll=line["roll"],
        occlusion=None if occlusion is None else {Occlusion(k): p for k, p in occlusion.items() if k != "none"},
        feature=None if feature is None else np.array(feature, dtype=np.float32),
    )


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a ``predictions.jsonl``.

    Raises:
        DataError: a line that is not of this form; the message names it.
    """
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            yield _parse(text, f"{path}:{number}")


def read_pictures(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The lines of a ``predictions.jsonl``, those of a source together."""
    group: list[dict[str, Any]] = []
    for line in read_lines(path):
        if group and group[0]["source"] != line["source"]:
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: expected a JSON object a line ({error})") from None
    if not isinstance(line, dict) or not isinstance(line.get("source"), str) or not line.keys() & {"box", "error"}:
        raise DataError(f"{where}: expected a line with source and box, or source and error")
    if line.get("box") is not None and (lacking := [key for key in _KEYS if key not in line]):
        raise DataError(f"{where}: a face without {lacking[0]}; remove the line to have its picture judged again")
    return line


class Results:
    """The growing ``predictions.jsonl`` of a folder, and what has been done of it by an earlier run.

    Beside it, ``predictions.meta.json`` remembers the settings that the answers depend on. The last source of an
    earlier run is taken off where it is done again or was torn: it may have had more faces than were written.

    Args:
        settings: plain values by name; those of an earlier run must be the same.
        about: what else to remember for the reader.
        again: the sources of this run.

    Raises:
        ConfigError: the earlier run had other settings.
        DataError: the folder's predictions are of no known form.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], about: Mapping[str, Any], again: Container[str] = ()
    ) -> None:
        self.path = folder / LINES
        self.done: dict[str, str | None]  # by source: why it could not be read, or None
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size:
            _check_settings(folder, settings)
            self.done, end = _done(self.path, again)
        else:
            self.done, end = {}, 0
            text = json.dumps({"settings": settings, "ranfer": revision(), "model": about}, indent=2)
            partial = folder / (ABOUT + ".partial")
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(folder / ABOUT)
        self._file = self.path.open("ab")
        self._file.truncate(end)

    def write(self, source: str, faces: Sequence[Face]) -> None:
        """Append what was found in a picture; it is out of our hands on return."""
        self._append(source, to_lines(source, faces), None)

    def write_error(self, source: str, message: str) -> None:
        """Append that an input could not be read."""
        self._append(source, [{"source": source, "error": message}], message)

    def _append(self, source: str, lines: Sequence[Mapping[str, Any]], error: str | None) -> None:
        # ASCII, because the name of a file need not be valid in any encoding.
        self._file.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode("ascii"))
        self._file.flush()
        self.done[source] = error

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    cure = f"choose another --out, or remove {folder / LINES} to start anew"
    try:
        earlier = dict(json.loads((folder / ABOUT).read_bytes())["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / ABOUT}: how {LINES} was made cannot be read ({error}); {cure}") from None
    differing = [name for name in {**earlier, **settings} if earlier.get(name) != settings.get(name)]
    if differing:
        changes = "; ".join(f"{name}: {_short(earlier, name)}, now {_short(settings, name)}" for name in differing)
        raise ConfigError(f"{folder / LINES} was made with other settings ({changes}): {cure}")


def _short(settings: Mapping[str, Any], name: str) -> str:
    value = str(settings.get(name))
    return value[:8] if name == "weights" else value  # of a hash, the beginning tells enough


def _done(path: Path, again: Container[str]) -> tuple[dict[str, str | None], int]:
    """The sources that are done with their errors, in their order, and the byte at which they end."""
    done: dict[str, str | None] = {}
    last: dict[str, Any] | None = None
    end = start = 0
    torn = False
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if torn := not text.endswith(b"\n"):
                break
            line = _parse(text, f"{path}:{number}")
            if last is None or line["source"] != last["source"]:
                if last is not None:
                    done[last["source"]] = last.get("error")
                end = start
            last = line
            start += len(text)
    if last is not None and not torn and last["source"] not in again:
        done[last["source"]], end = last.get("error"), start
    return done, end


def check_format(form: Format) -> None:
    """Say at once, and not after an hour of computing, that a table cannot be written.

    Raises:
        ConfigError: Parquet without pyarrow.
    """
    if form == "parquet" and find_spec("pyarrow") is None:
        raise ConfigError("--format parquet needs pyarrow: pip install 'ranfer[parquet]'")


def write_table(lines: Path, form: Format, classes: Iterable[Expression], regions: Sequence[str]) -> Path:
    """A CSV or Parquet file beside a ``predictions.jsonl``, a row a line; gives its path.

    Columns have the names that py-feat gives them where it has them: ``input``, ``frame``, ``FaceRectX`` to
    ``FaceScore``, ``Pitch``, ``Roll``, ``Yaw``, and the emotions. Its landmarks are 68 others than our five, which
    therefore have names of their own. Features are in Parquet only, as a list.
    """
    path = lines.with_suffix("." + form)
    partial = path.with_name(path.name + ".partial")
    columns = _columns(set(classes), regions)
    rows = map(_row, read_lines(lines))
    if form == "csv":
        # Names of files that are no text are written with escapes, as a CSV file has to be UTF-8.
        with partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    else:
        _write_parquet(partial, columns, rows)
    partial.replace(path)
    return path


def _write_parquet(path: Path, columns: Mapping[str, type], rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    typed = [(name, kinds[kind]) for name, kind in columns.items()]
    schema = pyarrow.schema([*typed, ("feature", pyarrow.list_(pyarrow.float32()))])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while chunk := list(islice(rows, CHUNK)):
            for row in chunk:
                row["input"] = row["input"].encode("utf-8", "backslashreplace").decode()
            writer.write_batch(pyarrow.RecordBatch.from_pylist(chunk, schema=schema))


def _columns(classes: set[Expression], regions: Sequence[str]) -> dict[str, type]:
    rectangle = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore")
    emotions = [name for name in EMOTIONS if Expression(name) in classes]
    numbers = [*rectangle, *_point_columns(), "Pitch", "Roll", "Yaw", *emotions, "probability"]
    numbers += [f"occlusion_{kind}" for kind in (*ESTIMATED, "none")]
    weights = [_weight_column(name) for name in regions]
    return {
        "input": str,
        "frame": int,
        **dict.fromkeys(numbers, float),
        "expression": str,
        "trusted": bool,
        "reason": str,
        **dict.fromkeys(weights, float),
        "time": float,
        "track": int,
        "error": str,
    }


def _point_columns() -> list[str]:
    return [f"{point.replace(' ', '_')}_{axis}" for point in LANDMARKS for axis in "xy"]


def _weight_column(region: str) -> str:
    return "weight_" + region.replace(" ", "_")


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    row = {
        name: line.get(name) for name in ("expression", "probability", "trusted", "reason", "time", "track", "error")
    }
    row |= {"input": line["source"], "frame": line.get("frame"), "feature": line.get("feature")}
    if line.get("box") is None:
        return row
    left, top, right, bottom = line["box"]
    sides = {"FaceRectWidth": round(right - left, 2), "FaceRectHeight": round(bottom - top, 2)}
    row |= {"FaceRectX": left, "FaceRectY": top, **sides, "FaceScore": line["score"]}
    row |= {"Pitch": line["pitch"], "Roll": line["roll"], "Yaw": line["yaw"], **line["probabilities"]}
    row |= {f"occlusion_{kind}": p for kind, p in (line["occlusion"] or {}).items()}
    row |= {_weight_column(region["name"]): region["weight"] for region in line["regions"]}
    if line["landmarks"] is not None:
        row |= zip(_point_columns(), (value for point in line["landmarks"] for value in point), strict=True)
    return row
