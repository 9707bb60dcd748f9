"""Faces that a dataset holds more than once: with the same pixels, or nearly, by a perceptual hash."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, combinations

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from ranfer.data.labels import Labels
from ranfer.vocab import Sample

SIDE = 16  # of the perceptual hash: 256 bits
NEAR = SIDE - 1  # bits in which the hashes of near copies may differ: fewer than there are bands, so that one is equal
SHOWN = 12  # groups whose ids are kept


@dataclass(frozen=True)
class Copies:
    """Groups of faces that are copies: two or more within one split, or some in each of two splits.

    faces: how many faces of each split are in such groups.
    conflicts: groups whose faces do not all get the same majority label (no label being one).
    examples: the ids of the first few groups.
    """

    groups: int
    faces: dict[str, int]
    conflicts: int
    examples: tuple[tuple[str, ...], ...]


class CopyFinder:
    """Takes faces one by one, keeps two hashes of each, and tells which are alike.

    The perceptual hash is that of ImageHash (a discrete cosine transform of the small grey face); without that library
    near copies are not looked for.
    """

    def __init__(self) -> None:
        self.perceptual = find_spec("imagehash") is not None
        self._groups: dict[bytes, list[int]] = defaultdict(list)
        self._hashes: list[UInt8[np.ndarray, " 32"]] = []  # of the first face of each group

    def add(self, index: int, face: UInt8[np.ndarray, "h w 3"]) -> None:
        """One face, by its place in the dataset."""
        group = self._groups[hashlib.sha1(repr(face.shape).encode() + face.tobytes()).digest()]
        group.append(index)
        if self.perceptual and len(group) == 1:
            import imagehash

            self._hashes.append(np.packbits(imagehash.phash(Image.fromarray(face), hash_size=SIDE).hash))

    def same(self) -> list[list[int]]:
        """Groups of two faces or more with the same pixels."""
        return [group for group in self._groups.values() if len(group) > 1]

    def near(self) -> list[list[int]]:
        """Groups that near copies join, exact copies of these among them; copies that are only exact are left out."""
        if len(self._hashes) < 2:
            return []
        joined: dict[int, list[list[int]]] = defaultdict(list)
        for members, place in zip(self._groups.values(), join_near(np.array(self._hashes)).tolist(), strict=True):
            joined[place].append(members)
        return [sorted(chain(*groups)) for groups in joined.values() if len(groups) > 1]


def join_near(hashes: UInt8[np.ndarray, "n 32"]) -> Int[np.ndarray, " n"]:
    """The number of the group of each row: groups are joined by rows that differ in at most ``NEAR`` bits.

    Of 16 bands of 16 bits, two such rows share at least one: only rows that share a band are compared, and only those
    that no others have joined, so that many rows that are alike take neither long nor much memory.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    distinct, place = np.unique(hashes, axis=0, return_inverse=True)
    n = len(distinct)
    group = np.arange(n)
    for band in np.ascontiguousarray(distinct).view(np.uint16).T:
        order = np.argsort(band, kind="stable")
        band = band[order]
        same = np.arange(n)  # where rows begin that share the band with the one that stands `step` further on
        for step in range(1, n):
            same = same[same + step < n]
            same = same[band[same] == band[same + step]]
            if not same.size:
                break
            one, other = order[same], order[same + step]
            apart = group[one] != group[other]
            one, other = one[apart], other[apart]
            alike = np.unpackbits(distinct[one] ^ distinct[other], axis=1).sum(axis=1) <= NEAR
            if alike.any():
                links = coo_array((alike[alike], (group[one[alike]], group[other[alike]])), shape=(n, n))
                group = connected_components(links, directed=False)[1][group]
    return np.asarray(group[place.reshape(-1)])


def count_copies(groups: Sequence[Sequence[int]], samples: Sequence[Sample], labels: Labels) -> tuple[Copies, ...]:
    """The groups within each split, then those across each two."""
    splits = list(dict.fromkeys(sample.split for sample in samples))

    def among(*wanted: str) -> Copies:
        found = []
        for group in groups:
            inside = [index for index in group if samples[index].split in wanted]
            if len(inside) > 1 and {samples[index].split for index in inside} == set(wanted):
                found.append(inside)
        return Copies(
            groups=len(found),
            faces={split: sum(samples[index].split == split for group in found for index in group) for split in wanted},
            conflicts=sum(len({int(labels.expressions[index]) for index in group}) > 1 for group in found),
            examples=tuple(tuple(samples[index].id for index in group) for group in found[:SHOWN]),
        )

    return tuple(among(*wanted) for n in (1, 2) for wanted in combinations(splits, n))
