"""Detectors by name: our cascade, MTCNN alone, and adapters for others."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from ranfer.errors import CheckpointError, ConfigError
from ranfer.faces.cascade import CANDIDATE_WEIGHTS, Cascade
from ranfer.faces.detection import Detection, Detector, shrink_to
from ranfer.faces.mtcnn import MTCNN

DETECTORS = "ranfer, mtcnn, none, or yunet:FILE"


class YuNet:
    """OpenCV's detector from a model file of the user's; call it on an RGB picture, from any number of threads.

    The file is ``face_detection_yunet_*.onnx`` of the OpenCV model zoo. The detector is made for faces of about 10 to
    300 pixels, so a picture of more than ``max_pixels`` is shrunk first.

    Raises:
        CheckpointError: no such file, or none that OpenCV reads as a face detector.
    """

    def __init__(self, path: Path, threshold: float = 0.7, max_pixels: int = 1_000_000) -> None:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; expected a YuNet model (face_detection_yunet_*.onnx)")
        self._arguments = (path, threshold, max_pixels)
        self._max_pixels = max_pixels
        try:
            self._detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold)
            self._detector.detect(np.zeros((320, 320, 3), dtype=np.uint8))  # another network fails here at the latest
        except cv2.error as error:
            raise CheckpointError(f"{path}: OpenCV cannot read it as a YuNet model ({error.err})") from error
        self._lock = threading.Lock()  # the size of the picture is a state of OpenCV's detector

    def __reduce__(self) -> tuple[type[YuNet], tuple[Any, ...]]:
        return YuNet, self._arguments

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        """The faces of an RGB picture, best first."""
        if min(image.shape) == 0:
            return []
        small, zoom = shrink_to(image, self._max_pixels)
        with self._lock:
            self._detector.setInputSize(small.shape[1::-1])
            _, rows = self._detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        # A row: left, top, width, height, five points, score. Its "right eye" is the person's, the left one seen.
        return [
            Detection(
                (row[0], row[1], row[0] + row[2], row[1] + row[3]), row[14], np.array(row[4:14]).reshape(5, 2)
            ).zoomed(zoom)
            for row in rows[np.argsort(-rows[:, 14], kind="stable")].astype(float).tolist()
        ]


def whole_picture(image: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
    """The picture as one face, which is thereby framed; an empty picture shows none."""
    height, width = image.shape[:2]
    return [Detection((0.0, 0.0, float(width), float(height)), 1.0)] if image.size else []


def open_detector(name: str, threads: int | None = None) -> Detector:
    """A detector by name.

    ``ranfer`` (:class:`ranfer.faces.cascade.Cascade`), ``mtcnn``, ``none`` (:func:`whole_picture`), or ``yunet:FILE``.

    Raises:
        ConfigError: no detector has that name.
        CheckpointError: its weights are missing or damaged.
    """
    kind, _, file = name.partition(":")
    if name == "ranfer":
        return Cascade(MTCNN(threads=threads), threads)
    if name == "mtcnn":
        return MTCNN(threads=threads)
    if name == "none":
        return whole_picture
    if kind == "yunet" and file:
        return YuNet(Path(file))
    raise ConfigError(f"--detector {name}: expected {DETECTORS}")


def weight_files(name: str) -> list[Path]:
    """The files that a detector by name reads and that may change; MTCNN's weights are those of its version 1."""
    _, _, file = name.partition(":")
    own = [CANDIDATE_WEIGHTS] if name == "ranfer" else []
    return [*own, Path(file)] if file else own
