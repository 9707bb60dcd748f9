"""Which face comes next: the orders, gold faces woven in, and the walk past what is answered."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from ranfer.annotate.questions import Question, doubt
from ranfer.vocab import Attributes

Order = Literal["random", "uncertain", "disagreements"]
GOLD_EVERY = 10  # one of so many faces is gold, until there are no more
CHUNK, LARGEST = 1000, 16_000  # faces looked up at once: few at first, more where all of them are answered


def in_order(
    faces: Sequence[str],
    annotator: str,
    order: Order,
    questions: Sequence[Question],
    estimates: Mapping[str, Attributes],
    contested: Iterable[str] = (),
) -> list[str]:
    """All faces, in an order that is each annotator's own where chance decides, and the same in every run.

    uncertain: by the largest doubt of the estimate in any question; faces without an estimate first.
    disagreements: those that other annotators disagree on come first.
    """
    shuffled = sorted(faces)
    random.Random(annotator).shuffle(shuffled)
    if order == "uncertain":

        def certainty(face: str) -> float:
            known = estimates.get(face)
            return -1.0 if known is None else 1.0 - max(doubt(question, known) for question in questions)

        shuffled.sort(key=certainty)
    elif order == "disagreements":
        first = set(contested)
        shuffled.sort(key=lambda face: face not in first)
    return shuffled


def weave_gold(faces: Sequence[str], gold: Iterable[str]) -> list[str]:
    """The faces, with a gold one among every :data:`GOLD_EVERY` of them, from the first on."""
    marked = set(gold)
    golden, others = [face for face in faces if face in marked], [face for face in faces if face not in marked]
    woven: list[str] = []
    step = GOLD_EVERY - 1
    for start in range(0, max(len(others), len(golden) * step), step):
        block = others[start : start + step]
        place = start // step
        woven += block
        if place < len(golden):
            woven.insert(len(woven) - len(block) // 2, golden[place])
    return woven


class Queue:
    """Faces in an order, and how far they are answered.

    ``passed`` tells which of some faces need no answer any more; the database knows, and this only remembers where it
    found the first open face.
    """

    def __init__(self, order: Sequence[str], passed: Callable[[Sequence[str]], set[str]]) -> None:
        self.order = list(order)
        self._passed = passed
        self._places = {face: place for place, face in enumerate(self.order)}
        self._first = 0

    def ahead(self, n: int) -> list[str]:
        """The next n open faces; fewer where there are no more."""
        found = self._walk(n)
        if not found and self._first:  # another server may have undone an answer
            self._first = 0
            found = self._walk(n)
        return found

    def reopen(self, face: str) -> None:
        """A face may be open again."""
        self._first = min(self._first, self._places.get(face, self._first))

    def _walk(self, n: int) -> list[str]:
        found: list[str] = []
        place, size = self._first, CHUNK
        while place < len(self.order) and len(found) < n:
            chunk = self.order[place : place + size]
            passed = self._passed(chunk)
            still = [face for face in chunk if face not in passed]
            if not found:
                self._first = self._places[still[0]] if still else place + len(chunk)
            found += still
            place, size = place + len(chunk), min(2 * size, LARGEST)
        return found[:n]
