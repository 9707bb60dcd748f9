"""Measure the whole chain on FERPlus validation faces pasted into colour photos: what is found, and what is said of it.

    python scripts/measure_chain.py ferplus_train_valid.zip --faces 300

Every face is pasted once for each size (side of its frame in pixels) and angle, into a photo and at a place that are
its own. Recall is the share that is found. Agreement compares the answer with the one that the face gets alone, as
the 48 pixels that it is: the share with the same likeliest expression, and the mean total variation distance of the
eight probabilities (half the sum of absolute differences; 0 is the same, 1 nothing in common), over the faces found.
Accuracy is end to end: a face that is missed counts as an error.

A found face is classified twice: aligned, as shipped, and in a frame of the same size and place that is not rotated.
Alignment also takes away the roll that a face had by itself, so that agreement at 0 degrees speaks for the frame that
is not rotated; accuracy decides. Its differences have 95 % intervals, by drawing faces with all of their pictures.

The weights of the package have learnt these faces: give --weights of a model that has not, such as their twin
(docs/model-card.md). Needs scikit-image for the photos. Faces have a majority label; ``pasted_faces`` says how they
are pasted.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pasted_faces import at_face, load_faces, photos, scene
from rich.console import Console
from rich.progress import track

from ranfer.faces.align import align, find_frame
from ranfer.faces.detection import Detection
from ranfer.faces.detectors import open_detector, whole_picture
from ranfer.formatting import markdown_table, percent, points
from ranfer.intervals import mean, share
from ranfer.recognize import DEFAULT_WEIGHTS, Face, Found, Recognizer, load
from ranfer.vocab import Expression

WAYS = ("aligned", "not rotated")  # in which the model sees a face


class Seen(NamedTuple):
    """One face in one picture."""

    crops: tuple[Found, Found] | None  # one for each of WAYS; None where it was missed
    others: int  # detections where no face was pasted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="ferplus_train_valid.zip, whose validation faces are read")
    parser.add_argument("--faces", type=int, default=300)
    parser.add_argument("--sizes", type=int, nargs="+", default=[24, 36, 60, 120, 300])
    parser.add_argument("--angles", type=float, nargs="+", default=[-30, -15, 0, 15, 30])
    parser.add_argument("--detector", default="ranfer", help="as of ranfer predict")
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    faces, truth = load_faces(options.data, options.faces, options.seed)
    recognizer = load(options.weights)
    alone = classify(recognizer, [Found(whole_picture(face)[0], face) for face in faces])
    shape = len(options.sizes), len(options.angles)
    said = np.full((len(WAYS), *shape, len(faces), len(Expression)), np.nan)  # NaN: missed
    others = 0
    cells, backgrounds = list(np.ndindex(*shape)), list(photos().values())
    places = np.random.default_rng([options.seed, 1]).uniform(size=(len(faces), 2))
    side, detect = int(recognizer.description["model"]["size"]), open_detector(options.detector, threads=1)
    for row, column in track(cells, "pasting", console=Console(stderr=True), transient=True):

        def look(number: int, size: int = options.sizes[row], angle: float = options.angles[column]) -> Seen:
            photo = backgrounds[number % len(backgrounds)]
            picture, centre = scene(photo, faces[number], size, angle, places[number])
            return see(picture, detect(picture), centre, size, side)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            seen = list(pool.map(look, range(len(faces))))
        found = [i for i, one in enumerate(seen) if one.crops is not None]
        for way in range(len(WAYS)):
            said[way, row, column, found] = classify(
                recognizer, [one.crops[way] for one in seen if one.crops is not None]
            )
        others += sum(one.others for one in seen)
    print(f"{len(faces)} faces, each in {len(cells)} pictures; detections elsewhere: {others}")
    print(f"alone, right, %: {percent(share(int((alone.argmax(axis=1) == truth).sum()), len(truth)))}")
    report(said, alone, truth, options.sizes, options.angles)


def see(picture: np.ndarray, detections: list[Detection], centre: np.ndarray, size: int, side: int) -> Seen:
    """The pasted face as the model gets it, ``side`` pixels large, in both ways."""
    best = at_face(detections, centre, size)
    if best is None:
        return Seen(None, len(detections))
    frame = find_frame(best)
    aligned, not_rotated = (Found(best, align(picture, one, side)) for one in (frame, frame._replace(roll=0.0)))
    return Seen((aligned, not_rotated), len(detections) - 1)


def classify(recognizer: Recognizer, found: Sequence[Found]) -> np.ndarray:
    """The probabilities (n, 8) of faces."""
    faces: Iterable[Face] = (face for picture in recognizer.classify([[one] for one in found]) for face in picture)
    return np.array([[face.probabilities[e] for e in Expression] for face in faces]).reshape(-1, len(Expression))


def report(
    said: np.ndarray, alone: np.ndarray, truth: np.ndarray, sizes: Sequence[int], angles: Sequence[float]
) -> None:
    """Tables of ``said`` (ways, sizes, angles, n, 8)."""
    found = ~np.isnan(said[0, ..., 0])
    answer = np.where(found, np.nan_to_num(said).argmax(axis=-1), -1)
    right = answer == truth
    same = np.where(found, answer == alone.argmax(axis=1), np.nan)
    distance = abs(said - alone).sum(axis=-1) / 2

    def table(title: str, *values: np.ndarray, form: str = ".1%") -> None:
        print(f"\n{title}\n")
        rows = [
            [size, *(" / ".join(format(np.nanmean(v[i, j]), form) for v in values) for j in range(len(angles)))]
            for i, size in enumerate(sizes)
        ]
        print(markdown_table(["size", *(f"{angle:g}°" for angle in angles)], rows))

    table("recall", found)
    table("same likeliest expression as alone, aligned / not rotated", *same)
    table("total variation distance to the answer alone, aligned / not rotated", *distance, form=".3f")
    table("right end to end, aligned / not rotated", *right)
    print("\nright end to end, all pictures of a row; the difference is that of aligned minus not rotated, in points\n")
    everything = range(len(sizes)), range(len(angles))
    groups = {f"{angle:g}°": (everything[0], [j]) for j, angle in enumerate(angles)}
    groups |= {f"{size} pixels": ([i], everything[1]) for i, size in enumerate(sizes)}
    rows = []
    for name, (some_sizes, some_angles) in {**groups, "all": everything}.items():
        each = right[:, some_sizes][:, :, some_angles].mean(axis=(1, 2))  # of a face, over its pictures
        rows.append([name, percent(mean(each[0])), percent(mean(each[1])), points(mean(each[0] - each[1]))])
    print(markdown_table(["", "aligned, %", "not rotated, %", "difference"], rows))


if __name__ == "__main__":
    main()
