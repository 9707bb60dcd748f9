"""Measure by yaw how many faces are found and recognised: FERPlus validation faces pasted into colour photos.

    python scripts/measure_yaw.py ferplus_train_valid.zip --faces 150

Faces are grouped by their yaw, either way, as the attribute model estimates it from the face alone; it makes the yaw
of full profiles too small. Profiles are few: a group that has less than ``--faces`` is taken whole. Each face is
pasted upright once for each size (side of its frame in pixels), into a photo and at a place that are its own. Recall is
the share that is found; accuracy is end to end, a missed face being an error, and stands beside that of the same faces
alone, as the 48 pixels that they are. What is found elsewhere in these pictures is counted, too.

The weights of the package have learnt these faces: give --weights of a model that has not, such as their twin
(docs/model-card.md). Needs scikit-image for the photos. Faces have a majority label; ``pasted_faces`` says how they
are pasted.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from pasted_faces import at_face, load_faces, photos, scene
from rich.console import Console
from rich.progress import track

from ranfer.faces.align import align, find_frame
from ranfer.faces.attributes import AttributeModel
from ranfer.faces.detectors import open_detector, whole_picture
from ranfer.formatting import markdown_table, percent
from ranfer.intervals import share
from ranfer.recognize import DEFAULT_WEIGHTS, Found, Recognizer, load

EDGES = (0, 15, 30, 45, 180)  # degrees of yaw, either way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="ferplus_train_valid.zip, whose validation faces are read")
    parser.add_argument("--faces", type=int, default=150, help="of each group, at most")
    parser.add_argument("--sizes", type=int, nargs="+", default=[24, 36, 60, 120, 300])
    parser.add_argument("--detector", default="ranfer", help="as of ranfer predict")
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    recognizer, detect = load(options.weights), open_detector(options.detector, threads=1)
    side = int(recognizer.description["model"]["size"])
    faces, truth = load_faces(options.data, None, options.seed)
    yaw = abs(AttributeModel()(np.stack(faces)).pose[:, 0])
    backgrounds = list(photos().values())
    places = np.random.default_rng([options.seed, 1]).uniform(size=(len(faces), 2))

    def find(number: int, size: int) -> tuple[list[Found], int]:
        """The pasted face, if it is found, and how many detections are none of it."""
        photo = backgrounds[number % len(backgrounds)]
        picture, centre = scene(photo, faces[number], size, 0.0, places[number])
        detections = detect(picture)
        best = at_face(detections, centre, size)
        found = [] if best is None else [Found(best, align(picture, find_frame(best), side))]
        return found, len(detections) - len(found)

    recall, accuracy, others = [], [], 0
    groups = list(pairwise(EDGES))
    for low, high in track(groups, "pasting", console=Console(stderr=True), transient=True):
        chosen = np.flatnonzero((yaw >= low) & (yaw < high))[: options.faces]
        name = f"{low} to {high}°" if high < EDGES[-1] else f"{low}° and more"
        alone = [[Found(whole_picture(faces[i])[0], faces[i])] for i in chosen]
        hits = [percent(share(right(recognizer, alone, truth[chosen]), len(chosen)), 1)]
        shares = []
        for size in options.sizes:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                results = list(pool.map(lambda number, size=size: find(number, size), chosen))
            found, beside = zip(*results, strict=True)
            others += sum(beside)
            shares.append(percent(share(sum(map(len, found)), len(chosen)), 1))
            hits.append(percent(share(right(recognizer, found, truth[chosen]), len(chosen)), 1))
        recall.append([name, len(chosen), *shares])
        accuracy.append([name, len(chosen), *hits])
    print("found, %, by size\n")
    print(markdown_table(["yaw", "n", *options.sizes], recall))
    print(f"\n{others} other detections in {len(options.sizes) * sum(row[1] for row in recall):,} pictures")
    print("\nright end to end, %, by size\n")
    print(markdown_table(["yaw", "n", "alone", *options.sizes], accuracy))


def right(recognizer: Recognizer, found: list[list[Found]], truth: np.ndarray) -> int:
    """How many faces get their expression; one that was missed gets none."""
    answers = recognizer.classify(found)
    return sum(faces[0].expression.column == column for faces, column in zip(answers, truth, strict=True) if faces)


if __name__ == "__main__":
    main()
