"""The training side in about a minute, on drawn faces: a dataset, a tiny network, and a report on it.

    python examples/train_on_drawn_faces.py [--out results/drawn-faces]

It needs the full install: pip install 'ranfer[train]'.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from ranfer.checkpoint import load
from ranfer.config import TrainConfig, parse
from ranfer.data import open_dataset
from ranfer.data.drawn import write_ferplus
from ranfer.data.face_lists import read_list
from ranfer.evaluate import evaluate
from ranfer.report import write_report
from ranfer.train import train

# 8 channels instead of 32 and 24 pixels instead of 48: enough for faces of a few strokes.
SETTINGS = {
    "model": {"size": 24, "cut": "stem", "backbone": {"arguments": {"widths": [8, 16, 32, 64]}}},
    "loss": {"margin": 0.02},
    "optimizer": {"name": "adamw", "lr": 0.004, "weight_decay": 0.05},
    "schedule": {"warmup": 0.2},
    "ema": 0.95,
    "batch": 32,
}


def run(out: Path, console: Console, faces: int = 900, epochs: int = 15) -> None:
    """Draw faces, train a tiny RAN on them, and leave in ``out`` a report on others, turned and covered ones apart."""
    with TemporaryDirectory(prefix="ranfer-") as work:
        console.print(f"[bold]1.[/bold] drawing {faces + faces // 3:,} faces")
        drawn = write_ferplus(Path(work, "faces"), {"train": faces, "valid": faces // 3}, seed=0)
        console.print("[bold]2.[/bold] training a tiny Region Attention Network on them")
        source = f"ferplus:{drawn.data}"
        settings = {**SETTINGS, "epochs": epochs, "data": {"source": source}}
        best = train(parse(TrainConfig, settings, "this example"), Path(work, "run"), console)
        console.print("[bold]3.[/bold] evaluating it on the other faces")
        subsets = {"covered": read_list(drawn.occlusion), "turned": read_list(drawn.pose)}
        evaluation = evaluate(open_dataset(source), "valid", load(best), subsets=subsets)
        report = write_report(evaluation, out, "python examples/train_on_drawn_faces.py")
    for name, group in {"all faces": report, **report["subsets"]}.items():
        console.print(f"   {name:10} {group['accuracy']:7.1%} right of {group['n']}", highlight=False)
    console.print(f"The report, with a page of faces and their regions: {out / 'report.md'}", soft_wrap=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/drawn-faces"))
    run(parser.parse_args().out, Console())
