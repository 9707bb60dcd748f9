"""Small videos for tests, written by OpenCV: AVI of JPEGs, or MP4."""

import cv2
import numpy as np


def write_clip(path, images, fps=10.0):
    """RGB pictures of one size as a video; gives its path."""
    code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    height, width = images[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, (width, height))
    assert video.isOpened()
    for image in images:
        video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    video.release()
    return path


def greys(count, height=48, width=64):
    """Frame i is grey, 10 i bright, and its upper left quarter is black."""
    images = [np.full((height, width, 3), 10 * i, dtype=np.uint8) for i in range(count)]
    for image in images:
        image[: height // 2, : width // 2] = 0
    return images
