"""What attention is worth to a trained model: the same features of its regions, weighed in other ways.

    python scripts/measure_attention.py MODEL --data ferplus:DATA --subset turned=runs/subsets/pose_30.jsonl

MODEL is a checkpoint or an exported file, with regions that all faces share. Nothing is trained: features, classifier
and faces stay, and only mu and nu change.

    learnt       as the model weighs the regions of this face
    same         every face by the mean mu and nu over all faces: what differs from face to face is gone
    another's    by those of another face, drawn at random
    equal        all regions alike
    face alone   the whole face, and no crop

Accuracy is of majority labels, without mirror image, with the difference from ``learnt`` in points and a 95 % interval
(bootstrap over faces). The last column is of faces that things were drawn over, as in ``ranfer evaluate --occlude``:
the mean over kinds and shares.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from ranfer.checkpoint import load
from ranfer.data import open_dataset
from ranfer.data.dataset import stack_faces
from ranfer.data.face_lists import read_list
from ranfer.evaluate import labelled
from ranfer.formatting import markdown_table, points
from ranfer.intervals import mean
from ranfer.model import RAN, weighted_mean
from ranfer.regions import names
from ranfer.synthetic_occlusion import choose, cover

BATCH = 256


class Seen(NamedTuple):
    """Features of the regions of n faces, and how the model weighs them."""

    features: Tensor  # (n, r, d)
    mu: Tensor  # (n, r)
    nu: Tensor  # (n, r)


@torch.inference_mode()
def look(model: RAN, faces: np.ndarray) -> Seen:
    """Faces (n, h, w, c) of bytes, through all but the end of the network."""
    kept: list[Seen] = []
    features: list[Tensor] = []
    hook = model.attention.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    for start in range(0, len(faces), BATCH):
        out = model(model.prepare(torch.from_numpy(np.ascontiguousarray(faces[start : start + BATCH]))))
        kept.append(Seen(features.pop(), out.mu, out.nu))
    hook.remove()
    return Seen(*map(torch.cat, zip(*kept, strict=True)))


@torch.inference_mode()
def answers(model: RAN, features: Tensor, mu: Tensor, nu: Tensor) -> np.ndarray:
    """Columns of expressions, (n,), for regions weighed by given mu and nu, (n, r) or (1, r)."""
    mean = weighted_mean(features, mu)
    if model.attention.relation_attention is not None:
        mean = weighted_mean(torch.cat([features, mean[:, None].expand_as(features)], 2), mu * nu)
    return model.fc(mean).argmax(1).numpy()


def weighed(model: RAN, seen: Seen, usual: Seen, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The answers by each way of weighing; ``usual`` tells how faces are weighed on average."""
    other = torch.from_numpy(rng.permutation(len(seen.mu)))
    ones, face = torch.ones_like(seen.mu[:1]), torch.zeros_like(seen.mu[:1])
    face[:, 0] = 1
    ways = {
        "learnt": (seen.mu, seen.nu),
        "same": (usual.mu.mean(0, keepdim=True), usual.nu.mean(0, keepdim=True)),
        "another's": (seen.mu[other], seen.nu[other]),
        "equal": (ones, ones),
        "face alone": (face, face),
    }
    return {name: answers(model, seen.features, mu, nu) for name, (mu, nu) in ways.items()}


def _cell(right: np.ndarray, learnt: np.ndarray, itself: bool) -> str:
    return f"{100 * right.mean():.2f}" if itself else points(mean(right.astype(float) - learnt))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True, metavar="FORMAT:PATH")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--subset", action="append", default=[], metavar="NAME=LIST")
    parser.add_argument("--occlusion-faces", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the draw of another's weights")
    options = parser.parse_args()

    model = load(options.model).model.eval()
    dataset, rng = open_dataset(options.data), np.random.default_rng(options.seed)
    samples, truth, _ = labelled(dataset, options.split, "majority")
    usual = look(model, stack_faces(dataset, samples, model.config.channels, model.config.size))
    said = weighed(model, usual, usual, rng)
    ids = [sample.id for sample in samples]
    groups = {options.split: np.arange(len(ids))}
    for text in options.subset:
        name, _, path = text.partition("=")
        listed = {entry.id for entry in read_list(Path(path)).entries}
        groups[name] = np.flatnonzero([id_ in listed for id_ in ids])
    rates: dict[str, dict[str, Any]] = {
        name: {way: (found == truth)[rows] for way, found in said.items()} for name, rows in groups.items()
    }
    weights = {name: (usual.mu * usual.nu)[torch.from_numpy(rows)] for name, rows in groups.items()}

    subjects = choose(dataset, samples, truth, options.occlusion_faces)
    found: list[dict[str, np.ndarray]] = []
    drawn = []
    for cell in track(list(cover(subjects))[1:], "drawn over", console=Console(stderr=True), transient=True):
        seen = look(model, cell.faces)
        found.append(weighed(model, seen, usual, rng))
        drawn.append(seen.mu * seen.nu)
    rates["drawn over"] = {way: np.mean([one[way] == subjects.truth for one in found], axis=0) for way in said}
    weights["drawn over"] = torch.cat(drawn)

    head = [f"{name}, n = {len(rates[name]['learnt']):,}" for name in rates]
    rows = [[way, *(_cell(one[way], one["learnt"], way == "learnt") for one in rates.values())] for way in said]
    print(markdown_table(["right, %; then differences from it, points (95 %)", *head], rows))
    print("\nShares of the weight, %, mean over faces (and standard deviation):\n")
    shares = {name: 100 * one / one.sum(1, keepdim=True) for name, one in weights.items()}
    rows = [
        [region, *(f"{one[:, place].mean():.1f} ({one[:, place].std():.1f})" for one in shares.values())]
        for place, region in enumerate(names(model.config.regions))
    ]
    print(markdown_table(["region", *shares], rows))


if __name__ == "__main__":
    main()
