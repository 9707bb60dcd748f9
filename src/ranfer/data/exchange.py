"""From any file of attributes or of one subset to subsets in any format: what ``ranfer annotate export`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ranfer.data.attributes import AttributesFile, about_path, read_attributes, write_attributes
from ranfer.data.dataset import Dataset, refuse_overwriting_data
from ranfer.data.face_lists import read_list
from ranfer.data.labelstudio import CONFIG, read_labelstudio, write_labelstudio
from ranfer.data.subset_files import write_coco, write_csv, write_list, write_manifest
from ranfer.data.subsets import LabelledFace, Subset, label_faces, make_subsets, subset_of_list
from ranfer.errors import ConfigError
from ranfer.files import write_text

# What writes each file; it gives a line for each face that it leaves out.
Writers = dict[Path, Callable[[Path], list[str] | None]]


class SubsetSource(NamedTuple):
    """What a file told: the faces with their attributes, and the subsets that they make."""

    path: Path
    dataset: Dataset
    faces: Sequence[LabelledFace]
    subsets: Sequence[Subset]
    about: Mapping[str, Any]
    surprises: Sequence[str]


def open_source(
    path: Path,
    dataset: Dataset,
    split: str,
    thresholds: Mapping[str, float] | None = None,
    label_rule: str = "majority",
) -> SubsetSource:
    """The faces of a JSONL of attributes or of Label Studio's JSON, and their subsets; or a list or manifest as it is.

    A list or manifest is one subset, with faces of any split.

    Raises:
        ConfigError: a threshold that makes no sense.
        DataError: unreadable, malformed, or with faces that the data lack.
    """
    if path.suffix.lower() == ".json":
        attributes = read_labelstudio(path)
    else:
        faces = read_list(path)
        if not faces.attributes:
            subset = subset_of_list(dataset, faces, label_rule)
            return SubsetSource(path, dataset, subset.faces, [subset], subset.source, faces.surprises)
        attributes = read_attributes(path)
    labelled = label_faces(dataset, split, attributes, label_rule)
    subsets = make_subsets(dataset, split, attributes, labelled, thresholds, label_rule)
    surprises = [*attributes.surprises, *_unread(attributes)]
    return SubsetSource(path, dataset, labelled, subsets, attributes.about, surprises)


def _unread(attributes: AttributesFile) -> list[str]:
    return [f"{attributes.path}: {face} has no attributes: {why}" for face, why in attributes.errors.items()]


def check_formats(names: Sequence[str]) -> None:
    """Refuse formats that there are not.

    Raises:
        ConfigError: a name is none of ``FORMATS``, or there are no names.
    """
    if not names:
        raise ConfigError(f"--format: expected some of {', '.join(FORMATS)}")
    if unknown := [name for name in names if name not in FORMATS]:
        raise ConfigError(f"--format: no format is called {unknown[0]!r}; there are {', '.join(FORMATS)}")


def export_subsets(
    found: SubsetSource, folder: Path, formats: Sequence[str], surprises: list[str] | None = None
) -> list[Path]:
    """Write the subsets in each of the formats; gives the files, each of which appears by rename.

    ``manifest`` and ``lists``: a file a subset, ``NAME.jsonl`` and ``NAME.txt``. ``csv``, ``coco``, ``labelstudio`` and
    ``attributes``: one for all faces; ``labelstudio`` has the labelling interface beside it. ``surprises`` takes a line
    for each face that a format leaves out.

    Raises:
        ConfigError: an unknown format, a file would take the place of one that was read, or a format names pictures
            where the faces lie in a cache.
        DataError: a format that cannot tell of these faces.
    """
    check_formats(formats)
    dataset = found.dataset
    if dataset.cache is not None and (of_pictures := {"coco", "labelstudio"}.intersection(formats)):
        raise ConfigError(
            f"--format {', '.join(sorted(of_pictures))}: names pictures, and the faces of {dataset.path} lie in a "
            "cache; name as --data what it was prepared from"
        )
    writers: Writers = {}
    for name in formats:
        writers |= FORMATS[name](found, folder)
    refuse_overwriting_data(writers, dataset, [found.path])
    for path, write in writers.items():
        left_out = write(path)
        if surprises is not None:
            surprises += left_out or ()
    return list(writers)


def _manifest(found: SubsetSource, folder: Path) -> Writers:
    return {folder / f"{subset.name}.jsonl": partial(write_manifest, subset) for subset in found.subsets}


def _lists(found: SubsetSource, folder: Path) -> Writers:
    return {folder / f"{subset.name}.txt": partial(write_list, subset) for subset in found.subsets}


def _csv(found: SubsetSource, folder: Path) -> Writers:
    return {folder / "faces.csv": partial(write_csv, found.faces, found.subsets)}


def _coco(found: SubsetSource, folder: Path) -> Writers:
    return {folder / "coco.json": partial(write_coco, found.dataset, found.faces, found.subsets)}


def _labelstudio(found: SubsetSource, folder: Path) -> Writers:
    return {
        folder / "labelstudio.json": partial(write_labelstudio, found.dataset, found.faces),
        folder / "labelstudio.xml": lambda path: write_text(path, CONFIG),
    }


def _attributes(found: SubsetSource, folder: Path) -> Writers:
    records = {face.sample.id: face.attributes for face in found.faces}
    file = folder / "attributes.jsonl"
    return {
        file: lambda path: write_attributes(path, records, found.about),
        about_path(file): lambda path: None,  # comes with it
    }


FORMATS: Mapping[str, Callable[[SubsetSource, Path], Writers]] = {
    "manifest": _manifest,
    "lists": _lists,
    "csv": _csv,
    "coco": _coco,
    "labelstudio": _labelstudio,
    "attributes": _attributes,
}
