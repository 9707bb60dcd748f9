"""Poses and landmarks of FERPlus faces from a teacher, MediaPipe's face mesh, for training the attribute model.

Runs in an environment of its own, since the last MediaPipe that carries its models wants an older NumPy:

    python3 -m venv teacher && teacher/bin/pip install mediapipe==0.10.21 'numpy<2'
    teacher/bin/python scripts/teach_pose.py data/ferplus_train_valid.zip --out results/teacher.npz

Every face is shown to the teacher twice, the second time mirrored, shrunk and shifted. A head's pose is the rotation
that turns the mean mesh of all faces into its own (Procrustes), so that zero is the frontal face of the data. Only
faces whose two answers agree are kept.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import cv2
import mediapipe
import numpy as np
from PIL import Image

SIDE, BORDER = 192, 64  # pixels: the face as the teacher sees it, and the repeated border round it
# Points of the mesh: corners of the eyes, tip of the nose, corners of the mouth; left and right as seen.
LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = (33, 133), (362, 263), (1,), (61,), (291,)
AGREE_DEGREES, AGREE_POINTS = 8.0, 0.05  # yaw and pitch; landmarks in fractions of the face


def meshes(archive: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, and the meshes (n, 468, 3) of the faces and of their mirror images, in sides of the face."""
    teacher = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, min_detection_confidence=0.3
    )
    ids, first, second = [], [], []
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if name.endswith(".png"))
        for done, name in enumerate(names, start=1):
            face = np.asarray(Image.open(io.BytesIO(files.read(name))).convert("L"))
            face = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            face = cv2.copyMakeBorder(face, *(BORDER,) * 4, cv2.BORDER_REPLICATE)
            width = face.shape[1]
            move = np.float32([[0.92, 0, 0.04 * width + 7], [0, 0.92, 0.04 * width - 5]])
            moved = cv2.warpAffine(face[:, ::-1], move, (width, width), borderMode=cv2.BORDER_REPLICATE)
            found, again = _mesh(teacher, face), _mesh(teacher, moved)
            if found is not None and again is not None:
                again[:, :2] = (again[:, :2] - move[:, 2]) / 0.92
                again[:, 2] /= 0.92
                ids.append(Path(name).stem)
                first.append((found - (BORDER, BORDER, 0)) / SIDE)
                second.append((again - (BORDER, BORDER, 0)) / SIDE)
            if done % 1000 == 0:
                print(f"{done:,} of {len(names):,} faces, {len(ids):,} found", flush=True)
    return ids, np.array(first, dtype=np.float32), np.array(second, dtype=np.float32)


def _mesh(teacher: object, face: np.ndarray) -> np.ndarray | None:
    answer = teacher.process(cv2.cvtColor(face, cv2.COLOR_GRAY2RGB))
    if not answer.multi_face_landmarks:
        return None
    return face.shape[1] * np.array([(p.x, p.y, p.z) for p in answer.multi_face_landmarks[0].landmark])


def rotations(shapes: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The rotations (n, 3, 3) that turn the template best into each centred shape (Kabsch)."""
    u, _, vt = np.linalg.svd(np.einsum("npi,pj->nij", shapes, template))
    sign = np.ones((len(shapes), 3))
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    return (u * sign[:, None]) @ vt


def mean_shape(meshes: np.ndarray, rounds: int = 8) -> np.ndarray:
    """The mean of shapes of unit size, all turned alike (generalised Procrustes)."""
    shapes = _normalised(meshes)
    template = shapes.mean(axis=0)
    for _ in range(rounds):
        template /= np.linalg.norm(template)
        template = np.einsum("nij,npi->npj", rotations(shapes, template), shapes).mean(axis=0)
    return template / np.linalg.norm(template)


def _normalised(meshes: np.ndarray) -> np.ndarray:
    centred = meshes - meshes.mean(axis=1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=(1, 2), keepdims=True)


def angles(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (n, 3) in degrees of rotations; x points right, y down, z away from the viewer."""
    yaw = np.arcsin(np.clip(rotation[:, 2, 0], -1, 1))
    pitch = -np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], axis=1))


def landmarks(meshes: np.ndarray) -> np.ndarray:
    """The five points (n, 5, 2) in fractions of the face."""
    points = (LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH)
    return np.stack([meshes[:, list(indices), :2].mean(axis=1) for indices in points], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument(
        "--meshes", type=Path, metavar="FILE.npz", help="keep the teacher's meshes here, and reuse them"
    )
    options = parser.parse_args()
    if options.meshes and options.meshes.exists():
        kept = np.load(options.meshes)
        ids, first, second = kept["ids"].tolist(), kept["first"], kept["second"]
    else:
        ids, first, second = meshes(options.archive)
        if options.meshes:
            np.savez(options.meshes, ids=ids, first=first, second=second)
    template = mean_shape(np.concatenate([first, second])[:: max(len(first) // 4000, 1)])
    one, two = (angles(rotations(_normalised(each), template)) for each in (first, second))
    # Frontal is what the data's median is; the mirror makes it zero for yaw and roll anyway.
    pitch = np.median(np.concatenate([one[:, 1], two[:, 1]]))
    one[:, 1] -= pitch
    two[:, 1] -= pitch
    two *= (-1, 1, -1)
    points, mirrored = landmarks(first), landmarks(second)
    mirrored = mirrored[:, [1, 0, 2, 4, 3]] * (-1, 1) + (1, 0)
    agree = (np.abs(one - two)[:, :2].max(axis=1) < AGREE_DEGREES) & (
        np.linalg.norm(points - mirrored, axis=2).mean(axis=1) < AGREE_POINTS
    )
    print(f"{len(ids):,} faces found both times, {agree.sum():,} with answers that agree")
    for name, column in zip(("yaw", "pitch", "roll"), ((one + two) / 2)[agree].T, strict=True):
        quantiles = np.percentile(column, (1, 10, 50, 90, 99)).round(1).tolist()
        print(f"{name}: 1, 10, 50, 90 and 99 % of the faces lie below {quantiles} degrees")
    np.savez(
        options.out,
        ids=np.array(ids)[agree],
        pose=((one + two) / 2)[agree].astype(np.float32),
        landmarks=((points + mirrored) / 2)[agree].astype(np.float32),
    )


if __name__ == "__main__":
    main()
