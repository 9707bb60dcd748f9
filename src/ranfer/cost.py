"""What a training step of a network costs, so that two networks can be given the same budget of compute."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ranfer.config import ModelConfig
from ranfer.errors import ConfigError
from ranfer.model import RAN
from ranfer.regions import regions_of


def multiply_adds(config: ModelConfig) -> int:
    """Multiply-adds of a training step for one face, forward and backward: those of convolutions and matrix products.

    PyTorch counts them while a random network runs, so that they are of this network, whatever it is.

    Raises:
        ConfigError: the network cannot be built, or cannot work on faces of this size.
    """
    try:
        return _multiply_adds(config.model_dump_json())
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"model: it cannot learn from faces of {config.resolution} pixels ({reason})") from error


@cache
def _multiply_adds(settings: str) -> int:
    config = ModelConfig.model_validate_json(settings)
    model = RAN(config)
    boxes, mask = regions_of(config.regions, ["one", "two"], np.full((2, 5, 2), 0.5, np.float32))
    images = torch.rand(2, config.channels, config.resolution, config.resolution)  # batch statistics need two faces
    with FlopCounterMode(display=False) as counter:
        out = model(images, torch.from_numpy(boxes), None if mask is None else torch.from_numpy(mask))
        out.logits.sum().backward()
    return int(counter.get_total_flops()) // 4  # of two faces, and a multiply-add is two operations
