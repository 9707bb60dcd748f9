"""The pixels of regions: one batched, antialiased resampling on the device, for images and feature maps alike."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ranfer.images import LUMA


def crop(maps: Float[Tensor, "b c h w"], boxes: Float[Tensor, "k r 4"], size: int) -> Float[Tensor, "b r c size size"]:
    """Every region of every map, resized to ``size``; k is b, or 1 where all share their boxes.

    Resampling is bilinear, with the filter widened where it shrinks (antialiasing) and pixels as areas, so that a
    fraction of the image and of its feature map mean the same place: the convention of Pillow's ``resize(box=...)``,
    whose values this reproduces. Outside the map the border repeats; where a region shrinks, a little of what lies
    inside is mixed in there. Rows and columns are resampled by one matrix product each, which processors like and ONNX
    can say; the result lies channels-last in memory.
    """
    b, c, h, w = maps.shape
    k, r = boxes.shape[:2]
    rows = _filter(boxes[..., 1], boxes[..., 3], h, size).to(maps.dtype)  # top and bottom
    columns = _filter(boxes[..., 0], boxes[..., 2], w, size).to(maps.dtype)  # left and right
    lines = maps.permute(0, 2, 3, 1).reshape(b, h, w * c)
    lines = (rows.reshape(k, r * size, h) @ lines).reshape(b, r, size, w, c)
    return (columns[:, :, None] @ lines).permute(0, 1, 4, 2, 3)


def _filter(
    start: Float[Tensor, "k r"], stop: Float[Tensor, "k r"], length: int, size: int
) -> Float[Tensor, "k r size length"]:
    """The weights with which each of ``size`` outputs takes from ``length`` pixels: triangles, normalised.

    ``start`` and ``stop`` bound the regions along one axis, in fractions of the map.
    """
    step = (stop - start)[..., None] * (length / size)  # source pixels per output pixel
    output = torch.arange(size, device=start.device, dtype=start.dtype) + 0.5  # middles, counted in output pixels
    centre = start[..., None] * length + output * step  # the same, counted in source pixels
    centre = centre.clamp(0.5, length - 0.5)  # beyond the border lies the border's pixel
    pixel = torch.arange(length, device=start.device, dtype=start.dtype) + 0.5
    distance = (pixel - centre[..., None]).abs() / step.clamp(min=1.0)[..., None]  # wider where the region shrinks
    weight = (1 - distance).clamp(min=0)
    return weight / weight.sum(-1, keepdim=True)


def resize(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c size size"]:
    """Whole images at another size, as :func:`crop` resamples; at their own size they come out as they went in."""
    return crop(images, images.new_tensor([[[0.0, 0.0, 1.0, 1.0]]]), size)[:, 0]


def from_bytes(
    faces: UInt8[Tensor, "b h w c"], channels: int, size: int
) -> Float[Tensor, "b {channels} {size} {size}"]:
    """RGB or grey bytes of any size as grey or colour images of one size, in [0, 1]."""
    images = faces.permute(0, 3, 1, 2).float() / 255
    if images.shape[1] == 3 and channels == 1:
        images = (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    elif images.shape[1] == 1 and channels == 3:
        images = images.expand(-1, 3, -1, -1)
    return resize(images, size)
