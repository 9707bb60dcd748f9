"""Measure how FERPlus training faces lie in their 48x48 frames: the constants of ``ranfer.faces.align``.

    python scripts/measure_framing.py ferplus_train_valid.zip --faces 3000

Each face is widened by half a frame of repeated border, enlarged, and shown to MTCNN. The first table says where the
detector's box and points lie in the frame. The second says how well each of them predicts the frame, when its median
ratio and offset are used for all faces: the error of the side, of the centre, and of the corners, in sides of the
frame. The errors contain the true variety of the frames, which no reference can remove.
"""

import argparse
import zipfile
from pathlib import Path

import cv2
import numpy as np

from ranfer.faces.align import RISE, SIDE, find_frame
from ranfer.faces.detection import Detection
from ranfer.faces.mtcnn import MTCNN
from ranfer.images import decode_image

ZOOM, BORDER = 4, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="ferplus_train_valid.zip, whose FER2013Train/ is read")
    parser.add_argument("--faces", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--border", choices=("replicate", "reflect"), default="replicate")
    options = parser.parse_args()

    with zipfile.ZipFile(options.data) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("FER2013Train/") and name.endswith("png"))
        chosen = np.random.default_rng(options.seed).choice(names, min(options.faces, len(names)), replace=False)
        faces = [decode_image(archive.read(name), name) for name in chosen]
    found = detect_in_frames(faces, cv2.BORDER_REPLICATE if options.border == "replicate" else cv2.BORDER_REFLECT_101)
    print(f"{len(faces)} faces, {len(found)} found ({len(found) / len(faces):.1%}); border: {options.border}\n")
    report(found)


def detect_in_frames(faces: list[np.ndarray], border: int) -> list[Detection]:
    """The best detection of each face where there is one, in fractions of its frame."""
    detect = MTCNN(min_face=ZOOM * 14, threads=1)
    found = []
    for face in faces:
        wide = cv2.copyMakeBorder(face, BORDER, BORDER, BORDER, BORDER, border)
        for best in detect(cv2.resize(wide, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC))[:1]:
            left, top, right, bottom = np.array(best.box) / ZOOM / 48 - BORDER / 48
            found.append(Detection((left, top, right, bottom), best.score, best.landmarks / ZOOM / 48 - BORDER / 48))
    return found


def report(found: list[Detection]) -> None:
    boxes = np.array([detection.box for detection in found])
    points = np.array([detection.landmarks for detection in found])
    four = points[:, [0, 1, 3, 4]]
    mean, spread = four.mean(axis=1), np.sqrt(((four - four.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)))
    eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
    apart = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    drop = np.linalg.norm(mouth - eyes, axis=1)
    box_centre, box_sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    roll = np.array([find_frame(detection).roll for detection in found])

    print(f"{'':24}  median      5%     25%     75%     95%")
    for name, values in {
        "box width": box_sides[:, 0],
        "box height": box_sides[:, 1],
        "box centre x": box_centre[:, 0],
        "box centre y": box_centre[:, 1],
        "eye centre x": eyes[:, 0],
        "eye centre y": eyes[:, 1],
        "mouth centre x": mouth[:, 0],
        "mouth centre y": mouth[:, 1],
        "eye to eye": apart,
        "eyes to mouth": drop,
        "spread of four points": spread,
        "roll, degrees": roll,
    }.items():
        print(f"{name:24}" + "".join(f"{value:8.3f}" for value in np.percentile(values, [50, 5, 25, 75, 95])))

    image_axes = np.zeros(len(found))
    print(f"\n{'frame predicted from':34}    side  centre  corner     95%   ratio  offset x, y")
    for name, size, centre, turn in (
        ("box", np.sqrt(box_sides.prod(axis=1)), box_centre, image_axes),
        ("box height, box", box_sides[:, 1], box_centre, image_axes),
        ("eye to eye, eye centre", apart, eyes, image_axes),
        ("eyes to mouth, eye centre", drop, eyes, image_axes),
        ("box, mean of four points", np.sqrt(box_sides.prod(axis=1)), mean, image_axes),
        ("four points", spread, mean, image_axes),
        ("four points, offset turned by roll", spread, mean, np.radians(roll)),
    ):
        show_prediction(name, size, centre, turn)

    centres = np.array([find_frame(detection)[:2] for detection in found])
    sides = np.array([find_frame(detection).side for detection in found])
    offset = np.median(centres, axis=0) - 0.5
    print(f"\nranfer.faces.align has SIDE {SIDE}, RISE {RISE}: median side {np.median(sides):.3f} of the frame,")
    print(f"median centre {offset[0]:+.3f}, {offset[1]:+.3f} from the frame's")


def show_prediction(name: str, size: np.ndarray, centre: np.ndarray, turn: np.ndarray) -> None:
    ratio = np.median(1 / size)
    away = (0.5 - centre) / (ratio * size)[:, None]
    along = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    down = np.stack([-np.sin(turn), np.cos(turn)], axis=1)
    offset = np.median((away * along).sum(axis=1)), np.median((away * down).sum(axis=1))
    side = ratio * size
    middle = centre + side[:, None] * (offset[0] * along + offset[1] * down)
    astray = np.linalg.norm(middle - 0.5, axis=1)
    corner = np.sqrt(astray**2 + (side - 1) ** 2 / 2)
    figures = np.median(abs(side - 1)), np.median(astray), np.median(corner), np.percentile(corner, 95), ratio
    print(f"{name:34}" + "".join(f"{value:8.3f}" for value in figures) + f"{offset[0]:8.3f}, {offset[1]:.3f}")


if __name__ == "__main__":
    main()
