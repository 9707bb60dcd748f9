"""Train the detector's candidate network on FERPlus training faces, and export it.

    python scripts/train_detector.py data/ferplus_train_valid.zip PACKAGES --out src/ranfer/weights/candidates.onnx

Faces are pasted into pieces of photos, and MTCNN's first network proposes candidates there as it does in a picture:
those that lie at the face are faces, those far from it are none. The photos show no human face, so that every candidate
in them is none: labels/photos_without_faces.tsv lists them by their paths in PACKAGES, a folder into which packages of
Debian 12 were extracted, each into one of its name (``dpkg-deb -x``). In a second round, the candidates there that the
network of the first takes for faces are shown, too.

That a face was pasted must tell nothing: pieces of photos are pasted in the same way and are no faces; how much of a
face is pasted, and how its rim fades, is random, so that the rim does not tell where its frame lies. Turned faces
are shown oftener, things are drawn over a third of all, and the five points are those of the attribute model.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from collections.abc import Iterable
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from pasted_faces import place
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from ranfer.candidate_net import SIZE, CandidateNet, export_candidates
from ranfer.config import OptimizerConfig, ScheduleConfig
from ranfer.data import open_dataset
from ranfer.data.dataset import stack_faces
from ranfer.faces.attributes import AttributeModel
from ranfer.faces.cascade import CONTEXT, KIND, widened
from ranfer.faces.detection import crops
from ranfer.faces.mtcnn import MTCNN
from ranfer.images import LUMA, decode_image
from ranfer.occluders import draw_random
from ranfer.optimizer import build_optimizer, learning_rate
from ranfer.provenance import revision
from ranfer.regions import MIRRORED

LISTED = Path(__file__).parents[1] / "labels" / "photos_without_faces.tsv"
FACE = 48  # pixels of a training face
THRESHOLD = 0.5  # of MTCNN's first network here, less than where it is used
PER_SCENE = 8  # candidates of a scene that are no faces, at most
PER_PHOTO = 50
LARGEST = 1600  # longer side of a photo, in pixels
SHOWN = ((45, 8.0), (30, 4.0), (15, 1.5), (0, 1.0))  # how often faces of a yaw over so many degrees are shown
console = Console(highlight=False)


class Candidates(NamedTuple):
    """What MTCNN's first network proposes, as the candidate network sees it, and what it should say."""

    pixels: np.ndarray  # (n, 48, 48) uint8
    face: np.ndarray  # (n,) bool
    square: np.ndarray  # (n, 3), as of candidate_net.Scored; of no meaning where there is no face
    points: np.ndarray  # (n, 5, 2)


def together(parts: Iterable[Candidates]) -> Candidates:
    """All of them, in order."""
    return Candidates(*map(np.concatenate, zip(*parts, strict=True)))


def no_faces(pixels: np.ndarray) -> Candidates:
    """Candidates of which none is a face."""
    n = len(pixels)
    return Candidates(pixels, np.zeros(n, bool), np.zeros((n, 3), np.float32), np.zeros((n, 5, 2), np.float32))


