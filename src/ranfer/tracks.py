"""Which faces of successive frames are one person's, as far as they stay roughly in place."""

from __future__ import annotations

from collections.abc import Sequence

Corners = tuple[float, float, float, float]

OVERLAP = 0.3  # intersection over union of a face's boxes in two frames, at least
# Seconds for which a face may go unseen; a face of the frame before is known however long that is past.
PATIENCE = 1.001


class Tracker:
    """Numbers faces from 0, frame by frame: a face has the number of the one whose box it overlaps most.

    It knows boxes only: a person who comes back after a second, or crosses the picture between two frames, gets a new
    number, and after a cut a face in the same place inherits the number.

    >>> follow = Tracker()
    >>> follow(0.0, [(0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)])
    [0, 1]
    >>> follow(0.2, [(51.0, 0.0, 61.0, 10.0), (90.0, 0.0, 99.0, 9.0)])
    [1, 2]
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, Corners]] = {}  # by number: when last, and where
        self._before = 0.0  # the time of the frame before
        self._next = 0

    def __call__(self, time: float, boxes: Sequence[Corners]) -> list[int]:
        """The number of each face of a frame, in their order; times in seconds, rising from call to call.

        Args:
            boxes: left, top, right, bottom of each face, in pixels.
        """
        known = {
            number: box for number, (last, box) in self._seen.items() if time - last <= PATIENCE or last == self._before
        }
        pairs = sorted(
            (-overlap, number, place)  # of equal overlaps the older number comes first, and then the larger face
            for number, before in known.items()
            for place, box in enumerate(boxes)
            if (overlap := _overlap(before, box)) >= OVERLAP
        )
        numbers: dict[int, int] = {}  # by place
        for _, number, place in pairs:
            if place not in numbers and number not in numbers.values():
                numbers[place] = number
        for place in range(len(boxes)):
            if place not in numbers:
                numbers[place] = self._next
                self._next += 1
        in_order = [numbers[place] for place in range(len(boxes))]
        self._seen = {number: self._seen[number] for number in known}
        self.remember(time, boxes, in_order)
        return in_order

    def remember(self, time: float, boxes: Sequence[Corners], numbers: Sequence[int]) -> None:
        """Add a frame whose faces already have numbers, such as one of an earlier run."""
        self._seen |= {number: (time, box) for number, box in zip(numbers, boxes, strict=True)}
        self._before = time
        self._next = max([self._next, *(number + 1 for number in numbers)])


def _overlap(first: Corners, second: Corners) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (areas - width * height)
