"""Drawn occluders: exact masks, seeds, places, shares, and what they say they cover."""

from collections import Counter

import numpy as np
import pytest

from ranfer import occluders
from ranfer.data.drawing import draw_face
from ranfer.errors import DataError
from ranfer.occluders import MEAN_LANDMARKS, TOLERANCE, Kind, Occluded, draw_random, occlude
from ranfer.vocab import Expression, Occlusion

FACE = draw_face(Expression.NEUTRAL, np.random.default_rng(3))
EMPTY, NOTHING = np.zeros((48, 48), np.float32), frozenset[Occlusion]()
GREY = FACE.mean(axis=2, keepdims=True).astype(np.uint8)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("face", [FACE, GREY], ids=["colour", "grey"])
def test_outside_its_mask_a_face_stays_as_it_was(kind: Kind, face: np.ndarray) -> None:
    for seed in range(5):
        found = occlude(face, kind, np.random.default_rng(seed))
        assert found.face.shape == face.shape and found.face.dtype == np.uint8
        assert found.mask.min() >= 0 and found.mask.max() <= 1
        assert (found.face[found.mask == 0] == face[found.mask == 0]).all()
        assert (found.mask > 0).any() and (found.face != face).any()


@pytest.mark.parametrize("kind", Kind)
def test_a_seed_gives_the_same_picture_again_and_another_seed_another_one(kind: Kind) -> None:
    first, again, other = (occlude(FACE, kind, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert (first.face == again.face).all() and (first.mask == again.mask).all() and first.share == again.share
    assert (first.face != other.face).any()


@pytest.mark.parametrize("side", [24, 48, 63, 112, 224, 400])
def test_any_size_of_face_is_covered_to_about_the_same_share(side: int) -> None:
    face = draw_face(Expression.NEUTRAL, np.random.default_rng(3), size=side)
    for kind in Kind:
        found = occlude(face, kind, np.random.default_rng(4))
        assert found.mask.shape == (side, side)
        assert found.share == pytest.approx(occlude(FACE, kind, np.random.default_rng(4)).share, abs=0.08)


@pytest.mark.parametrize("kind", [Kind.GLASSES, Kind.SURGICAL_MASK, Kind.CUP, Kind.PHONE, Kind.FRINGE])
def test_landmarks_move_what_is_drawn(kind: Kind) -> None:
    moved = MEAN_LANDMARKS * 0.5 + (0.1, 0.35)
    whole, small = (occlude(FACE, kind, np.random.default_rng(2), points) for points in (MEAN_LANDMARKS, moved))
    y, x = np.mgrid[:48, :48] / 48
    centres = [np.array([(part.mask * x).sum(), (part.mask * y).sum()]) / part.mask.sum() for part in (whole, small)]
    if kind is not Kind.PHONE:  # some of it lies beyond the frame
        assert small.mask.sum() < 0.6 * whole.mask.sum()
    assert np.abs(centres[1] - centres[0]).max() > 0.05
    assert (whole.mask == occlude(FACE, kind, np.random.default_rng(2)).mask).all()


def test_a_face_in_a_larger_picture_is_covered_as_it_is_alone() -> None:
    picture = np.full((144, 192, 3), 90, np.uint8)
    picture[40:88, 60:108] = FACE
    landmarks = (MEAN_LANDMARKS * 48 + (60, 40)) / (192, 144)
    for kind in (Kind.SURGICAL_MASK, Kind.SUNGLASSES, Kind.FRINGE):
        alone = occlude(FACE, kind, np.random.default_rng(6)).mask[8:40, 8:40]
        inside = occlude(picture, kind, np.random.default_rng(6), landmarks).mask[48:80, 68:100]
        assert np.abs(inside - alone).mean() < 0.05


def test_a_face_beyond_the_picture_is_not_covered() -> None:
    found = occlude(FACE, Kind.CUP, np.random.default_rng(0), MEAN_LANDMARKS + 5)
    assert found.share == 0 and found.occlusion == frozenset() and (found.face == FACE).all()


def test_glasses_lie_on_the_eyes_and_leave_the_lenses_clear() -> None:
    clear = dark = 0.0
    for seed in range(20):
        y, x = (MEAN_LANDMARKS[0, ::-1] * 48).astype(int)
        clear += occlude(FACE, Kind.GLASSES, np.random.default_rng(seed)).mask[y, x] / 20
        dark += occlude(FACE, Kind.SUNGLASSES, np.random.default_rng(seed)).mask[y, x] / 20
    assert clear < 0.15 and dark > 0.75


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.SURGICAL_MASK, Occlusion.LOWER),
        (Kind.CUP, Occlusion.LOWER),
        (Kind.GLASSES, Occlusion.EYEWEAR),
        (Kind.SUNGLASSES, Occlusion.EYEWEAR),
        (Kind.HAND_ON_FOREHEAD, Occlusion.UPPER),
        (Kind.CAP, Occlusion.UPPER),
        (Kind.HAND_ON_CHEEK, Occlusion.SIDE),
        (Kind.PHONE, Occlusion.SIDE),
    ],
)
def test_what_is_covered_is_what_the_kind_means(kind: Kind, expected: Occlusion) -> None:
    for seed in range(10):
        assert expected in occlude(FACE, kind, np.random.default_rng(seed)).occlusion


