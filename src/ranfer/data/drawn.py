"""Small datasets of drawn faces in the published forms, for tests and trials: nobody's face is in them."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranfer.data.drawing import draw_face
from ranfer.data.face_lists import FERPLUS_OCCLUSION
from ranfer.data.ferplus import FOLDERS, LABELS, PIXELS, USAGES, VOTES, VOTES_HEADER
from ranfer.data.textfiles import to_csv
from ranfer.errors import DataError
from ranfer.vocab import Expression, Occlusion


class DrawnData(NamedTuple):
    """Where a drawn dataset lies: what ``ferplus:PATH`` opens, and lists of covered and of turned faces."""

    data: Path
    occlusion: Path
    pose: Path


class _Face(NamedTuple):
    split: str
    name: str
    expression: Expression
    occlusion: Occlusion | None
    yaw: float
    votes: Sequence[int]
    grey: UInt8[np.ndarray, "48 48"]


def write_ferplus(
    folder: Path, faces_per_split: Mapping[str, int], seed: int = 0, form: Literal["folder", "zip", "csv"] = "folder"
) -> DrawnData:
    """A dataset of drawn 48-pixel faces in one of FERPlus's forms; the three forms of a seed hold the same faces.

    A seventh of the faces are covered and a seventh turned by 30 to 50 degrees; the lists in the published forms name
    those of the last split. Votes scatter round the expression that was drawn, and some faces have no majority.

    Raises:
        DataError: the folder is there already.
    """
    if folder.exists():
        raise DataError(f"{folder}: drawn faces go to a new folder, and this is there already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    faces = _draw_faces(faces_per_split, np.random.default_rng(seed))
    last = list(faces_per_split)[-1]
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    building.chmod(0o755)
    try:
        data = building / ("ferplus.zip" if form == "zip" else "ferplus")
        files = _csv_files(faces) if form == "csv" else _layout_files(faces)
        if form == "zip":
            with zipfile.ZipFile(data, "w") as archive:
                for name, content in files.items():
                    archive.writestr(zipfile.ZipInfo(name), content)
        else:
            for name, content in files.items():
                (data / name).parent.mkdir(parents=True, exist_ok=True)
                (data / name).write_bytes(content)
        lists = {
            "occlusion.txt": [
                f"{face.expression.column}_{face.name}.png 8 {FERPLUS_OCCLUSION.index(face.occlusion)}\n"
                for face in faces
                if face.split == last and face.occlusion is not None
            ],
            "pose_30.txt": [
                f"{face.expression.column}/{face.name}.jpg\n"
                for face in faces
                if face.split == last and abs(face.yaw) >= 30
            ],
        }
        for name, lines in lists.items():
            (building / name).write_text("".join(lines), encoding="utf-8")
        building.replace(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return DrawnData(folder / data.name, *(folder / name for name in lists))


def _draw_faces(faces_per_split: Mapping[str, int], generator: np.random.Generator) -> list[_Face]:
    faces: list[_Face] = []
    for split, count in faces_per_split.items():
        for index in range(count):
            expression = list(Expression)[index % len(Expression)]
            turned, covered = index % 7 == 2, index % 7 == 5  # 7 shares no factor with 8: every expression has some
            yaw = generator.uniform(30, 50) * generator.choice([-1, 1]) if turned else generator.uniform(-12, 12)
            occlusion = FERPLUS_OCCLUSION[generator.integers(4)] if covered else None
            chances = np.full(10, 0.01)
            chances[expression.column] += 0.8 if generator.random() < 0.85 else 0.35
            chances[generator.choice(8, size=2, replace=False)] += (1 - chances.sum()) / 2  # what it is mistaken for
            face = draw_face(expression, generator, occlusion=occlusion, yaw=float(yaw))
            faces.append(
                _Face(
                    split=split,
                    name=f"fer{len(faces):07d}",
                    expression=expression,
                    occlusion=occlusion,
                    yaw=float(yaw),
                    votes=generator.multinomial(10, chances).tolist(),
                    grey=np.asarray(Image.fromarray(face).convert("L")),
                )
            )
    return faces


def _layout_files(faces: Sequence[_Face]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for split in dict.fromkeys(face.split for face in faces):
        inside = [face for face in faces if face.split == split]
        for face in inside:
            png = io.BytesIO()
            Image.fromarray(face.grey).save(png, format="PNG")
            files[f"{FOLDERS[split]}/{face.name}.png"] = png.getvalue()
        rows = [[f"{face.name}.png", "(0, 0, 48, 48)", *face.votes] for face in inside]
        files[f"{FOLDERS[split]}/{LABELS}"] = to_csv(rows).encode()
    return files


def _csv_files(faces: Sequence[_Face]) -> dict[str, bytes]:
    usages = {split: usage for usage, split in USAGES.items()}
    pixels = [[0, " ".join(map(str, face.grey.ravel().tolist())), usages[face.split]] for face in faces]
    votes = [[usages[face.split], f"{face.name}.png", *face.votes] for face in faces]
    faces_table = to_csv([["emotion", "pixels", "Usage"], *pixels])
    return {PIXELS: faces_table.encode(), VOTES: to_csv([VOTES_HEADER, *votes]).encode()}
