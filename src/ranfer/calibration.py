"""How sure a model may be: the temperature that makes its probabilities honest, and from which one on to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ranfer.answers import Model, Predictor
from ranfer.data import open_dataset
from ranfer.data.dataset import require_read
from ranfer.errors import CheckpointError, ConfigError
from ranfer.evaluate import labelled
from ranfer.intervals import wilson
from ranfer.session import metadata, open_session
from ranfer.temperature import apply_temperature, fit_temperature
from ranfer.training_record import has_learnt
from ranfer.vocab import Progress, silent

# Trust is given from the probability on above which this share of the validation faces is right.
TRUSTED_ACCURACY = 0.95


class Calibration(NamedTuple):
    """What was chosen on n validation faces: temperature, and the least top probability at which to trust an answer.

    ``kept`` is the share of faces that reach the threshold, ``accuracy`` how many of these are right. Both are of the
    faces that chose them, and flatter the more, the fewer these are. A threshold of 1 trusts none: no other kept
    ``TRUSTED_ACCURACY``.
    """

    temperature: float
    threshold: float
    kept: float
    accuracy: float
    n: int
    data: str

    def __str__(self) -> str:
        told = f"on {self.n:,} faces of {self.data}: temperature {self.temperature:.3f}"
        kept = round(self.kept * self.n)
        if not kept:
            return f"{told}; no answer is trusted, for no top probability keeps faces of which 95 % are right"
        low, high = wilson(round(self.accuracy * kept), kept)
        return (
            f"{told}; a top probability of {self.threshold:.3f} keeps {self.kept:.1%} of them, of which "
            f"{self.accuracy:.1%} are right "
            f"(95 % interval {low:.1%} to {high:.1%}, and of other faces rather less: it was chosen on these)"
        )


def calibrate(model: Predictor, data: str, split: str, progress: Progress = silent) -> Calibration:
    """Temperature and trust threshold of a model on a split (majority labels).

    ``progress`` is called with the faces done and in all.

    Raises:
        ConfigError: the model has learnt that split, and is surer there than it should be.
        DataError: faces cannot be read.
    """
    dataset = open_dataset(data)
    if has_learnt(model.description, dataset.origin, split):
        raise ConfigError(
            f"{data}: the model has learnt {dataset.origin} {split}, and would be trusted too often; choose faces that "
            "are new to it, or take over the calibration of another one: --calibrate-as FILE.onnx"
        )
    samples, truth, _ = labelled(dataset, split, "majority")
    answers = Model(model).answers(dataset, samples, progress)
    require_read(list(answers.unreadable.values()), samples)
    assert answers.prediction is not None
    probabilities = answers.prediction.probabilities
    temperature = fit_temperature(probabilities, truth)
    trust = choose_trust(apply_temperature(probabilities, temperature), truth)
    return Calibration(temperature, *trust, len(truth), f"{dataset.origin} {split}")


def calibration_of(path: Path, model: Mapping[str, Any], views: int) -> Calibration:
    """Temperature and trust threshold of an exported file, for a model that has learnt the faces they were chosen on.

    ``model`` holds the settings of that model's network; they and ``views`` must be those of the file.

    Raises:
        CheckpointError: no file that ``ranfer export`` wrote, or damaged.
        ConfigError: it was not calibrated, or is of another kind.
    """
    told = metadata(open_session(path))
    if told is None:
        raise CheckpointError(f"{path}: expected a file that ranfer export wrote")
    if told.get("trust") is None:
        raise ConfigError(f"{path}: was not calibrated")
    if (_network(told.get("model", {})), told.get("views")) != (_network(model), views):
        raise ConfigError(f"{path}: another network, or other --views; its calibration would mean nothing")
    try:
        fitted = Calibration(**told["trust"])
    except TypeError as error:
        raise CheckpointError(f"{path}: its calibration is damaged ({error})") from error
    return fitted._replace(data=f"{fitted.data}, by {path.name}")


def _network(model: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network without what it started from."""
    return {**model, "backbone": {**model.get("backbone", {}), "initial": None}}


def choose_trust(probabilities: Float[np.ndarray, "n 8"], truth: Int[np.ndarray, " n"]) -> tuple[float, float, float]:
    """The least threshold on the top probability at which ``TRUSTED_ACCURACY`` of the faces kept are right.

    Returns:
        threshold, share of faces kept, accuracy of these; 1, 0, 0 where no threshold does it.
    """
    top = probabilities.max(axis=1)
    order = np.argsort(-top, kind="stable")
    right = (probabilities.argmax(axis=1) == truth)[order]
    accuracy = np.cumsum(right) / np.arange(1, len(right) + 1)
    whole = np.append(np.diff(top[order]) < 0, True)  # faces that tie are kept together or not at all
    enough = np.flatnonzero(whole & (accuracy >= TRUSTED_ACCURACY))
    if len(enough) == 0:
        return 1.0, 0.0, 0.0
    last = int(enough[-1])
    return float(top[order[last]]), (last + 1) / len(right), float(accuracy[last])