def test_text_covers_nothing_that_counts() -> None:
    assert occlude(FACE, Kind.WATERMARK, np.random.default_rng(0)).occlusion == frozenset()


def test_a_large_block_covers_all_parts_and_a_small_one_none() -> None:
    large = occlude(FACE, Kind.BLOCK, np.random.default_rng(1), share=0.9)
    small = occlude(FACE, Kind.BLOCK, np.random.default_rng(1), share=0.02)
    assert large.occlusion >= {Occlusion.UPPER, Occlusion.LOWER}
    assert small.occlusion == frozenset()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
@pytest.mark.parametrize("kind", [Kind.BLOCK, Kind.SURGICAL_MASK, Kind.HAND_ON_MOUTH, Kind.SCARF])
def test_a_share_is_met_within_the_tolerance(kind: Kind, share: float) -> None:
    found = occlude(FACE, kind, np.random.default_rng(5), share=share)
    assert found.share == pytest.approx(share, abs=TOLERANCE)
    assert (share > 0) == bool(found.mask.any())


def test_kinds_drawn_at_random_follow_their_weights(monkeypatch) -> None:
    monkeypatch.setattr(
        occluders, "occlude", lambda face, kind, rng, landmarks: Occluded(face, EMPTY, kind, NOTHING, 0.0)
    )
    rng, n = np.random.default_rng(0), 4_000
    counts = Counter(draw_random(FACE, rng).kind for _ in range(n))
    weights = {kind: trait.weight for kind, trait in occluders._TRAITS.items()}
    for kind, weight in weights.items():
        share = weight / sum(weights.values())
        assert counts[kind] == pytest.approx(n * share, abs=5 * np.sqrt(n * share * (1 - share))), kind


@pytest.mark.parametrize(
    ("face", "landmarks", "share", "said"),
    [
        (np.zeros((48, 48, 2), np.uint8), None, None, "expected a uint8 face"),
        (np.zeros((8, 48, 1), np.uint8), None, None, "at least 16 pixels"),
        (FACE, np.full((5, 2), np.nan), None, "five finite landmarks"),
        (FACE, np.full((5, 2), 0.5), None, "that lie apart"),
        (FACE, None, 1.5, "a share from 0 to below 1, got 1.5"),
    ],
)
def test_wrong_input_is_named(face: np.ndarray, landmarks: np.ndarray | None, share: float | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        occlude(face, Kind.CUP, np.random.default_rng(0), landmarks, share)
