"""Temperature scaling: one number that makes a model's probabilities honest (Guo et al., ICML 2017)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from ranfer.metrics import log_losses


def fit_temperature(probabilities: Float[np.ndarray, "n 8"], truth: Int[np.ndarray, " n"]) -> float:
    """The temperature with the least log loss, of 401 between 1/4 and 4, even in logarithm."""
    candidates = np.geomspace(0.25, 4, 401)
    losses = [log_losses(apply_temperature(probabilities, candidate), truth).mean() for candidate in candidates]
    return float(candidates[int(np.argmin(losses))])


def apply_temperature(probabilities: Float[np.ndarray, "n 8"], temperature: float) -> Float[np.ndarray, "n 8"]:
    """Probabilities at another temperature: what softmax(logits / temperature) would have given.

    Above 1 they become less sure, below 1 surer; the order of the expressions stays.

    >>> apply_temperature(np.array([[0.8, 0.1, 0.1, 0, 0, 0, 0, 0]]), 0.5)[0, :3].round(3).tolist()
    [0.97, 0.015, 0.015]
    """
    scaled = np.maximum(probabilities, 1e-12) ** (1 / temperature)
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))
