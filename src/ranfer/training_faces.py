"""What a run learns and validates on: faces in memory or in a prepared cache, and the batches of an epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ranfer.config import DataConfig, TrainConfig
from ranfer.data import Dataset
from ranfer.data.dataset import cached_rows, data_hash, stack_faces
from ranfer.data.labels import label, require_labels
from ranfer.errors import ConfigError
from ranfer.face_regions import find_landmarks
from ranfer.faces.attributes import AttributeModel
from ranfer.vocab import Expression, Progress, Sample, silent

AT_ONCE = 256  # faces of one call where a model only looks at them


@dataclass(frozen=True)
class Faces:
    """A split: target distributions, top classes, and faces as bytes, in memory or mapped from a prepared cache.

    rows: where each face stands among the m that are there.  mapped: the pixels lie on the disk.
    points: landmarks in fractions of the face, where the model cuts its regions round them.
    """

    samples: Sequence[Sample]
    pixels: UInt8[Tensor, "m h w c"]
    rows: Int[np.ndarray, " n"]
    targets: Float[Tensor, "n 8"]
    expressions: Int[np.ndarray, " n"]
    mapped: bool = False
    points: Float[Tensor, "n 5 2"] | None = None

    @property
    def classes(self) -> list[Expression]:
        """The expressions that are part of a target."""
        return [expression for expression in Expression if (self.targets[:, expression.column] > 0).any()]

    def on(self, device: torch.device) -> Faces:
        """These faces on a device; pixels that lie on the disk stay there, and go to the device batch by batch."""
        pixels = self.pixels if self.mapped else self.pixels.to(device)
        points = None if self.points is None else self.points.to(device)
        return replace(self, pixels=pixels, targets=self.targets.to(device), points=points)

    def images(self, chosen: Int[np.ndarray, " b"]) -> UInt8[Tensor, "b c h w"]:
        """The pixels of some faces, where they lie."""
        return self.pixels[self.rows[chosen]].permute(0, 3, 1, 2)


def divide(dataset: Dataset, data: DataConfig) -> tuple[list[Sample], list[Sample] | None]:
    """The samples to learn from, and those that choose the epoch: a split, or training faces by a hash of their ids.

    The second is None where none is to be chosen.

    Raises:
        ConfigError: ``held_out`` takes all of them, or none.
    """
    learn = [sample for split in data.learnt for sample in dataset.split(split)]
    if not data.held_out:
        return learn, None if data.valid is None else dataset.split(data.valid)
    places = (int.from_bytes(hashlib.sha256(sample.id.encode()).digest()[:4], "big") / 2**32 for sample in learn)
    held = [data.fold * data.held_out <= place < (data.fold + 1) * data.held_out for place in places]
    if all(held) or not any(held):
        raise ConfigError(
            f"data.held_out: {data.held_out:g} of {len(learn)} training faces leaves none to "
            f"{'learn' if all(held) else 'choose the epoch'}"
        )
    return list(compress(learn, (not one for one in held))), list(compress(learn, held))


def load_faces(
    config: TrainConfig,
    dataset: Dataset,
    samples: Sequence[Sample],
    rule: str,
    progress: Progress = silent,
) -> tuple[Faces, str]:
    """The faces that the label rule keeps, at the model's size and channels, and their hash.

    ``progress`` is called with the faces read and in all.

    Raises:
        DataError: faces that cannot be read, or none that the rule keeps.
    """
    labels = label(samples, rule)
    require_labels(labels.excluded, len(samples), config.data.source)
    kept = [sample for sample, keep in zip(samples, labels.kept, strict=True) if keep]
    rows = cached_rows(dataset, kept, config.model.channels, config.model.size)
    mapped = rows is not None
    pixels = dataset.cache
    if not mapped:
        pixels = stack_faces(dataset, kept, config.model.channels, config.model.size, progress)
    assert pixels is not None
    rows = np.arange(len(kept)) if rows is None else rows
    targets = torch.from_numpy(labels.targets[labels.kept])
    faces = Faces(kept, torch.from_numpy(pixels), rows, targets, labels.expressions[labels.kept], mapped)
    return faces, data_hash(kept, pixels, rows)


def find_points(faces: Faces, progress: Progress = silent) -> Float[Tensor, "n 5 2"]:
    """The landmarks that regions are cut round, as the attribute model sees them; pixels are read a batch at a time.

    ``progress`` is called with the faces done and in all.
    """
    model, parts = AttributeModel(), list[np.ndarray]()
    for start in range(0, len(faces.samples), AT_ONCE):
        part = faces.rows[start : start + AT_ONCE]
        parts.append(find_landmarks(model, faces.pixels[part].numpy()))
        progress(start + len(part), len(faces.samples))
    return torch.from_numpy(np.concatenate(parts))


def batches(faces: Faces, config: TrainConfig, epoch: int, rank: int, world: int) -> Iterator[Int[np.ndarray, " b"]]:
    """The indices of an epoch's batches for one of ``world`` processes: each face once, or balanced over expressions.

    All batches are of one size: faces after the last full one are not used in this epoch.
    """
    generator = np.random.default_rng([config.seed, epoch])
    n = len(faces.samples)
    if config.data.balanced:
        counts = np.bincount(faces.expressions, minlength=faces.targets.shape[1])
        chance = 1 / counts[faces.expressions]
        order = generator.choice(n, n, p=chance / chance.sum())
    else:
        order = generator.permutation(n)
    for step in range(n // config.batch):
        yield order[step * config.batch : (step + 1) * config.batch][rank::world]
