"""Faces of successive frames get the numbers of those before them, by their boxes alone."""

from hypothesis import given
from hypothesis import strategies as st

from ranfer.tracks import OVERLAP, PATIENCE, Tracker


def square(left, side=10.0, top=0.0):
    return (float(left), top, left + side, top + side)


def test_two_people_keep_their_numbers_whatever_their_order():
    follow = Tracker()
    assert follow(0.0, [square(0), square(100)]) == [0, 1]
    assert follow(0.2, [square(102), square(3)]) == [1, 0]
    assert follow(0.4, [square(6)]) == [0]
    assert follow(0.6, [square(104), square(8)]) == [1, 0]


def test_the_largest_overlap_wins_and_nobody_has_a_number_twice():
    follow = Tracker()
    follow(0.0, [square(0)])
    assert follow(0.2, [square(4), square(1)]) == [1, 0]


def test_too_little_overlap_is_somebody_else():
    apart = 10 * (1 - OVERLAP) / (1 + OVERLAP)  # of squares of ten, where the overlap is just enough
    follow = Tracker()
    follow(0.0, [square(0)])
    assert follow(0.1, [square(apart - 0.01)]) == [0]
    assert Tracker()(0.0, []) == []
    follow = Tracker()
    follow(0.0, [square(0)])
    assert follow(0.1, [square(apart + 0.01)]) == [1]


def test_a_face_may_go_unseen_for_a_while_and_then_is_a_new_one():
    follow = Tracker()
    follow(0.0, [square(0)])
    assert follow(PATIENCE / 2, []) == []
    assert follow(PATIENCE - 1e-6, [square(0)]) == [0]
    follow(PATIENCE + 0.1, [])
    assert follow(2 * PATIENCE + 0.1, [square(0)]) == [1]


def test_frames_that_are_far_apart_are_compared_all_the_same():
    follow = Tracker()
    follow(0.0, [square(0)])
    assert follow(10 * PATIENCE, [square(0)]) == [0]


frames = st.lists(
    st.lists(st.builds(square, st.integers(0, 60), st.sampled_from([10.0, 14.0])), max_size=4), max_size=8
)


@given(frames, st.integers(0, 8))
def test_gone_on_with_from_any_frame_the_numbers_are_the_same(boxes, stop):
    whole, numbers = Tracker(), []
    for frame, faces in enumerate(boxes):
        numbers.append(whole(frame / 5, faces))
        assert len(set(numbers[-1])) == len(faces)
    again = Tracker()
    for frame, faces in enumerate(boxes):
        if frame < stop:
            again.remember(frame / 5, faces, numbers[frame])
        else:
            assert again(frame / 5, faces) == numbers[frame]
