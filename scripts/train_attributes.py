"""Train the attribute model (pose, landmarks, occlusion, visibility) on FERPlus training faces, and export it.

    python scripts/train_attributes.py data/ferplus_train_valid.zip results/teacher.npz \\
        --initial runs/compact.onnx --out src/ranfer/weights/attributes.onnx

Pose and landmarks come from the teacher (scripts/teach_pose.py), the yaw of profiles, which the teacher misses, from
labels/ferplus_yaw.jsonl; occlusion comes from drawn occluders, whose masks are exact, and from
labels/ferplus_occlusion.jsonl. The faces of both files were looked at one by one. What nobody knows of a face is left
out of its loss: a face without labels tells that something was drawn on it, and nothing of what was there before.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from ranfer.attribute_net import DEGREES, GRID, SIZE, AttributeNet, export_attributes
from ranfer.checkpoint import start_from
from ranfer.config import OptimizerConfig, ScheduleConfig
from ranfer.data import open_dataset
from ranfer.data.attributes import read_attributes
from ranfer.data.dataset import stack_faces
from ranfer.data.textfiles import parse_jsonl, read_lines
from ranfer.occluders import Kind, draw_random, occlude
from ranfer.optimizer import build_optimizer, learning_rate, moving_average
from ranfer.provenance import revision
from ranfer.regions import MIRRORED
from ranfer.vocab import ESTIMATED

LABELS = Path(__file__).parents[1] / "labels"
UNSEEN = 0.3  # weight of a cell that is taken for visible because nobody said otherwise
console = Console(highlight=False)


class Faces(NamedTuple):
    """A split: pixels, and what is known of each face; NaN is unknown."""

    ids: list[str]
    pixels: np.ndarray  # (n, 48, 48, 1) uint8
    pose: np.ndarray  # (n, 3)
    landmarks: np.ndarray  # (n, 5, 2)
    occlusion: np.ndarray  # (n, 4) of 0 and 1


class Batch(NamedTuple):
    """Faces as the network gets them, and what is to be learnt of each."""

    images: Tensor
    pose: Tensor
    landmarks: Tensor
    occlusion: Tensor
    visible: Tensor
    certain: Tensor  # weights of visible


def load(archive: Path, teacher: Path, split: str) -> Faces:
    """A split with the teacher's answers and people's labels."""
    dataset = open_dataset(f"ferplus:{archive}")
    samples = dataset.split(split)
    ids = [sample.id for sample in samples]
    place = {id_: row for row, id_ in enumerate(ids)}
    n = len(ids)
    faces = Faces(
        ids,
        stack_faces(dataset, samples, 1, SIZE),
        np.full((n, 3), np.nan, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        np.full((n, len(ESTIMATED)), np.nan, np.float32),
    )
    with np.load(teacher) as taught:
        for id_, pose, points in zip(taught["ids"].tolist(), taught["pose"], taught["landmarks"], strict=True):
            if id_ in place:
                faces.pose[place[id_]], faces.landmarks[place[id_]] = pose, points
    yaw_labels = LABELS / "ferplus_yaw.jsonl"
    for _, told in parse_jsonl(yaw_labels, read_lines(yaw_labels), [])[1]:
        if told["id"] in place:
            faces.pose[place[told["id"]], 0] = told["yaw"]
    for id_, label in read_attributes(LABELS / "ferplus_occlusion.jsonl").records.items():
        if id_ in place and label.occlusion:
            faces.occlusion[place[id_]] = [label.occlusion[kind] for kind in ESTIMATED]
    return faces


def changed(faces: Faces, row: int, rng: np.random.Generator, drawn: float) -> tuple[np.ndarray, ...]:
    """One training face, moved, lit and perhaps covered, as the fields of :class:`Batch`."""
    pixels, pose, points = faces.pixels[row], faces.pose[row].copy(), faces.landmarks[row].copy()
    occlusion = faces.occlusion[row].copy()
    if rng.random() < 0.5:
        pixels, pose, points = pixels[:, ::-1], pose * (-1, 1, -1), points[MIRRORED] * (-1, 1) + (1, 0)
    angle, zoom, shift = rng.normal(0, 10), 1 + rng.uniform(-0.15, 0.15), rng.uniform(-0.08, 0.08, 2)
    cos, sin = zoom * np.cos(np.radians(angle)), zoom * np.sin(np.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = (SIZE - 1) / 2
    to_moved = np.column_stack([turn, (middle, middle) - turn @ (middle, middle) + SIZE * shift])
    pixels = cv2.warpAffine(np.ascontiguousarray(pixels), to_moved, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
    points = (points - 0.5) @ turn.T + 0.5 + shift
    pose[2] += angle

    covered = np.zeros((GRID, GRID), np.float32)
    if rng.random() < drawn:
        known = points if np.isfinite(points).all() else None
        over = draw_random(pixels[..., None], rng, known)
        pixels = over.face[..., 0]
        covered = cv2.resize(over.mask.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        for kind in over.occlusion:  # readers did not count watermarks either, which leave the face to be seen
            occlusion[ESTIMATED.index(kind)] = 1
    clear = np.nansum(faces.occlusion[row]) == 0 and np.isfinite(faces.occlusion[row]).all()
    told = np.isfinite(faces.occlusion[row]).all()
    certain = np.where(covered > 0.1, 1.0, 1.0 if clear else 0.0 if told else UNSEEN)

    image = pixels.astype(np.float32) / 255
    if rng.random() < 0.15:  # a small face
        side = int(rng.integers(16, 36))
        image = cv2.resize(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), (SIZE, SIZE))
    mean = image.mean()
    image = mean + (image - mean) * (1 + rng.uniform(-0.3, 0.3)) + rng.uniform(-0.2, 0.2)
    if rng.random() < 0.3:
        image = image + rng.normal(0, rng.uniform(0, 0.03), image.shape)
    return np.clip(image, 0, 1), pose, points, occlusion, 1 - covered, certain


def batch_of(parts: list[tuple[np.ndarray, ...]]) -> Batch:
    """Single faces stacked."""
    fields = [torch.from_numpy(np.stack(field).astype(np.float32)) for field in zip(*parts, strict=True)]
    return Batch(fields[0][:, None].contiguous(memory_format=torch.channels_last), *fields[1:])


def loss_of(net: torch.nn.Module, batch: Batch) -> Tensor:
    """The sum of four losses, each over what is known."""
    told = net(batch.images)
    pose, points = torch.isfinite(batch.pose), torch.isfinite(batch.landmarks).flatten(1).all(1)
    kinds = torch.isfinite(batch.occlusion)
    loss = F.smooth_l1_loss(told.pose[pose] / DEGREES, batch.pose[pose] / DEGREES, beta=0.1) * 4
    loss = loss + F.smooth_l1_loss(told.landmarks[points], batch.landmarks[points], beta=0.02) * 20
    loss = loss + F.binary_cross_entropy_with_logits(told.occlusion[kinds], batch.occlusion[kinds])
    cells = F.binary_cross_entropy_with_logits(told.visible, batch.visible, reduction="none")
    return loss + (cells * batch.certain).sum() / batch.certain.sum().clamp(min=1)


@torch.inference_mode()
def figures(net: AttributeNet, valid: Faces) -> dict[str, float]:
    """Error against the teacher in degrees, and areas under the curve on labelled and on drawn occlusion."""
    net.eval()

    def told(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images = torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2)
        parts = [net(images[i : i + 256]) for i in range(0, len(images), 256)]
        return tuple(torch.cat([part[k] for part in parts]).numpy() for k in (0, 1, 2))  # type: ignore[return-value]

    landmarks, pose, occlusion = told(valid.pixels)
    known = np.isfinite(valid.pose).all(1)
    errors = np.abs(pose - valid.pose)[known].mean(0)
    said = dict(zip(("yaw_error", "pitch_error", "roll_error"), errors.tolist(), strict=True))
    profile = ~known & np.isfinite(valid.pose[:, 0])
    said["yaw_error_of_profiles"] = float(np.abs(pose - valid.pose)[profile, 0].mean())
    said["profiles_over_45"] = float(
        (np.abs(pose[profile]).max(axis=1, where=[True, True, False], initial=0) > 45).mean()
    )
    said["landmark_error"] = float(np.linalg.norm(landmarks - valid.landmarks, axis=2)[known].mean())
    labelled = np.isfinite(valid.occlusion).all(1)
    truth, score = valid.occlusion[labelled], occlusion[labelled]
    for kind, name in enumerate(ESTIMATED):
        said[f"auc_{name}"] = float(roc_auc_score(truth[:, kind], score[:, kind]))
    covered = 1 - np.prod(1 / (1 + np.exp(score)), axis=1)
    said["auc_any"] = float(roc_auc_score(truth.any(1), covered))
    clear = np.flatnonzero(labelled & (np.nansum(valid.occlusion, 1) == 0))
    for kind in Kind:
        covered_faces = [
            occlude(valid.pixels[row], kind, np.random.default_rng(row), _finite(valid.landmarks[row])) for row in clear
        ]
        pixels = np.stack([one.face for one in covered_faces])
        after = 1 - np.prod(1 / (1 + np.exp(told(pixels)[2])), axis=1)
        before = 1 - np.prod(1 / (1 + np.exp(occlusion[clear])), axis=1)
        said[f"drawn_{kind.value}"] = float(
            roc_auc_score(np.repeat([1, 0], len(clear)), np.concatenate([after, before]))
        )
    return said


@torch.no_grad()
def calibrate(net: AttributeNet, valid: Faces) -> None:
    """Fit the log odds of each occlusion to the labelled validation faces (Platt 1999), within the last layer.

    Half of the training faces had something drawn over them; of real faces fewer are covered.
    """
    net.eval()
    labelled = np.isfinite(valid.occlusion).all(1)
    images = torch.from_numpy(valid.pixels[labelled].astype(np.float32) / 255).permute(0, 3, 1, 2)
    odds = torch.cat([(net(part).occlusion + net(part.flip(-1)).occlusion) / 2 for part in images.split(256)]).numpy()
    start = sum(net.sizes[:2])
    for kind in range(len(ESTIMATED)):
        fitted = LogisticRegression(C=1e6).fit(odds[:, kind : kind + 1], valid.occlusion[labelled, kind])
        net.head.weight[start + kind] *= float(fitted.coef_[0, 0])
        net.head.bias[start + kind] = net.head.bias[start + kind] * float(fitted.coef_[0, 0]) + float(
            fitted.intercept_[0]
        )


def _finite(points: np.ndarray) -> np.ndarray | None:
    return points if np.isfinite(points).all() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--initial", type=Path, help="checkpoint whose backbone to start from")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labelled", type=int, default=4, help="how often an epoch shows each labelled face")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    learn, valid = (load(options.archive, options.teacher, split) for split in ("train", "valid"))
    known = np.isfinite(learn.occlusion).all(1)
    profile = ~np.isfinite(learn.pose[:, 1]) & np.isfinite(learn.pose[:, 0])
    console.print(
        f"{len(learn.ids):,} faces, {np.isfinite(learn.pose).all(1).sum():,} with a pose, {known.sum():,} labelled; "
        f"validation: {np.isfinite(valid.pose).all(1).sum():,} and {np.isfinite(valid.occlusion).all(1).sum():,}"
    )
    net = AttributeNet().to(memory_format=torch.channels_last)
    if options.initial:
        start_from(net.backbone, options.initial, console)
    average = AveragedModel(net, multi_avg_fn=moving_average(0.998), use_buffers=True)
    config = OptimizerConfig(name="adamw", lr=0.002, weight_decay=0.05)
    optimizer, schedule = build_optimizer(net, config), ScheduleConfig(warmup=0.3)
    compiled = torch.compile(net, dynamic=False)
    again = np.flatnonzero(known | profile)
    rows = np.concatenate([np.arange(len(learn.ids)), *[again] * (options.labelled - 1)])
    size, steps = 64, len(rows) // 64
    for epoch in range(options.epochs):
        rng = np.random.default_rng([options.seed, epoch])
        order = rng.permutation(rows)
        net.train()
        total = 0.0
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * learning_rate(schedule, options.epochs, epoch + step / steps) * group["scale"]
            batch = batch_of([changed(learn, row, rng, 0.5) for row in order[step * size : (step + 1) * size]])
            loss = loss_of(compiled, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(net)
            total += loss.item()
        said = figures(average.module, valid) if epoch % 2 or epoch == options.epochs - 1 else {}
        shown = "  ".join(f"{name} {value:.3f}" for name, value in said.items())
        console.print(f"epoch {epoch + 1}  loss {total / steps:.4f}  {shown}", soft_wrap=True)
    calibrate(average.module, valid)
    said = figures(average.module, valid)
    console.print("calibrated", *(f"{name} {value:.3f}" for name, value in said.items()), soft_wrap=True)
    about = {
        "kind": "ranfer attributes",
        "trained_on": "FERPlus training faces; poses and landmarks of MediaPipe 0.10.21, drawn and labelled occlusion",
        "validation": said,
        "seed": options.seed,
        "epochs": options.epochs,
        "revision": revision(),
        "date": datetime.date.today().isoformat(),
    }
    worst = export_attributes(average.module, options.out, about)
    console.print(
        f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB; differs from PyTorch by {worst:.1e} at most"
    )


if __name__ == "__main__":
    main()
