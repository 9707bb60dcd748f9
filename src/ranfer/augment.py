"""Random changes of training faces: on the device, in batch, each face with its own draw."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import affine_grid, grid_sample

from ranfer.config import AugmentConfig
from ranfer.occluders import draw_random
from ranfer.regions import MIRRORED


def draw_over(faces: UInt8[Tensor, "b c h w"], probability: float) -> UInt8[Tensor, "b c h w"]:
    """Things drawn over some of the faces, as :mod:`ranfer.occluders` draws them, one by one on the CPU."""
    if probability == 0:
        return faces
    chosen = torch.rand(len(faces)) < probability
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    bare = faces[chosen.to(faces.device)].permute(0, 2, 3, 1).cpu().numpy()
    covered = faces.clone()
    for place, face in zip(chosen.nonzero()[:, 0], bare, strict=True):
        covered[place] = torch.from_numpy(draw_random(face, rng).face).permute(2, 0, 1)
    return covered


def augment(
    images: Float[Tensor, "b c h w"], config: AugmentConfig, points: Float[Tensor, "b 5 2"] | None = None
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 5 2"] | None]:
    """Flip, rotate, scale and shift, change of light, erased rectangle; images in [0, 1] before and after.

    Landmarks, in fractions of the face, go where the face goes.
    """
    theta = random_affine(len(images), config, images.device)
    images = jitter_light(warp(images, theta), config.light)
    return erase(images, config.erase, config.erase_side), None if points is None else warp_points(points, theta)


def random_affine(b: int, config: AugmentConfig, device: torch.device) -> Float[Tensor, "b 2 3"]:
    """For each face a map from places after flip, rotation, scale and shift to places before; sides go from -1 to 1."""
    angle = _uniform(b, device) * math.radians(config.rotate)
    zoom = 1 + _uniform(b, device) * config.scale
    mirror = 1 - 2 * (torch.rand(b, device=device) < config.flip).float()
    shift = _uniform(b, device) * 2 * config.shift, _uniform(b, device) * 2 * config.shift  # the grid spans 2
    return torch.stack(
        [
            torch.stack([mirror * angle.cos() * zoom, -angle.sin() * zoom, shift[0]], dim=1),
            torch.stack([mirror * angle.sin() * zoom, angle.cos() * zoom, shift[1]], dim=1),
        ],
        dim=1,
    )


def warp(images: Float[Tensor, "b c h w"], theta: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b c h w"]:
    """One affine resampling a face; the border repeats."""
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def warp_points(points: Float[Tensor, "b 5 2"], theta: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b 5 2"]:
    """Landmarks where :func:`warp` takes them; those of a mirrored face change sides."""
    turn, shift = theta[..., :2], theta[..., 2]
    points = (torch.linalg.solve(turn, (2 * points - 1 - shift[:, None]).mT).mT + 1) / 2
    return torch.where((turn.det() < 0)[:, None, None], points[:, MIRRORED], points)


def jitter_light(images: Float[Tensor, "b c h w"], strength: float) -> Float[Tensor, "b c h w"]:
    """Contrast round a face's own mean, and brightness."""
    contrast, brightness = (_uniform(len(images), images.device)[:, None, None, None] * strength for _ in range(2))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + (images - mean) * (1 + contrast) + brightness).clamp(0, 1)


def erase(images: Float[Tensor, "b c h w"], probability: float, side: tuple[float, float]) -> Float[Tensor, "b c h w"]:
    """A rectangle of one random grey in some of the faces (Zhong et al. 2020)."""
    b, device = len(images), images.device
    inside = rectangles(images, torch.empty(2, b, device=device).uniform_(*side))
    inside &= (torch.rand(b, device=device) < probability)[:, None, None]
    return torch.where(inside[:, None], torch.rand(b, 1, 1, 1, device=device), images)


def rectangles(images: Float[Tensor, "b c h w"], side: Float[Tensor, "2 b"]) -> Bool[Tensor, "b h w"]:
    """A mask of one rectangle a face, of given height and width in fractions of the side, wholly inside it."""
    masks = []
    for length, extent in zip(images.shape[-2:], side, strict=True):
        start = torch.rand(len(images), device=images.device) * (1 - extent)
        place = (torch.arange(length, device=images.device) + 0.5) / length
        masks.append((place >= start[:, None]) & (place < (start + extent)[:, None]))
    rows, columns = masks
    both: Tensor = rows[:, :, None] & columns[:, None, :]
    return both


def mix(
    images: Float[Tensor, "b c h w"], targets: Float[Tensor, "b k"], config: AugmentConfig
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b k"]]:
    """Mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019) with the batch in another order; of both, one at random."""
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(config, kind) > 0]
    if not kinds:
        return images, targets
    kind = kinds[int(torch.randint(len(kinds), ()))]
    alpha = torch.tensor(getattr(config, kind))
    share = Beta(alpha, alpha).sample((len(images),)).to(images)  # of the face itself
    order = torch.randperm(len(images), device=images.device)
    if kind == "mixup":
        images = torch.lerp(images[order], images, share[:, None, None, None])
    else:
        inside = rectangles(images, (1 - share).sqrt().expand(2, -1))
        images = torch.where(inside[:, None], images[order], images)
        share = 1 - inside.float().mean(dim=(1, 2))  # as drawn, in whole pixels
    return images, torch.lerp(targets[order], targets, share[:, None])


def _uniform(n: int, device: torch.device) -> Float[Tensor, " n"]:
    return torch.rand(n, device=device) * 2 - 1
