"""Subsets as files: manifests and published lists, one a subset; CSV and COCO-like JSON, one for all faces.

A manifest is a JSONL: the first line tells how the subset came about, and each other one has a face with its expression
and attributes. ``evaluate --subset`` reads manifests and lists alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ranfer.data.attributes import to_line
from ranfer.data.dataset import Dataset, inside, picture_name
from ranfer.data.face_lists import to_list_line
from ranfer.data.subsets import ANY, LabelledFace, Subset
from ranfer.data.textfiles import to_csv, to_jsonl
from ranfer.errors import ImageError
from ranfer.faces.align import find_frame
from ranfer.faces.detection import Detection
from ranfer.files import write_text
from ranfer.vocab import ESTIMATED, Expression, Occlusion, Sample


def write_manifest(subset: Subset, path: Path) -> None:
    """The subset as a JSONL, which :func:`ranfer.data.face_lists.read_list` and ``read_attributes`` read."""
    lines = [
        {"id": sample.id, "split": sample.split, "expression": expression} | to_line(sample.id, attributes)
        for sample, expression, attributes in subset.faces
    ]
    write_text(path, to_jsonl([{"about": subset.about()}, *lines]))


def write_list(subset: Subset, path: Path) -> None:
    """The subset in the published form of its dataset's lists; covered faces with the code of what covers them.

    Of several kinds the subset's own is written, else the most probable.

    Raises:
        DataError: a face that such a list cannot name.
    """
    covers = [kind for kind in ESTIMATED if subset.name == f"occlusion_{kind}"]
    lines = []
    for sample, expression, attributes in subset.faces:
        told = {kind: p for kind in covers or ESTIMATED if (p := attributes.occlusion.get(kind))}
        code = attributes.codes.get("list")
        covered = bool(covers) or subset.name == ANY or code is not None
        lines.append(to_list_line(sample.id, expression, covered, max(told, key=told.__getitem__, default=None), code))
    write_text(path, "".join(line + "\n" for line in lines))


def write_csv(faces: Sequence[LabelledFace], subsets: Sequence[Subset], path: Path) -> None:
    """A row a face: its attributes, and 1 or 0 for each subset; empty where nothing is told."""
    kinds = [*map(str, Occlusion), "none"]
    people = ["turned", "annotators", "decided"]
    rows = [["id", "split", "expression", "yaw", "pitch", "roll", *kinds, *people, *(s.name for s in subsets)]]
    inside = [{face.sample.id for face in subset.faces} for subset in subsets]
    for sample, expression, attributes in faces:
        line = to_line(sample.id, attributes)
        told = line["occlusion"] or {}
        row = [sample.id, sample.split, expression, line["yaw"], line["pitch"], line["roll"]]
        row += [*(told.get(kind) for kind in kinds), line.get("turned")]
        row += [" ".join(attributes.annotators), attributes.decided, *(int(sample.id in ids) for ids in inside)]
        rows.append(row)
    write_text(path, to_csv(rows))


def _box(sample: Sample, picture: UInt8[np.ndarray, "h w 3"]) -> tuple[int, int, int, int]:
    """Left, top, width and height of the face in its picture: its box, or else what its landmarks frame, or all."""
    box = sample.box or (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0]))
    if sample.box is None and sample.landmarks is not None:
        x, y, side, _ = find_frame(Detection(box, 1.0, np.array(sample.landmarks)))
        box = x - side / 2, y - side / 2, x + side / 2, y + side / 2
    left, top, right, bottom = inside(box, picture, sample.location)
    return left, top, right - left, bottom - top


def write_coco(dataset: Dataset, faces: Sequence[LabelledFace], subsets: Sequence[Subset], path: Path) -> list[str]:
    """COCO-like JSON: an image a face, and an annotation with its box in the picture, category and attributes.

    The box of a picture that is a face is the whole picture. Categories are the eight expressions, from 1; a face
    without a label has category 0, ``unlabelled``. A face whose picture cannot be read, so that its size is unknown, or
    whose box lies outside of it, is left out.

    Returns:
        A line for each face that was left out.
    """
    names = ["unlabelled", *map(str, Expression)]
    inside = {subset.name: {face.sample.id for face in subset.faces} for subset in subsets}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    left_out: list[str] = []
    for sample, expression, attributes in faces:
        try:
            picture = dataset.decode(sample.location)
            box = _box(sample, picture)
        except ImageError as error:
            left_out.append(f"{path}: {sample.id} is left out: {error}")
            continue
        number = len(images) + 1
        height, width = picture.shape[:2]
        name = picture_name(dataset, sample)
        images.append({"id": number, "file_name": name, "width": width, "height": height, "split": sample.split})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": names.index(expression or "unlabelled"),
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "attributes": to_line(sample.id, attributes),
                "subsets": [name for name, ids in inside.items() if sample.id in ids],
            }
        )
    categories = [{"id": number, "name": name, "supercategory": "expression"} for number, name in enumerate(names)]
    info = {"description": "faces with attributes and subsets", "subsets": [subset.about() for subset in subsets]}
    coco = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    write_text(path, json.dumps(coco, indent=1) + "\n")
    return left_out
