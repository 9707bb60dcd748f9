"""Measure detection and alignment on FERPlus validation faces pasted into a colour photo, scaled and rotated.

    python scripts/measure_detection.py ferplus_train_valid.zip --faces 100 [--sheet sheet.png]

Every face is pasted once for each size (side of its frame in pixels) and angle. Three tables, size by angle:
recall, how many of the pasted faces are found; frame error, how far the corners of the found frame lie from those of
the 48x48 frame; and rotation error, how far they lie from the frame that is found when the same face is large and not
rotated. Errors are the mean over the four corners, in sides of the frame, as median (90 %) over the faces found. The
frame error contains the variety of the training frames and each face's own roll, which alignment takes away on
purpose; the rotation error is the detector's alone.

Needs scikit-image for the photo. Faces have a majority label; ``pasted_faces`` says how they are pasted.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from pasted_faces import at_face, load_faces, paste, photos, place

from ranfer.faces.align import align, face_map, find_frame
from ranfer.faces.detection import Detection, Detector
from ranfer.faces.detectors import open_detector

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # the corners of a frame
REFERENCE = 192  # pixels of the face that counts as large


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="ferplus_train_valid.zip, whose validation faces are read")
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument("--sizes", type=int, nargs="+", default=[24, 32, 48, 72, 120, 200, 300])
    parser.add_argument("--angles", type=float, nargs="+", default=[-30, -15, 0, 15, 30])
    parser.add_argument("--detector", default="ranfer", help="as of ranfer predict")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="write pasted and aligned faces side by side to this PNG")
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    faces, _ = load_faces(options.data, options.faces, options.seed)
    photo = photos()["coffee"]
    detect = open_detector(options.detector, threads=1)
    reference = [find(detect, photo, face, REFERENCE, 0.0, rng)[1] for face in faces]
    tables: dict[str, list[list[str]]] = {"recall": [], "frame error": [], "rotation error": []}
    rows = []
    for size in options.sizes:
        for table in tables.values():
            table.append([])
        for angle in options.angles:
            results = [find(detect, photo, face, size, angle, rng) for face in faces]
            frames = [frame for _, frame in results if frame is not None]
            plain = [corner_error(frame, SQUARE) for frame in frames]
            rotated = [
                corner_error(frame, large)
                for (_, frame), large in zip(results, reference, strict=True)
                if frame is not None and large is not None
            ]
            tables["recall"][-1].append(f"{len(frames) / len(faces):.1%}")
            tables["frame error"][-1].append(median_and_tail(plain))
            tables["rotation error"][-1].append(median_and_tail(rotated))
            rows.append(np.hstack([picture for picture, _ in results[:8]]))
    print(f"{len(faces)} faces; upright at {REFERENCE} pixels: {sum(r is not None for r in reference)} found")
    for name, table in tables.items():
        print(f"\n{name:14}" + "".join(f"{angle:>16g}" for angle in options.angles))
        for size, cells in zip(options.sizes, table, strict=True):
            print(f"{size:>14}" + "".join(f"{cell:>16}" for cell in cells))
    if options.sheet:
        cv2.imwrite(str(options.sheet), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def find(
    detect: Detector, photo: np.ndarray, face: np.ndarray, size: int, angle: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Before and after as one strip, and the corners (4, 2) of the found frame in sides of the face's own frame."""
    centre = rng.uniform(0.75 * size + 4, len(photo) - 0.75 * size - 4, 2)
    to_photo = place(size, angle, centre, len(face))
    picture = paste(photo, face, to_photo)
    found = at_face(detect(picture), centre, size)
    reach = 0.75 * size
    box = (*(centre - reach), *(centre + reach))
    before = align(picture, find_frame(Detection(tuple(box), 1.0)), 96)
    if found is None:
        return np.vstack([before, np.zeros_like(before)]), None
    after = align(picture, find_frame(found), 96)
    to_picture = cv2.invertAffineTransform(face_map(find_frame(found), 96))
    in_picture = SQUARE * 96 @ to_picture[:, :2].T + to_picture[:, 2]
    to_frame = cv2.invertAffineTransform(to_photo)
    corners = (in_picture @ to_frame[:, :2].T + to_frame[:, 2]) / len(face)
    return np.vstack([before, after]), corners


def corner_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected, axis=1).mean() / np.linalg.norm(expected[1] - expected[0]))


def median_and_tail(errors: list[float]) -> str:
    return f"{np.median(errors):.3f} ({np.percentile(errors, 90):.2f})" if errors else "-"


if __name__ == "__main__":
    main()
