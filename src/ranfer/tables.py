"""Tables of predictions: a CSV or Parquet file beside a ``predictions.jsonl``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from ranfer.files import atomic_path
from ranfer.prediction_lines import read_predictions
from ranfer.regions import LANDMARKS
from ranfer.vocab import ESTIMATED, Expression

Table = Literal["csv", "parquet"]
TABLES: tuple[Table, ...] = get_args(Table)
CHUNK = 1000  # lines of a table that are in memory at once
# The order of py-feat's columns, with contempt at the end.
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")


def write_table(lines: Path, form: Table, classes: Iterable[Expression], regions: Sequence[str]) -> Path:
    """A CSV or Parquet file beside a ``predictions.jsonl``, a row a line; gives its path.

    Columns have the names that py-feat gives them where it has them: ``input``, ``frame``, ``FaceRectX`` to
    ``FaceScore``, ``Pitch``, ``Roll``, ``Yaw``, and the emotions. Its landmarks are 68 others than our five, which
    therefore have names of their own. Features are in Parquet only, as a list.
    """
    path = lines.with_suffix("." + form)
    columns = _columns(set(classes), regions)
    rows = map(_row, read_predictions(lines))
    with atomic_path(path) as partial:
        if form == "csv":
            # Names of files that are no text are written with escapes, as a CSV file has to be UTF-8.
            with partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                writer = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        else:
            _write_parquet(partial, columns, rows)
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
                for name in ("input", "error"):  # names of files need not be text
                    if row[name] is not None:
                        row[name] = row[name].encode("utf-8", "backslashreplace").decode()
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
