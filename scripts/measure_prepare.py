"""Prepare a made-up AffectNet of any size and train on it: how much memory that takes, and how fast it is.

The faces are drawn; a few hundred serve all rows. Peak memory is read from the kernel's account of each process:
``anonymous`` is what a program holds; the rest of ``resident`` are pages of files, which the kernel may drop.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ranfer.data.affectnet import COLUMNS, IMAGES, TABLES
from ranfer.data.drawing import draw_face
from ranfer.vocab import Expression

VARIANTS = 256
VALIDATION = 4000


def write_affectnet(root: Path, faces: int, side: int) -> None:
    generator = np.random.default_rng(0)
    files = []
    for variant in range(VARIANTS):
        content = io.BytesIO()
        Image.fromarray(draw_face(list(Expression)[variant % 8], generator, side)).save(content, "JPEG")
        files.append(content.getvalue())
    points = ";".join(f"{x}.0;{x + 1}.0" for x in range(68))
    for split, count in (("train", faces), ("test", VALIDATION)):
        with (root / TABLES[split]).open("w", encoding="utf-8") as table:
            table.write(",".join(COLUMNS) + "\n")
            for number in range(count):
                name = f"{split}{number % 1000}/{split}{number:050d}.jpg"
                file = root / IMAGES[0] / name
                if number < 1000:
                    file.parent.mkdir(parents=True)
                file.write_bytes(files[number % VARIANTS])
                table.write(f"{name},0,0,{side},{side},{points},{number % 8},0.25,-0.5\n")


def measured(words: list[str]) -> dict[str, float]:
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "ranfer", *words], stdout=subprocess.DEVNULL)
    peak = {"VmHWM": 0, "RssAnon": 0}
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            break
        for name, _, value in (line.partition(":") for line in lines):
            if name in peak:
                peak[name] = max(peak[name], int(value.split()[0]))
        time.sleep(0.1)
    if process.wait():
        sys.exit(f"ranfer {' '.join(words)}: status {process.returncode}")
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 1),
        "peak_resident_mb": round(peak["VmHWM"] / 1024),
        "peak_anonymous_mb": round(peak["RssAnon"] / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, nargs="+", default=[29_000, 290_000])
    parser.add_argument("--side", type=int, default=32, help="of the made-up pictures and of the prepared faces")
    options = parser.parse_args()
    for faces in options.faces:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_affectnet(root, faces, options.side)
            manifest = root / "faces.jsonl"
            told = measured(
                ["data", "prepare", f"affectnet:{root}", "--out", str(manifest), "--size", str(options.side)]
            )
            cache = manifest.with_suffix(".faces.npy").stat().st_size
            print(json.dumps({"faces": faces, "step": "prepare", "cache_mb": round(cache / 2**20), **told}), flush=True)
            settings = root / "tiny.yaml"
            settings.write_text(
                f"model: {{size: {options.side}, channels: 3, regions: {{scheme: none}}, attention: none, "
                "backbone: {arguments: {widths: [4, 4, 4, 4]}}}\n"
                f"data: {{source: 'manifest:{manifest}', held_out: 0.01, balanced: true}}\nbatch: 256\nepochs: 1\n",
                encoding="utf-8",
            )
            told = measured(["train", str(settings), "--out", str(root / "run")])
            print(json.dumps({"faces": faces, "step": "train", **told}), flush=True)


if __name__ == "__main__":
    main()
