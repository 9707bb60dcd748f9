"""SFEW 2.0: film stills in a folder per class for each split, whose faces must be found first.

Source: Dhall et al., Static Facial Expression Analysis in Tough Conditions, ICCV Workshops 2011, and the files of its
second release. The labels of its test split are withheld, so that Train to Val is the protocol.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ranfer.data.dataset import Dataset, Published
from ranfer.data.folder import open_folder
from ranfer.errors import DataError

SPLITS = {"train": "Train", "valid": "Val"}
PUBLISHED = {"train": Published(958, 958), "valid": Published(436, 436)}
LAYOUT = """expected SFEW 2.0, a folder per class for each split, with film stills in it:
  Train/Angry/*.png, Train/Disgust/, Fear/, Happy/, Neutral/, Sad/, Surprise/
  Val/Angry/*.png and so on
Its authors give it for research: https://cs.anu.edu.au/few/AFEW.html"""


def open_sfew(path: Path) -> Dataset:
    """SFEW from its folder; the splits are train and valid, and pictures are whole stills until they are prepared.

    Raises:
        DataError: another layout.
    """
    if not any((path / folder).is_dir() for folder in SPLITS.values()):
        raise DataError(f"{path}: no SFEW here; {LAYOUT}")
    dataset = open_folder(path)
    samples = tuple(sample for sample in dataset.samples if sample.split in SPLITS)
    left_out = len(dataset.samples) - len(samples)
    surprises = (*dataset.surprises, *([f"{path}: {left_out} stills of other splits are left out"] if left_out else []))
    if not samples or not all(any(sample.votes) for sample in samples):
        raise DataError(f"{path}: stills without a class, or none at all; {LAYOUT}")
    return replace(dataset, name="sfew", samples=samples, surprises=surprises, published=PUBLISHED, stills=True)