class Painter:
    """Makes scenes and candidates; one of each process."""

    def __init__(self, photos: list[Path]) -> None:
        cv2.setNumThreads(1)
        self.detector = MTCNN(thresholds=(THRESHOLD, 0.7, 0.7), threads=1)
        self.photos = [shrunk(decode_image(path, str(path))) for path in photos]

    def background(self, rng: np.random.Generator, side: int) -> np.ndarray:
        """A square piece of a photo, of any size there, as ``side`` pixels."""
        photo = self.photos[rng.integers(len(self.photos))]
        height, width = photo.shape[:2]
        least = min(height, width)
        piece = int(rng.uniform(min(max(24, 0.15 * least), least), least))
        y, x = rng.integers(0, height - piece + 1), rng.integers(0, width - piece + 1)
        kind = cv2.INTER_AREA if piece > side else cv2.INTER_LINEAR
        found = cv2.resize(photo[y : y + piece, x : x + piece], (side, side), interpolation=kind)
        return np.ascontiguousarray(found[:, ::-1]) if rng.random() < 0.5 else found

    def patch(self, rng: np.random.Generator) -> np.ndarray:
        """A piece of a photo that looks like a face of the training data in all but its content."""
        return grey(self.background(rng, FACE))

    def scene(self, rng: np.random.Generator, face: np.ndarray, points: np.ndarray) -> Candidates:
        """Candidates round a face (48, 48) with points in fractions of it, or round a patch in its place."""
        if rng.random() < 0.5:
            face, points = np.ascontiguousarray(face[:, ::-1]), points[MIRRORED] * (-1, 1) + (1, 0)
        if rng.random() < 0.35:
            face = draw_random(face[..., None], rng, points).face[..., 0]
        size, angle = float(np.exp(rng.uniform(np.log(18), np.log(110)))), float(np.clip(rng.normal(0, 18), -50, 50))
        side = int(max(2.2 * size, 48))
        picture, centre = self.background(rng, side).astype(np.float32), side / 2 + rng.uniform(-0.15, 0.15, 2) * size
        beside, smaller = rng.uniform(0, side, 2), size * rng.uniform(0.5, 1.1)
        if rng.random() < 0.5 and np.linalg.norm(beside - centre) > 0.6 * size + 0.3 * smaller:
            picture = paste(rng, picture, self.patch(rng), place(smaller, rng.uniform(-40, 40), beside, FACE))
        is_face = rng.random() < 0.85
        to_picture = place(size, angle, centre, FACE)
        seen = as_photo(rng, paste(rng, picture, face if is_face else self.patch(rng), to_picture))

        about = centre + rng.normal(0, 0.1, (2, 2)) * size  # where MTCNN may propose one
        half = size / 2 * np.exp(rng.uniform(np.log(0.65), np.log(1.3), (2, 1)))
        proposed = np.vstack([self.detector.propose(seen)[:40], np.hstack([about - half, about + half])])
        squares, pixels = crops(seen, widened(proposed), SIZE)
        middle, width = (squares[:, :2] + squares[:, 2:]) / 2, squares[:, 2:3] - squares[:, :1]
        distance, ratio = np.linalg.norm(middle - centre, axis=1) / size, width[:, 0] / CONTEXT / size
        at_face = (distance < 0.32) & (ratio > 0.55) & (ratio < 1.6) & is_face
        beside_it = (distance > 0.6) | (ratio < 0.38) | (ratio > 2.3) | (not is_face)
        chosen = np.concatenate([np.flatnonzero(at_face), rng.permutation(np.flatnonzero(beside_it))[:PER_SCENE]])
        square = np.hstack([(centre - middle) / width, np.log(size / width)])
        five = points * FACE @ to_picture[:, :2].T + to_picture[:, 2]
        five = (five - middle[:, None]) / width[:, None]
        grown = (grey_all(pixels), at_face, square.astype(np.float32), five.astype(np.float32))
        return Candidates(*(part[chosen] for part in grown))

    def propose(self, rng: np.random.Generator, number: int, net: CandidateNet | None) -> np.ndarray:
        """Candidates in a photo at some size and in some light; with a network, those that it takes for faces."""
        photo = self.photos[number]
        scale = rng.uniform(150, 1000 if net is None else LARGEST) / max(photo.shape[:2])
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=kind)
        if rng.random() < 0.5:
            picture = np.ascontiguousarray(picture[:, ::-1])
        if rng.random() < 0.7:
            picture = as_photo(rng, lit(rng, picture))
        pixels = grey_all(crops(picture, widened(self.detector.propose(picture)), SIZE)[1])
        if net is None:
            first = min(15, len(pixels))
            return pixels[np.concatenate([np.arange(first), first + rng.permutation(len(pixels) - first)])[:PER_PHOTO]]
        parts = np.split(pixels, range(512, len(pixels), 512)) if len(pixels) else []
        odds = np.concatenate([np.empty(0), *(told(net, part) for part in parts)])
        best = np.argsort(-odds)[:PER_PHOTO]
        return pixels[best[odds[best] > np.log(0.1 / 0.9)]]


def shrunk(photo: np.ndarray) -> np.ndarray:
    """At most LARGEST, in RGB."""
    scale = LARGEST / max(photo.shape[:2])
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else photo


def grey(pixels: np.ndarray) -> np.ndarray:
    """RGB as the network weighs it."""
    return np.round(pixels @ np.array(LUMA, np.float32)).astype(np.uint8)


def grey_all(pixels: np.ndarray) -> np.ndarray:
    """As :func:`grey`, of none as well."""
    return grey(pixels.reshape(-1, SIZE, SIZE, 3))


