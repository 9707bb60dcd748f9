"""Cropping: Pillow is the oracle for values, ramps for the alignment of corners."""

import numpy as np
import pytest
import torch
from PIL import Image

from ranfer.config import RegionsConfig
from ranfer.crop import crop, resize
from ranfer.regions import FIXED5, fixed_regions


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float32)


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), *map(tuple, FIXED5), (0.31, 0.07, 0.66, 0.93)])
@pytest.mark.parametrize(("source", "size"), [(48, 48), (48, 20), (31, 64), (100, 24)])
def test_a_crop_is_what_pillow_cuts_and_resizes_with_antialiasing(box, source, size):
    pixels = np.random.default_rng(0).random((source, source), dtype=np.float32)
    box_pixels = tuple(side * source for side in box)
    expected = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box_pixels))
    got = crop(torch.from_numpy(pixels)[None, None], boxes(box), size)[0, 0, 0]
    torch.testing.assert_close(got, torch.from_numpy(expected.copy()), atol=2e-5, rtol=0)


@pytest.mark.parametrize("side", [6, 12, 24, 48])
def test_a_box_means_the_same_place_on_a_map_of_any_resolution(side):
    # Each pixel of the map holds the place of its own centre, so a crop must read off the places of its pixels.
    place = (torch.arange(side) + 0.5) / side
    maps = torch.stack([place.expand(side, side), place[:, None].expand(side, side)])[None]
    left, top, right, bottom = 0.25, 0.3, 0.75, 0.8
    size = 8
    got = crop(maps, boxes((left, top, right, bottom)), size)[0, 0]
    inside = (torch.arange(size) + 0.5) / size
    # Exact where it enlarges or shrinks by a whole number; between, the triangle filter errs by a 30th of a pixel.
    near = {"atol": 0.05 / side if side == 24 else 1e-6, "rtol": 0}
    torch.testing.assert_close(got[0], (left + (right - left) * inside).expand(size, size), **near)
    torch.testing.assert_close(got[1], (top + (bottom - top) * inside)[:, None].expand(size, size), **near)


def test_the_whole_face_at_its_own_size_is_untouched():
    images = torch.rand(2, 3, 17, 17)
    torch.testing.assert_close(crop(images, boxes((0, 0, 1, 1)), 17)[:, 0], images)
    torch.testing.assert_close(resize(images, 17), images, atol=0, rtol=0)


def test_outside_the_face_the_border_repeats():
    images = torch.rand(1, 1, 10, 10)
    left_of_it = crop(images, boxes((-0.5, 0.0, 0.0, 1.0)), 10)[0, 0, 0]
    torch.testing.assert_close(left_of_it, images[0, 0, :, :1].expand(10, 10))


def test_boxes_of_each_face_and_shared_boxes_agree():
    images = torch.rand(3, 2, 20, 20)
    shared = torch.from_numpy(fixed_regions(RegionsConfig()))[None]
    torch.testing.assert_close(crop(images, shared, 12), crop(images, shared.expand(3, -1, -1), 12))


def test_faces_do_not_mix():
    images = torch.rand(3, 1, 16, 16)
    alone = torch.cat([crop(image[None], boxes(*FIXED5), 9) for image in images])
    torch.testing.assert_close(crop(images, boxes(*FIXED5), 9), alone)


def test_gradients_reach_the_pixels_that_a_crop_shows_and_no_others():
    images = torch.zeros(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    quarter = boxes((0.0, 0.0, 0.5, 0.5)).double()
    assert torch.autograd.gradcheck(lambda maps: crop(maps, quarter, 3), images)
    crop(images, quarter, 4).sum().backward()
    assert images.grad[0, 0, :4, :4].min() > 0
    assert images.grad[0, 0, 4:].abs().max() == 0
