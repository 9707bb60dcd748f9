"""Videos as frames: which ones, when, upright, and one clear error for each that cannot be read."""

import math
import os
import struct
from operator import itemgetter

import cv2
import numpy as np
import pytest

from clips import greys, write_clip
from ranfer.errors import ConfigError, ImageError
from ranfer.video import ALL, announced, frames, is_video, write_video


@pytest.fixture(params=["avi", "mp4"])
def clip(request, tmp_path):
    """Two seconds of ten frames each."""
    return write_clip(tmp_path / f"clip.{request.param}", greys(20))


def test_all_frames_come_with_their_times_and_pixels(clip):
    found = list(frames(str(clip), ALL))
    assert [frame.number for frame in found] == list(range(20))
    np.testing.assert_allclose([frame.time for frame in found], np.arange(20) / 10, atol=1e-3)
    for frame in found:
        assert frame.image.shape == (48, 64, 3)
        assert abs(frame.image[30:, 40:].mean() - 10 * frame.number) < 4


@pytest.mark.parametrize(
    ("fps", "numbers"),
    [(5.0, range(0, 20, 2)), (1.0, [0, 10]), (0.5, [0]), (4.0, [0, 3, 5, 8, 10, 13, 15, 18]), (10.0, range(20))],
)
def test_so_many_a_second_are_looked_at(clip, fps, numbers):
    assert [frame.number for frame in frames(clip, fps)] == list(numbers)
    assert announced(clip, fps) == (len(numbers), min(fps, 10.0))


@pytest.mark.parametrize("after", [-1, 0, 5, 9, 18, 30])
def test_what_was_looked_at_before_is_passed_over(clip, after):
    whole = [frame.number for frame in frames(clip, 4.0)]
    assert [frame.number for frame in frames(clip, 4.0, after)] == [number for number in whole if number > after]


def test_colours_are_in_the_order_of_rgb(tmp_path):
    red = np.zeros((32, 32, 3), dtype=np.uint8)
    red[..., 0] = 250
    (frame,) = frames(write_clip(tmp_path / "red.avi", [red]))
    assert frame.image[..., 0].mean() > 200
    assert frame.image[..., 1:].mean() < 40


def test_a_film_that_was_taken_with_the_camera_on_its_side_is_upright(tmp_path):
    path = write_clip(tmp_path / "side.mp4", [np.rot90(image).copy() for image in greys(10)])  # lies on its left side
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4 + 40  # the matrix of the track, in numbers of 16.16 bits; here by 90 degrees
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    content[header : header + 36] = struct.pack(">9i", *turned)
    path.write_bytes(content)
    *_, last = frames(path)
    assert last.image.shape == (48, 64, 3)
    assert last.image[2:20, 2:28].mean() < 10
    assert last.image[30:, 40:].mean() > 60


