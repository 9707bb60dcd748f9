"""Datasets of labelled faces: their formats, label rules, published lists, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ranfer.data.affectnet import open_affectnet, open_affectnet7
from ranfer.data.dataset import Dataset
from ranfer.data.ferplus import open_ferplus
from ranfer.data.folder import open_folder
from ranfer.data.manifest import open_manifest
from ranfer.data.rafdb import open_rafdb
from ranfer.data.sfew import open_sfew
from ranfer.errors import ConfigError

__all__ = ["FORMATS", "Dataset", "open_dataset"]

FORMATS: dict[str, Callable[[Path], Dataset]] = {
    "ferplus": open_ferplus,
    "affectnet": open_affectnet,
    "affectnet7": open_affectnet7,
    "rafdb": open_rafdb,
    "sfew": open_sfew,
    "folder": open_folder,
    "manifest": open_manifest,
}


def open_dataset(text: str) -> Dataset:
    """The dataset that ``FORMAT:PATH`` names, such as ``ferplus:faces.zip``.

    Raises:
        ConfigError: no colon, no path, or an unknown format; the message lists the formats.
        DataError: the path does not hold what the format says.
    """
    name, colon, path = text.partition(":")
    if not colon or not path or name not in FORMATS:
        raise ConfigError(
            f"{text!r}: data is named FORMAT:PATH, as in ferplus:faces.zip; formats: {', '.join(FORMATS)}"
        )
    return FORMATS[name](Path(path).expanduser())
