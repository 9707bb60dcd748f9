"""Pictures to show: what is drawn, where, and that it never hides a face or leaves the picture."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ranfer.draw import COLOURS, GREY, annotate, contact_sheet, fit
from ranfer.recognize import Face, Region
from ranfer.vocab import Box, Expression

BACK = (200, 205, 210)


def make_face(left=200, top=200, side=200, expression=Expression.SADNESS, **changes):
    values = {
        "box": (float(left), float(top), float(left + side), float(top + side)),
        "score": 0.9,
        "landmarks": None,
        "expression": expression,
        "probability": 0.93,
        "probabilities": {},
        "regions": (),
        "trusted": True,
    }
    return Face(**(values | changes))


def weighted(*weights):
    boxes = [Box(0, 0, 1, 1), Box(0, 0, 0.5, 0.5), Box(0.5, 0.5, 1, 1)]
    return tuple(Region(f"region {i}", box, weight) for i, (box, weight) in enumerate(zip(boxes, weights, strict=True)))


def blank(width=600, height=600):
    return np.full((height, width, 3), BACK, dtype=np.uint8)


def drawn(*faces, image=None, scale=1.0):
    return np.asarray(annotate(blank() if image is None else image, faces, scale)).astype(int)


def near(picture, colour, tolerance=40):
    """Where a picture has about a colour."""
    return np.abs(picture - np.array(colour)).max(axis=-1) <= tolerance


def test_a_picture_without_faces_stays_as_it_is():
    image = np.random.default_rng(0).integers(256, size=(50, 60, 3), dtype=np.uint8)
    before = image.copy()
    assert np.array_equal(np.asarray(annotate(image, [])), before)


def test_the_frame_lies_on_the_box_in_the_colour_of_the_expression_and_the_source_is_untouched():
    image = blank()
    before = image.copy()
    found = near(drawn(make_face(), image=image), COLOURS[Expression.SADNESS])
    for row, column in ((300, 200), (300, 399), (200, 300), (399, 300)):
        assert found[row - 3 : row + 3, column - 3 : column + 3].any()
    assert not found[220:380, 220:380].any()
    assert np.array_equal(image, before)


def test_a_face_that_is_not_trusted_is_grey_with_a_dashed_frame():
    trusted, unsure = drawn(make_face()), drawn(make_face(trusted=False, reason="unsure: sadness 0.41 of 0.55 needed"))
    colour = COLOURS[Expression.SADNESS]
    assert not near(unsure, colour).any()
    along = slice(210, 390)
    whole = near(trusted[along, 197:203], colour).any(axis=1).mean()
    dashed = near(unsure[along, 197:203], GREY, 25).any(axis=1).mean()
    assert whole == 1
    assert 0.3 < dashed < 0.8


def test_the_turned_frame_follows_the_landmarks():
    turn = np.radians(30)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = np.array([[-40.0, -40], [40, -40], [0, 0], [-35, 45], [35, 45]]) @ axes + 300
    face = make_face(landmarks=tuple(map(tuple, points.tolist())))
    found = near(drawn(face), COLOURS[Expression.SADNESS])
    corners = np.array(face.corners)
    for middle in (corners + np.roll(corners, -1, axis=0)) / 2:
        x, y = middle.round().astype(int)
        assert found[y - 4 : y + 4, x - 4 : x + 4].any()


def test_a_region_is_shaded_by_its_weight_beyond_an_equal_share():
    equal = drawn(make_face(regions=weighted(1 / 3, 1 / 3, 1 / 3)))
    one = drawn(make_face(regions=weighted(0.3, 0.5, 0.2)))
    upper, lower = (slice(220, 280), slice(220, 280)), (slice(320, 380), slice(320, 380))
    assert (equal[upper] == BACK).all()
    assert (one[lower] == BACK).all()
    assert (BACK[2] - one[upper][..., 2]).mean() > 25  # towards orange: less blue
    more = drawn(make_face(regions=weighted(0.3, 0.4, 0.3)))
    assert BACK[2] > more[upper][..., 2].mean() > one[upper][..., 2].mean()


def test_labels_neither_overlap_nor_cover_the_middle_of_another_face():
    faces = [make_face(200, 200, 200), make_face(230, 420, 140, Expression.ANGER), make_face(415, 205, 180)]
    alone = [drawn(face) for face in faces]
    together = drawn(*faces)
    for face in faces:
        left, top, right, bottom = map(int, face.box)
        reach = (right - left) // 5
        inside = slice(top + 2 * reach, bottom - 2 * reach), slice(left + 2 * reach, right - 2 * reach)
        assert (together[inside] == BACK).all()
    plates = sum(int(near(one, COLOURS[face.expression], 10).sum()) for one, face in zip(alone, faces, strict=True))
    shown = sum(int(near(together, COLOURS[name], 10).sum()) for name in (Expression.SADNESS, Expression.ANGER))
    assert shown > 0.9 * plates


@pytest.mark.parametrize("place", [(-80, -80), (520, 520), (-500, 0), (900, 900), (0, 0)])
@pytest.mark.parametrize("side", [1, 15, 200, 3000])
def test_faces_at_and_beyond_the_border_and_of_any_size_can_be_drawn(place, side):
    face = make_face(*place, side, regions=weighted(0.3, 0.5, 0.2), trusted=False, reason="tiny: 3 of 20 pixels needed")
    assert drawn(face).shape == (600, 600, 3)


def test_small_pictures_are_enlarged_and_large_ones_shrunk_so_that_labels_fit():
    small, up = fit(np.zeros((30, 48, 3), dtype=np.uint8))
    large, down = fit(np.zeros((4000, 3000, 3), dtype=np.uint8))
    same, one = fit(blank(1000, 700))
    assert (small.shape, up) == ((400, 640, 3), 640 / 48)
    assert (large.shape, down) == ((1600, 1200, 3), 0.4)
    assert (same.shape, one) == ((700, 1000, 3), 1.0)
    thin, _ = fit(np.zeros((1, 5000, 3), dtype=np.uint8))
    assert thin.shape == (1, 1600, 3)


def test_a_shrunken_picture_carries_its_faces_along():
    face = make_face(100, 100, 100)
    twice = replace(face, box=tuple(2 * side for side in face.box))
    assert np.array_equal(drawn(face, scale=2.0), drawn(twice))


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_a_sheet_shows_every_picture_whole_and_in_order(count):
    colours = [(20 * i, 255 - 20 * i, 100) for i in range(count)]
    pictures = [(f"{i}.jpg", Image.new("RGB", (100 + 300 * (i % 2), 200), colour)) for i, colour in enumerate(colours)]
    sheet = np.asarray(contact_sheet(pictures, f"{count} pictures"))
    places = []
    for (_, picture), colour in zip(pictures, colours, strict=True):
        rows, columns = np.nonzero((sheet == colour).all(axis=-1))
        scale = min(320 / max(picture.size), 1)
        assert len(rows) == pytest.approx(picture.width * picture.height * scale**2, rel=0.02)
        places.append((rows.max(), columns.mean()))
    assert places == sorted(places)


def test_a_name_that_is_no_text_or_far_too_long_can_stand_under_its_picture():
    names = ["\udcff" * 5 + ".jpg", "x" * 500 + ".jpg"]
    plain = contact_sheet([("", Image.new("RGB", (20, 20)))] * 2, "")
    named = contact_sheet([(name, Image.new("RGB", (20, 20))) for name in names], "")
    changed = (np.asarray(plain) != np.asarray(named)).any(axis=(0, 2))
    assert named.size == plain.size
    assert changed.any()
    assert not changed[:16].any()
    assert not changed[-16:].any()