@pytest.mark.parametrize("fps", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(clip, fps):
    with pytest.raises(ConfigError, match="positive number"):
        next(frames(clip, fps))


def test_times_that_are_rounded_to_a_thousandth_lose_no_frames(tmp_path):
    path = write_clip(tmp_path / "clip.mkv", greys(20), fps=60.0)
    assert [frame.number for frame in frames(path, 60.0)] == list(range(20))


class Clock:
    """A capture whose times are given."""

    def __init__(self, times):
        self.times, self.place = times, -1

    def grab(self):
        self.place += 1
        return self.place < len(self.times)

    def get(self, key):
        return {cv2.CAP_PROP_POS_MSEC: self.times[min(self.place, len(self.times) - 1)], cv2.CAP_PROP_FPS: 10.0}.get(
            key, 0
        )

    def release(self):
        pass


def test_frames_of_one_time_do_not_delay_those_that_follow(tmp_path, monkeypatch):
    times = [0.0, 100.0, 200.0, 200.0, 300.0, 400.0, 350.0, 500.0]
    monkeypatch.setattr("ranfer.video._open", lambda path: Clock(times))
    monkeypatch.setattr("ranfer.video._rgb", lambda video, path: np.zeros((2, 2, 3), np.uint8))
    found = [frame.time for frame in frames(tmp_path / "any.mp4", 1000.0)]
    assert found == pytest.approx([0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5])


def test_a_video_that_the_disk_has_no_room_for_is_an_error(tmp_path, monkeypatch):
    class Full:
        def __init__(self, *_):
            self.isOpened, self.write, self.release = lambda: True, lambda frame: None, lambda: None

    monkeypatch.setattr("cv2.VideoWriter", type("Writer", (Full,), {"fourcc": staticmethod(lambda *_: 0)}))
    with pytest.raises(ImageError, match=r"out\.mp4: the video cannot be written: 0 of 3 frames are there"):
        write_video(tmp_path / "out.mp4", [np.zeros((8, 8, 3), np.uint8)] * 3, 5.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "times", [[0.0] * 6, [0.0, 100.0, 200.0, 0.0, 100.0, 200.0]], ids=["without times", "whose clock starts again"]
)
def test_a_file_has_all_its_frames_in_time(tmp_path, monkeypatch, times):
    monkeypatch.setattr("ranfer.video._open", lambda path: Clock(times))
    monkeypatch.setattr("ranfer.video._rgb", lambda video, path: np.zeros((4, 4, 3), dtype=np.uint8))
    found = list(frames(tmp_path / "clip.mpg", ALL))
    assert [frame.time for frame in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_frame_of_too_many_pixels_is_refused(tmp_path, monkeypatch, clip):
    monkeypatch.setattr("ranfer.video.MOST_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"too many pixels \(64 x 48\)"):
        next(frames(clip))


def test_what_is_no_video_is_one_error_that_names_it(tmp_path, capfd):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "words.mp4").write_text("no video")
    (tmp_path / "folder.mp4").mkdir()
    whole = write_clip(tmp_path / "whole.mp4", greys(20)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    reasons = {
        "empty.mp4": "empty (0 bytes)",
        "words.mp4": "not a readable video",
        "folder.mp4": "expected a file, got a folder, pipe or device",
        "half.mp4": "not a readable video",
        "missing.mp4": "no such file",
        os.fsdecode(b"caf\xe9.mp4"): "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(ImageError) as caught:
            list(frames(tmp_path / name))
        assert str(caught.value) == f"{tmp_path / name}: {reason}"
        assert announced(tmp_path / name, 5.0) == (1, 5)
    assert capfd.readouterr() == ("", "")


def test_a_name_that_is_no_text_is_refused_before_opencv_sees_it(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    try:
        path.write_bytes(b"anything")
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    with pytest.raises(ImageError, match="not UTF-8"):
        list(frames(path))


def test_a_film_that_ends_early_gives_what_there_is_and_then_says_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 120, 160, 3), dtype=np.uint8)  # large beside the header
    whole = write_clip(tmp_path / "whole.avi", list(noise)).read_bytes()
    path = tmp_path / "half.avi"
    path.write_bytes(whole[: len(whole) // 2])
    found = []
    with pytest.raises(ImageError, match=rf"^{path}: the video ends early: \d+ of 20 frames could be read$"):
        found.extend(map(itemgetter(0), frames(path, ALL)))
    assert 5 < len(found) < 15


def test_a_file_is_a_video_by_its_ending(tmp_path):
    assert is_video(tmp_path / "A.MP4")
    assert not is_video(tmp_path / "a.gif")


def test_pictures_become_a_video_of_the_size_of_the_first(tmp_path):
    odd = [np.full((33, 47, 3), 200, dtype=np.uint8), np.full((66, 94, 3), 100, dtype=np.uint8)]
    write_video(tmp_path / "drawn.mp4", iter(odd), 2.0)
    first, second = frames(tmp_path / "drawn.mp4", ALL)
    assert first.image.shape[1] in (46, 47)
    assert abs(first.image.mean() - 200) < 6
    assert abs(second.image.mean() - 100) < 6
    assert second.time == pytest.approx(0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.mp4"]
    write_video(tmp_path / "none.mp4", [], 2.0)
    assert not (tmp_path / "none.mp4").exists()
    with pytest.raises(ImageError, match="cannot be written"):
        write_video(tmp_path / "missing" / "drawn.mp4", odd, 2.0)

    def broken():
        yield odd[0]
        raise MemoryError("no room for the second")

    with pytest.raises(MemoryError, match="second"):
        write_video(tmp_path / "broken.mp4", broken(), 2.0)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.mp4"]


def test_opencv_reads_what_it_reads_without_us(clip):
    video = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)
    fine, expected = video.read()
    assert fine
    first = next(frames(clip))
    np.testing.assert_array_equal(first.image[..., ::-1], expected)