def lit(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """In another light, and RGB in another tint; float."""
    image = pixels.astype(np.float32)
    if rng.random() < 0.7:
        image = image * rng.uniform((0.75, 0.6, 0.5), (1.1, 1.0, 0.95)) * rng.uniform(0.7, 1.15)
    mean = image.mean()
    return np.clip(mean + (image - mean) * rng.uniform(0.6, 1.3) + rng.uniform(-30, 30), 0, 255)


def as_photo(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Blurred, noisy, grey or as a JPEG, each at random."""
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:
        image = image + rng.normal(0, rng.uniform(1, 7), image.shape)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        pixels = np.repeat(grey(pixels)[..., None], 3, axis=2)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        pixels = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR)
    return pixels


def paste(rng: np.random.Generator, picture: np.ndarray, patch: np.ndarray, to_picture: np.ndarray) -> np.ndarray:
    """The picture with a grey patch in it, tinted; how much of it is shown, and how its rim fades, at random."""
    cut = (rng.uniform(0, 0.13, 4) * FACE).astype(int) if rng.random() < 0.8 else np.zeros(4, int)
    rim = int(rng.uniform(0.05, 0.35) * FACE)
    beyond = cv2.BORDER_REPLICATE if rng.random() < 0.7 else cv2.BORDER_REFLECT_101
    part = cv2.copyMakeBorder(patch[cut[0] : FACE - cut[1], cut[2] : FACE - cut[3]], rim, rim, rim, rim, beyond)
    drawn = lit(rng, np.repeat(part[..., None], 3, axis=2))
    y, x = (2 * (np.arange(side) + 0.5) / side - 1 for side in part.shape)
    power, softness = rng.choice([2, 2.5, 4, 20]), rng.choice([0.03, 0.15, 0.35])
    inside = (abs(x[None]) ** power + abs(y[:, None]) ** power) ** (1 / power)
    cover = np.clip((1 - inside) / softness, 0, 1).astype(np.float32)

    fine = 2 if np.hypot(*to_picture[:, 0]) < 1 else 1  # drawn finer and averaged, so that shrinking does not alias
    turn = fine * to_picture[:, :2]
    shift = fine * to_picture[:, 2] - turn @ (rim - cut[2], rim - cut[0]) + turn @ (0.5, 0.5) - 0.5
    side = len(picture)
    kind = {"M": np.column_stack([turn, shift]), "dsize": (side * fine, side * fine)}
    drawn = cv2.warpAffine(drawn, **kind, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(cover, **kind, flags=cv2.INTER_LINEAR)
    drawn, cover = (cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in (drawn, cover))
    return picture * (1 - cover[..., None]) + np.clip(drawn, 0, 255) * cover[..., None]


@torch.inference_mode()
def told(net: CandidateNet, pixels: np.ndarray) -> np.ndarray:
    """Log odds of candidates (n, 48, 48)."""
    return net(torch.from_numpy(pixels)[:, None].float() / 255).odds.numpy()


painter: Painter  # of this process
network: CandidateNet | None


def start(photos: list[Path], net: CandidateNet | None) -> None:
    """What a process of the pool needs."""
    global painter, network
    torch.set_num_threads(1)
    painter, network = Painter(photos), net


def scene_of(job: tuple[list[int], np.ndarray, np.ndarray]) -> Candidates:
    seed, face, points = job
    return painter.scene(np.random.default_rng(seed), face, points)


def found_in(job: tuple[list[int], int]) -> np.ndarray:
    seed, number = job
    return painter.propose(np.random.default_rng(seed), number, network)


def search(photos: list[Path], passes: int, seed: int, net: CandidateNet | None = None) -> Candidates:
    """Candidates in photos that show nobody, each photo so many times."""
    jobs = [([seed, 1 + (net is not None), i, number], number) for i in range(passes) for number in range(len(photos))]
    with Pool(os.cpu_count(), start, (photos, net)) as pool:
        return no_faces(np.concatenate(pool.map(found_in, jobs, 8)))


def paint(archive: Path, photos: list[Path], count: int, seed: int) -> Candidates:
    """Candidates in so many scenes with a training face."""
    dataset = open_dataset(f"ferplus:{archive}")
    faces = stack_faces(dataset, dataset.split("train"), 1, FACE)
    model = AttributeModel()
    parts = [model(np.repeat(part, 3, axis=3)) for part in np.split(faces, range(256, len(faces), 256))]
    points = np.concatenate([part.landmarks for part in parts])
    yaw = abs(np.concatenate([part.pose for part in parts])[:, 0])
    weights = np.array([next(often for least, often in SHOWN if turn >= least) for turn in yaw])
    chosen = np.random.default_rng([seed, 0]).choice(len(faces), count, p=weights / weights.sum())
    jobs = (([seed, 0, i], faces[row, ..., 0], points[row]) for i, row in enumerate(chosen))
    with Pool(os.cpu_count(), start, (photos, None)) as pool:
        return together(pool.imap(scene_of, jobs, 64))


def mirrored(square: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Places in the mirror image."""
    return square * square.new_tensor((-1, 1, 1)), points[:, MIRRORED] * points.new_tensor((-1, 1))


def fit(net: CandidateNet, shown: Candidates, epochs: int, rate: float, batch: int = 256) -> None:
    """Train in bfloat16 with a cosine schedule."""
    pixels, face, square, points = map(torch.from_numpy, shown)
    config, schedule = OptimizerConfig(name="adamw", lr=rate, weight_decay=0.02), ScheduleConfig(warmup=0.5)
    optimizer, steps = build_optimizer(net, config), len(pixels) // batch
    for epoch in range(epochs):
        net.train()
        started, total = time.perf_counter(), torch.zeros(3)
        for step, rows in enumerate(torch.randperm(len(pixels))[: steps * batch].split(batch)):
            for group in optimizer.param_groups:
                group["lr"] = rate * learning_rate(schedule, epochs, epoch + step / steps) * group["scale"]
            images, is_face = pixels[rows][:, None].float() / 255, face[rows]
            where, five = square[rows], points[rows]
            if torch.rand(()) < 0.5:
                images, (where, five) = images.flip(-1), mirrored(where, five)
            gain, lift = (torch.rand(2, batch, 1, 1, 1) * 2 - 1) * torch.tensor([0.3, 0.15]).view(2, 1, 1, 1, 1)
            images = (images * (1 + gain) + lift).clamp(0, 1).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                said = net(images)
            losses = torch.stack(
                [
                    F.binary_cross_entropy_with_logits(said.odds.float(), is_face.float()),
                    F.smooth_l1_loss(said.square.float()[is_face], where[is_face], beta=0.05),
                    F.smooth_l1_loss(said.points.float()[is_face], five[is_face], beta=0.05),
                ]
            )
            (losses @ losses.new_tensor((1.0, 4.0, 2.0))).backward()
            optimizer.step()
            optimizer.zero_grad()
            total += losses.detach()
        odds, places, five_points = (total / steps).tolist()
        seconds = time.perf_counter() - started
        console.print(f"epoch {epoch + 1}  {odds:.4f}  {places:.4f}  {five_points:.4f}  {seconds:.0f} s")
    net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="ferplus_train_valid.zip, whose training faces are read")
    parser.add_argument("packages", type=Path, help="folder with the files of labels/photos_without_faces.tsv")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--scenes", type=int, default=80_000)
    parser.add_argument("--passes", type=int, default=8, help="over the photos, in each round")
    parser.add_argument("--epochs", type=int, nargs=2, default=(3, 8), help="of both rounds")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rows = [line.split("\t") for line in LISTED.read_text(encoding="utf-8").splitlines()]
    photos = [options.packages / file for split, file in rows if split == "train"]
    if absent := [photo for photo in photos if not photo.is_file()]:
        parser.error(f"{len(absent)} of {len(photos)} photos are missing, such as {absent[0]}")
    scenes = paint(options.archive, photos, options.scenes, options.seed)
    console.print(
        f"{options.scenes:,} scenes: {scenes.face.sum():,} candidates at a face, {(~scenes.face).sum():,} not"
    )
    empty = search(photos, options.passes, options.seed)
    console.print(f"{len(photos):,} photos: {len(empty.face):,} candidates")
    net = CandidateNet().to(memory_format=torch.channels_last)
    fit(net, together([scenes, empty]), options.epochs[0], 0.002)
    mistaken = search(photos, options.passes, options.seed, net)
    console.print(f"{len(mistaken.face):,} candidates there taken for faces")
    fit(net, together([scenes, empty, mistaken]), options.epochs[1], 0.002)
    about = {
        "kind": KIND,
        "trained_on": "FERPlus training faces in photos that show nobody, with points of the attribute model",
        "faces": options.scenes,
        "photos": len(photos),
        "seed": options.seed,
        "epochs": list(options.epochs),
        "revision": revision(),
        "date": datetime.date.today().isoformat(),
    }
    worst = export_candidates(net, options.out, about)
    size = options.out.stat().st_size / 1e6
    console.print(f"{options.out}: {size:.1f} MB; differs from PyTorch by {worst:.1e} at most")


if __name__ == "__main__":
    main()
