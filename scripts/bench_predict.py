"""How long recognition in pictures takes, stage by stage and as a whole, how much memory, and how long a start.

    python scripts/bench_predict.py [--weights FILE.onnx] [--pictures 40] [--json FILE]

The pictures are JPEG files of 1280 x 960 pixels with one face or ten: NASA's portrait of Eileen Collins (public
domain), which scikit-image carries, its head pasted at 140 to 236 pixels. Stages are timed one after the other in one
thread; the loop is what `ranfer predict` runs. Its rate stands beside the one that the stages would give if all cores
did nothing else, so that the share is comparable between machines; single times are not, and nothing here passes or
fails. The stage that takes most is what bounds the loop. Pose and occlusion are a part of recognising.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage.data import astronaut

from ranfer.draw import annotate, fit
from ranfer.faces.align import align, find_frame
from ranfer.faces.attributes import AttributeModel
from ranfer.faces.detectors import open_detector
from ranfer.images import decode_image
from ranfer.recognize import DEFAULT_WEIGHTS, Found, load

WIDTH, HEIGHT = 1280, 960
LOOP = """
import resource, sys, time
from pathlib import Path
from ranfer.predict import predict
from ranfer.recognize import load
recognizer = load(sys.argv[1], threads=1)
pictures = sorted(Path(sys.argv[2]).iterdir())[:int(sys.argv[4])]
start = time.perf_counter()
predict(recognizer, pictures, Path(sys.argv[3]), draw=sys.argv[5] == "draw")
unit = 2**20 if sys.platform == "darwin" else 2**10
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
"""
FIRST = "import sys; from ranfer.recognize import load; print(len(load(sys.argv[1])(sys.argv[2])))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for faces in (1, 10):
            folder = Path(scratch, f"{faces}")
            paste(folder, faces, options.pictures)
            figures[f"{faces} a picture"] = measure(options.weights, folder, options.pictures)
        figures["a start"] = measure_start(options.weights, next(Path(scratch, "1").iterdir()))
    for name, values in figures.items():
        print(f"\n{name}")
        for what, value in values.items():
            print(f"  {what:44}{value:10.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def paste(folder: Path, faces: int, count: int) -> None:
    """Pictures with the portrait's head at so many places of a soft background."""
    folder.mkdir()
    generator = np.random.default_rng(faces)
    head = astronaut()[10:220, 120:330]
    for number in range(count):
        coarse = generator.integers(60, 200, size=(6, 8, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        for cell in generator.permutation(20)[:faces]:  # of five columns and four rows
            side = int(generator.integers(140, 236))  # of the head; the face in it is smaller
            left, top = int(cell % 5) * 256 + 10, int(cell // 5) * 240 + 2
            picture[top : top + side, left : left + side] = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
        Image.fromarray(picture).save(folder / f"{number:04d}.jpg", quality=90)


def measure(weights: Path, folder: Path, count: int) -> dict[str, float]:
    """Milliseconds a picture for each stage, and the loop."""
    recognizer, detect = load(weights, threads=1), open_detector("ranfer", threads=1)
    attributes, attributes_took = AttributeModel(threads=1), list[float]()
    size = int(recognizer.description["model"]["size"])
    times: dict[str, list[float]] = {name: [] for name in ("decode", "detect", "align", "recognise", "draw")}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        times[stage].append(1000 * (time.perf_counter() - start))

    found_faces = 0
    for path in sorted(folder.iterdir()):
        with timed("decode"):
            image = decode_image(path, str(path))
        with timed("detect"):
            detections = detect(image)
        with timed("align"):
            found = [Found(detection, align(image, find_frame(detection), size)) for detection in detections]
        with timed("recognise"):
            (faces,) = recognizer.classify([found])
        if found:
            pixels, start = np.stack([one.pixels for one in found]), time.perf_counter()
            attributes(pixels)
            attributes_took.append(1000 * (time.perf_counter() - start))
        with timed("draw"):
            small, scale = fit(image)
            annotate(small, faces, scale).save(folder.parent / "drawn.jpg", quality=90)
        found_faces += len(faces)
    figures = {f"{stage}, ms": statistics.median(values) for stage, values in times.items()}
    each = found_faces / count
    slowest = max(times, key=lambda stage: figures[f"{stage}, ms"])
    figures[f"slowest: {slowest}, share of all stages"] = figures[f"{slowest}, ms"] / sum(figures.values())
    figures["of recognise, pose and occlusion, ms"] = statistics.median(attributes_took or [0.0])
    figures["faces found a picture"] = each
    figures |= {f"{stage}, ms a face": figures[f"{stage}, ms"] / max(each, 1) for stage in ("align", "recognise")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for how in ("plain", "draw"):
        stages = [
            value for stage, value in zip(times, figures.values(), strict=False) if stage != "draw" or how == "draw"
        ]
        with tempfile.TemporaryDirectory() as out:
            seconds, memory = map(float, run(LOOP, weights, folder, out, count, how).split())
        with tempfile.TemporaryDirectory() as out:
            _, less = map(float, run(LOOP, weights, folder, out, max(count // 4, 1), how).split())
        suffix = " with --draw" if how == "draw" else ""
        figures[f"loop, pictures a second{suffix}"] = count / seconds
        figures[f"loop, share of all cores at the stages{suffix}"] = sum(stages) / 1000 / cores / (seconds / count)
        figures[f"loop, peak memory, MiB{suffix}"] = memory
        figures[f"loop, peak memory, a quarter of it, MiB{suffix}"] = less
    return figures


def measure_start(weights: Path, picture: Path) -> dict[str, float]:
    """Seconds of fresh processes, the median of five each."""

    def seconds(call: Callable[[], object]) -> float:
        took = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            took.append(time.perf_counter() - start)
        return statistics.median(took)

    return {
        "python alone, s": seconds(lambda: run("pass")),
        "import ranfer, s": seconds(lambda: run("import ranfer")),
        "import ranfer.recognize, s": seconds(lambda: run("import ranfer.recognize")),
        "first answer, s": seconds(lambda: run(FIRST, weights, picture)),
    }


def run(code: str, *arguments: object) -> str:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
