"""Small datasets in the layouts of the official releases, with drawn faces: nobody's face is in them."""

import numpy as np
from PIL import Image

from ranfer.data.drawing import draw_face
from ranfer.vocab import SYNONYMS, Expression

E = Expression
RAFDB = (E.SURPRISE, E.FEAR, E.DISGUST, E.HAPPINESS, E.SADNESS, E.ANGER, E.NEUTRAL)
AFFECTNET = (E.NEUTRAL, E.HAPPINESS, E.SADNESS, E.SURPRISE, E.FEAR, E.DISGUST, E.ANGER, E.CONTEMPT)
SFEW = {"Angry": E.ANGER, "Disgust": E.DISGUST, "Fear": E.FEAR, "Happy": E.HAPPINESS}
SFEW |= {"Neutral": E.NEUTRAL, "Sad": E.SADNESS, "Surprise": E.SURPRISE}
COLUMNS = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def drawn(expression, generator, size=48):
    return draw_face(expression or E.NEUTRAL, generator, size)


def flat(expression, generator, size=4):
    """A picture that is quick to write, where thousands are needed."""
    return np.full((size, size, 3), generator.integers(256), dtype=np.uint8)


def write_rafdb(root, faces, draw=drawn, aligned=True, seed=0):
    """``faces``: expressions by stems such as ``train_00001``; aligned faces, or originals with their annotations."""
    generator = np.random.default_rng(seed)
    lines = []
    for stem, expression in faces.items():
        pixels = draw(expression, generator)
        if aligned:
            save(root / "Image" / "aligned" / f"{stem}_aligned.jpg", pixels)
        else:
            save(root / "Image" / "original" / f"{stem}.jpg", np.pad(pixels, ((40, 20), (30, 50), (0, 0))))
            points = ((45, 60), (63, 60), (54, 69), (47, 76), (61, 76))  # by the frame of all our faces, about
            file = root / "Annotation" / "manual" / f"{stem}_manu_attri.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{x:.3f}\t{y:.3f}\n" for x, y in points) + "0\n0\n2\n")
        lines.append(f"{stem}.jpg {RAFDB.index(expression) + 1}\n")
    labels = root / "EmoLabel" / "list_patition_label.txt"
    labels.parent.mkdir(parents=True, exist_ok=True)
    labels.write_text("".join(lines))
    return root


def write_affectnet(root, training, validation, draw=drawn, seed=0):
    """The original release; ``training`` and ``validation`` hold codes 0 to 10 by hash.

    A drawn face stands at (10, 20) in a larger picture, and its box says so.
    """
    generator = np.random.default_rng(seed)
    for name, faces in (("training", training), ("validation", validation)):
        rows = [COLUMNS] if name == "training" else []  # the release gives the other file no header
        for number, (hash_, code) in enumerate(faces.items()):
            path = f"{number % 3 + 1}/{hash_}.jpg"
            pixels = draw(AFFECTNET[code] if code < 8 else None, generator)
            side = len(pixels)
            save(root / "Manually_Annotated_Images" / path, np.pad(pixels, ((20, 5), (10, 5), (0, 0))))
            points = ";".join(f"{x}.0;{x + 1}.0" for x in range(68))
            rows.append(f"{path},10,20,{side},{side},{points},{code},{'-2,-2' if code > 7 else '0.25,-0.5'}")
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return root


def write_numbered_affectnet(root, training, validation, draw=drawn, seed=0):
    """The later release; ``training`` and ``validation`` hold codes by number."""
    generator = np.random.default_rng(seed)
    for name, faces in (("train_set", training), ("val_set", validation)):
        notes = root / name / "annotations"
        notes.mkdir(parents=True, exist_ok=True)
        for number, code in faces.items():
            save(root / name / "images" / f"{number}.jpg", draw(AFFECTNET[code], generator))
            np.save(notes / f"{number}_exp.npy", np.array(str(code)))
            np.save(notes / f"{number}_val.npy", np.array("0.25"))
            np.save(notes / f"{number}_aro.npy", np.array("-0.5"))
            np.save(notes / f"{number}_lnd.npy", np.zeros(136))
    return root


def write_folder(root, classes, per_class, draw=drawn, seed=0):
    """A folder of faces per class, by the names of the classes."""
    generator = np.random.default_rng(seed)
    for name in classes:
        for number in range(per_class):
            save(root / name / f"{number}.png", draw(SYNONYMS[name], generator))
    return root


def write_sfew(root, per_class, draw=drawn, seed=0):
    """Film stills: a drawn face in a wide dark picture; ``per_class`` for both splits."""
    generator = np.random.default_rng(seed)
    for split in ("Train", "Val"):
        for name, expression in SFEW.items():
            for number in range(per_class):
                still = np.full((60, 100, 3), 20, dtype=np.uint8)
                face = draw(expression, generator)
                still[4 : 4 + len(face), 40 : 40 + len(face)] = face
                save(root / split / name / f"Film_{split}_{name}_{number:03d}.png", still)
    return root
