"""From a photo to probabilities: a face in it gets nearly the answer that it gets alone. Figures: measure_chain.py."""

import sys
from pathlib import Path

import numpy as np
import pytest

import ranfer
from ranfer.faces.mtcnn import MTCNN

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from pasted_faces import at_face, load_faces, photos, scene


@pytest.mark.parametrize("angle", [-30.0, 0.0, 30.0])
def test_a_face_in_a_large_colour_photo_gets_nearly_the_probabilities_that_it_gets_alone(real_data, angle):
    faces, _ = load_faces(real_data / "ferplus_train_valid.zip", 16, seed=5)
    detect, photo = MTCNN(), photos()["coffee"]
    spot = []

    def found(picture):  # of the pasted face alone: the photo may hold other things that look like one
        one = at_face(detect(picture), spot[-1], 120)
        return [] if one is None else [one]

    recognizer, alone = ranfer.load(detector=found), ranfer.load(detector="none")
    distances = []
    for number, face in enumerate(faces):
        picture, centre = scene(photo, face, 120, angle, np.random.default_rng(number).uniform(size=2))
        spot.append(centre)
        (expected,) = alone(face)
        distances += [
            sum(abs(p - expected.probabilities[e]) for e, p in seen.probabilities.items()) / 2
            for seen in recognizer(picture)
        ]
    assert len(distances) >= 12  # of 16; one in ten is missed where it is turned
    assert np.median(distances) < 0.1  # total variation: 0 is the same, 1 has nothing in common
    assert np.mean(distances) < 0.2
