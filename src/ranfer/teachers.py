"""Models that teach another one: what they say of a face is part of its targets.

They say it of the very faces that the learner sees, as changed and mixed, or once of the faces as they are, and then in
several views, whose mean is less noisy than some votes.

Source: Hinton et al., Distilling the knowledge in a neural network, 2015; that both see the same view of a face: Beyer
et al., Knowledge distillation: a good teacher is patient and consistent, CVPR 2022; labels that a trained model has
refined: Bagherinezhad et al., Label refinery, 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning_fabric
import torch
from jaxtyping import Float
from torch import Tensor

from ranfer.checkpoint import load
from ranfer.config import ModelConfig
from ranfer.crop import resize
from ranfer.errors import ConfigError


class Teachers:
    """Trained models that see faces as the learner does; their mean probabilities.

    Raises:
        CheckpointError: a file is none of ours, or damaged.
        ConfigError: a model takes faces of another size or other channels, or regions that differ from face to face.
    """

    def __init__(self, paths: Sequence[Path], learner: ModelConfig, fabric: lightning_fabric.Fabric) -> None:
        self._fabric = fabric
        self._models = [load(path, learner.backbone.name).model.to(fabric.device).eval() for path in paths]
        for path, model in zip(paths, self._models, strict=True):
            if (model.config.size, model.config.channels) != (learner.size, learner.channels) or model.boxes is None:
                raise ConfigError(
                    f"loss.teachers: {path} takes faces of {model.config.size} pixels in {model.config.channels} "
                    f"channel(s) and has {model.config.regions.scheme} regions; expected {learner.size} and "
                    f"{learner.channels}, as the model that is trained, and regions that all faces share"
                )

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b 8"]:
        """Mean probabilities of faces in [0, 1], as the learner sees them."""
        with self._fabric.autocast():
            logits = torch.stack([model(resize(images, model.config.resolution)).logits for model in self._models])
        return logits.float().softmax(dim=2).mean(dim=0)

    @torch.no_grad()
    def refine(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b 8"]:
        """Mean probabilities of faces in [0, 1], of each in up to six views: see :meth:`ranfer.model.RAN.predict`."""
        with self._fabric.autocast():
            given = [
                model.predict(resize(images, model.config.resolution), views=6)[0].float() for model in self._models
            ]
        return torch.stack(given).mean(dim=0)
