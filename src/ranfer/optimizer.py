"""How weights move: the schedule of the learning rate, the optimiser, frozen weights, and their average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ranfer.config import OptimizerConfig, ScheduleConfig
from ranfer.errors import ConfigError


def learning_rate(schedule: ScheduleConfig, epochs: int, epoch: float) -> float:
    """The factor on the learning rate after ``epoch`` of ``epochs`` epochs; a fraction counts the steps of one.

    It rises linearly during the warm-up, and then falls by the schedule.
    """
    if epoch < schedule.warmup:
        return (epoch + 1e-3) / (schedule.warmup + 1e-3)  # above 0 from the first step on
    length = epochs / schedule.part  # epochs of the whole schedule, of which only a part may be run
    if schedule.name == "step":
        return schedule.factor ** sum(epoch >= step * length for step in schedule.steps)
    progress = (epoch - schedule.warmup) / max(length - schedule.warmup, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * progress))


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over groups of equal weight decay and learning rate.

    Each group has its factor of the learning rate as ``group["scale"]``; weights with a factor of 0 are frozen.

    Raises:
        ConfigError: a prefix in ``lr_scale`` is that of no weight, or all weights are frozen.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in config.lr_scale:
        if not any(name.startswith(prefix) for name in names):
            raise ConfigError(
                f"optimizer.lr_scale: no weight begins with {prefix!r}; weights: {', '.join(names[:3])}, ..."
            )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        scale = _lr_scale(name, config)
        decay = config.weight_decay if parameter.ndim > 1 else 0.0  # biases and normalisation have one dimension
        parameter.requires_grad_(scale > 0)
        if scale > 0:
            groups.setdefault((scale, decay), []).append(parameter)
    if not groups:
        raise ConfigError("optimizer.lr_scale: every weight is frozen, so that there is nothing to train")
    param_groups = [{"params": each, "scale": scale, "weight_decay": decay} for (scale, decay), each in groups.items()]
    if config.name == "adamw":
        return torch.optim.AdamW(param_groups, config.lr)
    return torch.optim.SGD(param_groups, config.lr, config.momentum, nesterov=config.momentum > 0)


def _lr_scale(name: str, config: OptimizerConfig) -> float:
    """The factor of a weight's learning rate: that of the longest prefix of its name."""
    prefixes = [prefix for prefix in config.lr_scale if name.startswith(prefix)]
    return config.lr_scale[max(prefixes, key=len)] if prefixes else 1.0


def freeze_statistics(model: nn.Module, config: OptimizerConfig) -> None:
    """Keep the running statistics of batch normalisation with frozen weights; to be called after ``model.train()``."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and _lr_scale(f"{name}.weight", config) == 0:
            module.eval()


def moving_average(decay: float) -> Any:
    """The exponential moving average of weights, as ``multi_avg_fn`` of PyTorch's ``AveragedModel``.

    The decay begins near 0 and rises to ``decay``, so that the random start is soon forgotten.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - now)
            else:  # counters of batches
                mean.copy_(value)

    return update
