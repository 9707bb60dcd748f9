"""Temperature and trust against a plain search."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from ranfer.calibration import Calibration, choose_trust
from ranfer.temperature import apply_temperature, fit_temperature


def answers(n: int = 4000, temperature: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure by a known factor, and truths drawn from the honest ones."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=1.5, size=(n, 8))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([generator.choice(8, p=row) for row in honest])
    return apply_temperature(honest, 1 / temperature), truth


def test_the_temperature_undoes_too_much_confidence():
    probabilities, truth = answers(temperature=2.0)
    found = fit_temperature(probabilities, truth)
    assert found == pytest.approx(2.0, rel=0.05)

    def loss(temperature: float) -> float:
        return -np.log(apply_temperature(probabilities, temperature)[np.arange(len(truth)), truth]).mean()

    assert found == pytest.approx(minimize_scalar(loss, bounds=(0.25, 4), method="bounded").x, rel=0.01)


def test_the_trust_threshold_is_the_least_that_keeps_enough_right():
    probabilities, truth = answers()
    threshold, kept, accuracy = choose_trust(probabilities, truth)
    top, right = probabilities.max(1), probabilities.argmax(1) == truth
    assert right[top >= threshold].mean() == pytest.approx(accuracy)
    assert accuracy >= 0.95
    assert (top >= threshold).mean() == pytest.approx(kept)
    assert all(right[top >= lower].mean() < 0.95 for lower in np.sort(top[top < threshold])[::50])
    assert choose_trust(np.full((5, 8), 0.125), np.full(5, 7)) == (1.0, 0.0, 0.0)


def test_faces_that_tie_are_trusted_together_or_not_at_all():
    probabilities = np.full((30, 8), 0.01)
    probabilities[:, 0] = 0.93
    probabilities[:20, 0], probabilities[:20, 1] = 0.99, 0.0
    truth = np.zeros(30, dtype=int)
    truth[25:] = 1  # of the ten that tie, the first five are right: cut among them, 25 of 25 would be
    assert choose_trust(probabilities, truth) == (pytest.approx(0.99), pytest.approx(2 / 3), 1.0)


def test_a_calibration_says_how_sure_its_share_is():
    said = str(Calibration(1.0, 0.7, 15 / 20, 1.0, 20, "x"))
    assert "keeps 75.0% of them, of which 100.0% are right (95 % interval 79.6% to 100.0%" in said
    assert "no answer is trusted" in str(Calibration(1.0, 1.0, 0.0, 0.0, 17, "x"))
