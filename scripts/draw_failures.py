"""Draw things over the package's public-domain portrait, a smile, and keep pictures where recognition fails.

    python scripts/draw_failures.py --out results/failures

Of each kind of thing as many portraits are drawn as ``--draws`` says, each of its own seed; a table tells how many are
called happiness, otherwise, or not found, and how many wrong ones are trusted. The first failure of each kind goes into
``--out``, drawn as by ``ranfer predict --draw``, with a contact sheet.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from ranfer.demo import PORTRAIT
from ranfer.formatting import markdown_table
from ranfer.images import decode_image
from ranfer.occluders import Kind, occlude
from ranfer.outputs import SHEET
from ranfer.predict import predict
from ranfer.recognize import load
from ranfer.vocab import Expression


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10, help="of each kind")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} is there already; name another folder")

    recognizer = load()
    portrait = decode_image(PORTRAIT, PORTRAIT.name)
    (face,) = recognizer(portrait)
    landmarks = np.array(face.landmarks) / portrait.shape[1::-1]
    pictures = options.out / "pictures"
    pictures.mkdir(parents=True)
    rows, failed = [], []
    for kind in track(list(Kind), "drawing", console=Console(stderr=True), transient=True):
        drawn = [occlude(portrait, kind, np.random.default_rng(seed), landmarks).face for seed in range(options.draws)]
        found = [recognizer(picture) for picture in drawn]
        right = [bool(faces) and faces[0].expression is Expression.HAPPINESS for faces in found]
        trusted = sum(bool(faces) and faces[0].trusted and not fine for faces, fine in zip(found, right, strict=True))
        missed = sum(not faces for faces in found)
        rows.append([kind.value, sum(right), len(right) - sum(right) - missed, missed, trusted])
        if not all(right):
            failed.append(pictures / f"{kind.value}.png")
            Image.fromarray(drawn[right.index(False)]).save(failed[-1])
    print(markdown_table(["drawn", "happiness", "another", "not found", "wrong and trusted"], rows))
    if failed:
        predict(recognizer, failed, options.out, draw=True, complain=print)
        print(f"To look at: {options.out / SHEET}")


if __name__ == "__main__":
    main()
