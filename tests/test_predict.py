"""Folders of pictures through the recognizer: order, failures, stops, tables and pictures, and the command itself."""

import json
import os
import shutil
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from clips import write_clip
from ranfer.cli import app
from ranfer.errors import ConfigError, ImageError
from ranfer.inputs import list_inputs
from ranfer.predict import AHEAD, GROUP, IN_MODEL, ON_SHEET, predict
from ranfer.prediction_lines import read_predictions
from ranfer.recognize import load
from ranfer.summary import print_summary, summarise
from ranfer.video import ALL, frames
from ranfer.vocab import Expression
from test_light_rooms import torch_after
from test_recognize import BLUE, GREEN, RED, couple, tiny_model, two_squares


def left_or_nobody(image):
    """The two squares of a picture that is wider than high; nobody in any other."""
    return two_squares(image) if image.shape[1] > image.shape[0] else []


def stopping(calls):
    """A progress that is interrupted when it is called so many times."""
    left = iter(range(calls - 1))

    def stop(done, total):
        if next(left, None) is None:
            raise KeyboardInterrupt

    return stop


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def recognizer(weights):
    return load(weights, left_or_nobody)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Twenty couples, the first of them by far the largest."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        left, right = ((RED, GREEN), (GREEN, BLUE), (BLUE, RED))[number % 3]
        height = 1500 if number == 0 else 64
        Image.fromarray(couple(left, right, height, height // 2)).save(folder / f"{number:02d}.png")
    return sorted(path.relative_to(tmp_path) for path in folder.iterdir())


def lines_of(folder):
    return list(read_predictions(folder / "predictions.jsonl"))


def test_lines_stand_in_the_order_of_the_pictures_and_say_what_the_call_says(recognizer, photos, tmp_path):
    told = []
    summary = predict(recognizer, photos, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    lines = lines_of(tmp_path / "out")
    assert [line["source"] for line in lines] == [str(path) for path in photos for _ in range(2)]
    expected = [face.expression for faces in recognizer(photos) for face in faces]
    assert [line["expression"] for line in lines] == expected
    assert told == [(8, 20), (16, 20), (20, 20)]
    assert (summary.pictures, summary.without_face, summary.failed, summary.total.faces) == (20, 0, 0, 40)
    assert summary.expressions[Expression.HAPPINESS].faces == expected.count("happiness")
    assert summary.total.trusted == 40


def test_broken_pictures_are_one_line_each_and_the_rest_goes_on(recognizer, photos, tmp_path):
    good = photos[1].read_bytes()
    photos[2].write_bytes(b"")
    photos[4].write_bytes(good[: len(good) // 2])
    photos[5].write_text("no picture")
    photos[7].unlink()
    Image.new("RGB", (40, 40)).save(photos[9])
    complaints = []
    summary = predict(recognizer, photos[:10], tmp_path / "out", complain=complaints.append)
    lines = {line["source"]: line for line in lines_of(tmp_path / "out")}
    assert list(lines) == [str(path) for path in photos[:10]]
    failed = [str(photos[i]) for i in (2, 4, 5, 7)]
    assert [source for source, line in lines.items() if "error" in line] == failed
    assert complaints == [lines[source]["error"] for source in failed]
    assert all(line.startswith(f"{source}: ") for source, line in zip(failed, complaints, strict=True))
    assert lines[str(photos[7])]["error"] == f"{photos[7]}: no such file"
    assert lines[str(photos[9])]["box"] is None
    assert (summary.pictures, summary.without_face, summary.failed, summary.total.faces) == (10, 1, 4, 10)


@pytest.mark.parametrize("stops", [1, 2])
def test_stopped_and_called_again_the_files_are_those_of_one_run(recognizer, photos, tmp_path, stops):
    predict(recognizer, photos, tmp_path / "whole", draw=True)
    with pytest.raises(KeyboardInterrupt):
        predict(recognizer, photos, tmp_path / "out", draw=True, progress=stopping(stops))
    path = tmp_path / "out" / "predictions.jsonl"
    assert len({line["source"] for line in read_predictions(path)}) == stops * GROUP
    path.write_bytes(path.read_bytes() + b'{"source": "torn')
    told = []
    predict(recognizer, photos, tmp_path / "out", draw=True, progress=lambda done, total: told.append(done))
    assert told[0] == stops * GROUP - 1 + min(GROUP, 21 - stops * GROUP)
    ours, whole = sorted((tmp_path / "out").rglob("*.*")), sorted((tmp_path / "whole").rglob("*.*"))
    assert [file.name for file in ours] == [file.name for file in whole]
    assert [file.read_bytes() for file in ours] == [file.read_bytes() for file in whole]


def test_other_settings_do_not_go_on_in_the_same_folder(recognizer, weights, photos, tmp_path):
    predict(recognizer, photos[:2], tmp_path / "out")
    with pytest.raises(ConfigError, match="other settings"):
        predict(load(weights, left_or_nobody, classes=7), photos[:2], tmp_path / "out")


def test_only_a_bounded_number_of_pictures_is_under_way(weights, photos, tmp_path):
    searched, lock = [], threading.Lock()

    def counting(image):
        with lock:
            searched.append(image.shape)
        return []

    ahead = []
    pictures = [photos[1], *photos[1:]] * 4
    predict(
        load(weights, counting),
        pictures,
        tmp_path / "out",
        progress=lambda done, total: ahead.append(len(searched) - done),
    )
    assert len(searched) == len(pictures)
    assert max(ahead) <= AHEAD + IN_MODEL * GROUP


def test_drawing_leaves_a_picture_for_each_source_and_a_sheet(recognizer, photos, tmp_path):
    photos[1].write_bytes(b"")
    out = tmp_path / "out"
    predict(recognizer, photos[:4], out, draw=True)
    drawn, sheet = out / "drawn", out / "contact_sheet.jpg"
    assert sorted(path.name for path in drawn.glob("[0-9]*")) == ["00001-00.jpg", "00003-02.jpg", "00004-03.jpg"]
    with Image.open(drawn / "00001-00.jpg") as large, Image.open(drawn / "00003-02.jpg") as small:
        assert large.size == (1600, 1067)
        assert small.size == (640, 427)
        assert np.asarray(small).std() > 0
    with Image.open(sheet) as shown:
        assert shown.width > 2 * 300
    assert {path.name for path in out.iterdir()} == {
        *("contact_sheet.jpg", "drawn", "predictions.jsonl", "predictions.meta.json")
    }


@pytest.mark.parametrize("name", ["drawn/00001-mine.jpg", "contact_sheet.jpg"])
def test_pictures_that_no_run_drew_are_not_lost_to_drawings(recognizer, photos, tmp_path, name):
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    shutil.copy(photos[0], mine)
    with pytest.raises(ConfigError, match=r"holds drawn/ or contact_sheet.jpg of something else"):
        predict(recognizer, [mine], tmp_path / "out", draw=True)
    assert mine.read_bytes() == photos[0].read_bytes()
    assert list_inputs([str(tmp_path / "out")]).files == [mine]  # and is an input as any other


@pytest.mark.parametrize("problem", [cv2.error("Insufficient memory"), MemoryError()])
def test_a_picture_for_which_there_is_no_memory_costs_one_line(weights, photos, tmp_path, problem):
    told = []

    def detect(image):
        if image.shape[0] == 1:
            raise problem
        return left_or_nobody(image)

    Image.new("RGB", (9, 1)).save(thin := tmp_path / "thin.png")
    recognizer = load(weights, detect)
    summary = predict(recognizer, [thin, photos[0]], tmp_path / "out", complain=told.append)
    assert [line.split(":")[0] for line in told] == [str(thin)]
    assert (summary.pictures, summary.failed) == (2, 1)
    with pytest.raises(ImageError, match=rf"{thin}: cannot be processed, or memory is short"):
        recognizer(thin)


def test_what_an_earlier_run_did_not_draw_is_drawn_as_it_would_have_been(recognizer, photos, clip, tmp_path):
    photos[1].write_bytes(b"")
    inputs = [*photos[:3], clip, photos[3]]
    predict(recognizer, inputs, tmp_path / "at once", draw=True)
    predict(recognizer, inputs, tmp_path / "later")
    predict(recognizer, inputs, tmp_path / "later", draw=True)
    once, later = ({path.name: path.read_bytes() for path in (tmp_path / name / "drawn").glob("[0-9]*")}
                   for name in ("at once", "later"))  # fmt: skip
    assert sorted(once) == ["00001-00.jpg", "00003-02.jpg", "00004-clip.mp4", "00005-03.jpg"]
    assert once == later
    drawn, told = tmp_path / "later" / "drawn", []
    (drawn / "00001-00.jpg").write_bytes(b"of another run")
    os.utime(drawn / "00001-00.jpg", (0, 0))
    (drawn / "00009-gone.jpg").write_bytes(b"of another run")
    (drawn / "00003-02.jpg").unlink()
    photos[2].unlink()
    predict(recognizer, inputs, tmp_path / "later", draw=True, complain=told.append)
    assert sorted(path.name for path in drawn.glob("[0-9]*")) == ["00001-00.jpg", "00004-clip.mp4", "00005-03.jpg"]
    assert (drawn / "00001-00.jpg").read_bytes() == once["00001-00.jpg"]
    assert told[1:] == [f"{photos[2]}: no such file (to draw it)"]


def test_the_sheet_shows_the_pictures_of_earlier_runs_and_not_more_than_fit(recognizer, photos, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "ranfer.predict.contact_sheet",
        lambda pictures, *words: shown.append(([name for name, _ in pictures], *words)) or Image.new("RGB", (1, 1)),
    )
    monkeypatch.setattr("ranfer.predict.ON_SHEET", 3)
    assert ON_SHEET > 3
    Image.new("RGB", (40, 40)).save(photos[3])
    predict(recognizer, photos[1:3], tmp_path / "out")
    predict(recognizer, photos[1:6], tmp_path / "out", draw=True)
    key = "shaded: where the model looked; grey and dashed: not to be trusted"
    assert shown == [(["01.png", "02.png", "03.png: no face"], "pictures: 3 of 5", key)]
    # What a model without regions never draws is not explained.
    lines = tmp_path / "out" / "predictions.jsonl"
    plain = [line | {"regions": line["regions"] and line["regions"][:1]} for line in read_predictions(lines)]
    lines.write_text("".join(json.dumps(line) + "\n" for line in plain))
    predict(recognizer, photos[1:6], tmp_path / "out", draw=True)
    assert shown[-1][-1] == "grey and dashed: not to be trusted"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_are_written_beside_the_lines(recognizer, photos, tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    predict(recognizer, photos[1:3], tmp_path / "out", form=form)
    table = tmp_path / "out" / f"predictions.{form}"
    size = table.stat().st_size
    assert size > 500
    predict(recognizer, photos[1:5], tmp_path / "out")  # without the option; what is there is brought up to date
    assert table.stat().st_size > size


def test_the_summary_counts_by_hand(recognizer, photos, tmp_path):
    predict(recognizer, photos[1:3], tmp_path / "out")  # sadness and contempt, contempt and happiness
    summary = summarise(tmp_path / "out" / "predictions.jsonl")
    found = {name: tally.faces for name, tally in summary.expressions.items() if tally.faces}
    assert found == {Expression.HAPPINESS: 1, Expression.SADNESS: 1, Expression.CONTEMPT: 2}
    console = Console(width=80, record=True, quiet=True)
    console.quiet = False
    with console.capture() as captured:
        print_summary(summary, tmp_path / "out", console)
    rows = [line.split() for line in captured.get().splitlines()]
    assert ["contempt", "2", "100%", "100%"] in rows
    assert ["all", "4", "100%", "100%"] in rows
    assert "pictures: 2, without a face: 0, unreadable: 0" in captured.get()


@pytest.fixture
def clip(tmp_path, photos):
    """Three seconds of ten frames: red beside green, and from the second second on green beside blue."""
    images = [couple(RED, GREEN)] * 10 + [couple(GREEN, BLUE)] * 20
    return write_clip(tmp_path / "clip.avi", images).relative_to(tmp_path)


def test_a_video_has_a_line_a_face_and_frame_between_the_pictures(recognizer, photos, clip, tmp_path):
    told = []
    summary = predict(
        recognizer,
        [photos[1], clip, photos[2]],
        tmp_path / "out",
        progress=lambda done, total: told.append((done, total)),
    )
    lines = lines_of(tmp_path / "out")
    assert [line["source"] for line in lines] == [*["photos/01.png"] * 2, *["clip.avi"] * 30, *["photos/02.png"] * 2]
    video = lines[2:32]
    assert [line["frame"] for line in video] == [frame for frame in range(0, 30, 2) for _ in range(2)]
    assert [line["time"] for line in video] == [frame / 10 for frame in range(0, 30, 2) for _ in range(2)]
    assert [line["track"] for line in video] == [0, 1] * 15
    large = [line["expression"] for line in video if line["track"] == 0]
    assert large == ["happiness"] * 5 + ["sadness"] * 10
    assert (summary.pictures, summary.videos, summary.frames, summary.total.faces) == (2, 1, 15, 34)
    assert (told[0], told[-1]) == ((8, 17), (17, 17))
    assert told == sorted(told)


def test_a_video_is_looked_at_as_often_as_is_said(recognizer, clip, tmp_path):
    assert predict(recognizer, [clip], tmp_path / "one", fps=1.0).frames == 3
    assert predict(recognizer, [clip], tmp_path / "all", fps=ALL).frames == 30
    with pytest.raises(ConfigError, match=r"fps: 1.0, now 2.0"):
        predict(recognizer, [clip], tmp_path / "one", fps=2.0)


@pytest.mark.parametrize("stops", [1, 2, 3])
def test_stopped_within_a_video_and_called_again_the_files_are_those_of_one_run(
    recognizer, photos, clip, tmp_path, stops
):
    inputs = [photos[1], clip, photos[2]]
    predict(recognizer, inputs, tmp_path / "whole", draw=True, fps=ALL)
    with pytest.raises(KeyboardInterrupt):
        predict(recognizer, inputs, tmp_path / "out", draw=True, fps=ALL, progress=stopping(stops))
    looked_at = []

    def counting(image):
        looked_at.append(image)
        return left_or_nobody(image)

    counting.__name__ = left_or_nobody.__name__
    rest = load(recognizer.__reduce__()[1][0], counting)
    told = []
    predict(rest, inputs, tmp_path / "out", draw=True, fps=ALL, progress=lambda done, total: told.append(done))
    assert len(looked_at) == 32 - stops * GROUP + 2  # the last frame is done again, and the last whole source
    assert told[-1] == 32
    ours, whole = sorted((tmp_path / "out").rglob("*.*")), sorted((tmp_path / "whole").rglob("*.*"))
    assert [file.name for file in ours] == [file.name for file in whole]
    for mine, theirs in zip(ours, whole, strict=True):
        assert mine.suffix == ".mp4" or mine.read_bytes() == theirs.read_bytes()


def test_a_finished_video_is_not_looked_at_again(recognizer, clip, weights, tmp_path):
    predict(recognizer, [clip], tmp_path / "out")
    before = (tmp_path / "out" / "predictions.jsonl").read_bytes()

    def left_or_nobody(image):
        raise AssertionError("looked at again")

    predict(load(weights, left_or_nobody), [clip], tmp_path / "out")
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == before


def test_a_drawn_video_shows_the_frames_that_were_looked_at(recognizer, photos, clip, tmp_path):
    predict(recognizer, [photos[1], clip], tmp_path / "out", draw=True)
    drawn, sheet = tmp_path / "out" / "drawn", tmp_path / "out" / "contact_sheet.jpg"
    assert sorted(path.name for path in drawn.glob("[0-9]*")) == ["00001-01.jpg", "00002-clip.mp4"]
    shown = list(frames(drawn / "00002-clip.mp4", ALL))
    assert [frame.time for frame in shown] == pytest.approx([i / 5 for i in range(15)])
    assert shown[0].image.shape == (426, 640, 3)  # sides are even
    with Image.open(sheet) as picture:
        assert picture.width > 2 * 300


def test_videos_that_cannot_be_drawn_or_have_long_names_do_not_stop_the_others(recognizer, photos, clip, tmp_path):
    long = clip.rename("x" + 110 * "é" + ".avi")  # 200 bytes end in the middle of a letter
    complaints = []
    predict(recognizer, [long, photos[1]], tmp_path / "out", draw=True, complain=complaints.append)
    assert complaints == []
    drawn = tmp_path / "out" / "drawn"
    assert sorted(path.name[:8] for path in drawn.glob("[0-9]*")) == ["00001-xé", "00002-01"]
    odd = tmp_path / os.fsdecode(b"bad\xff")
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    predict(recognizer, [long, photos[1]], odd, draw=True, complain=complaints.append)
    assert len(complaints) == 1 and "not UTF-8" in complaints[0]
    assert len(lines_of(odd)) == 32


def test_a_video_that_was_replaced_by_a_shorter_one_is_drawn_as_far_as_it_goes(recognizer, clip, tmp_path):
    predict(recognizer, [clip], tmp_path / "out", fps=ALL)
    write_clip(clip, [couple(RED, GREEN)])
    predict(recognizer, [clip], tmp_path / "out", fps=ALL, draw=True)
    assert len(lines_of(tmp_path / "out")) == 60


def test_broken_videos_are_one_line_each_and_what_they_show_is_kept(recognizer, photos, clip, tmp_path):
    content = clip.read_bytes()
    Path("half.avi").write_bytes(content[: len(content) // 2])
    Path("empty.mp4").write_bytes(b"")
    inputs = [Path("empty.mp4"), Path("half.avi"), Path("missing.mkv"), photos[1]]
    complaints = []
    summary = predict(recognizer, inputs, tmp_path / "out", complain=complaints.append, draw=True)
    assert [line.split(":")[0] for line in complaints] == ["empty.mp4", "half.avi", "missing.mkv"]
    assert "ends early" in complaints[1]
    assert (summary.pictures, summary.videos, summary.failed) == (1, 3, 3)
    assert 2 < summary.frames < 12
    again = []
    predict(recognizer, inputs, tmp_path / "out", complain=again.append, draw=True)
    assert [line.partition(" (in an earlier run; ")[0] for line in again] == complaints
    drawn = tmp_path / "out" / "drawn"
    assert sorted(path.name for path in drawn.glob("[0-9]*")) == ["00002-half.mp4", "00004-01.jpg"]


def run(*words, stdin=None):
    return CliRunner().invoke(app, ["predict", *map(str, words)], input=stdin)


@pytest.fixture
def command(weights):
    return ["--weights", weights, "--detector", "none"]


def test_an_empty_name_is_not_taken_for_the_current_folder(photos, command):
    before = sorted(Path().iterdir())
    result = run("photos", "--out", "", *command)
    assert (result.exit_code, result.stderr) == (2, "--out: expected a folder\n")
    assert sorted(Path().iterdir()) == before


def test_the_command_recognises_files_folders_and_lists(photos, command):
    result = run("photos/03.png", "photos", "-", "--out", "out", *command, "--format", "csv", stdin="photos/04.png\n")
    assert result.exit_code == 0, result.output
    names = ["photos/03.png", *(f"photos/{i:02d}.png" for i in range(20) if i != 3)]
    assert [line["source"] for line in lines_of(Path("out"))] == names
    assert len(Path("out/predictions.csv").read_text().splitlines()) == 21
    assert "pictures: 20, without a face: 0, unreadable: 0" in result.stdout


@pytest.mark.parametrize("problem", [cv2.error("Insufficient memory"), MemoryError()])
def test_a_frame_for_which_there_is_no_memory_ends_its_video_and_no_other_input(
    weights, photos, clip, tmp_path, problem
):
    told = []

    def detect(image):
        if image.shape[0] == 64 and image[0, 0].argmax() == 1:  # green is left from frame 10 of the clip on
            raise problem
        return left_or_nobody(image)

    inputs = [photos[0], clip, photos[3]]
    summary = predict(load(weights, detect), inputs, tmp_path / "out", draw=True, fps=ALL, complain=told.append)
    (error,) = told
    assert error.startswith("clip.avi: frame 10, at 1.00 s: cannot be processed, or memory is short")
    lines = [line for line in lines_of(tmp_path / "out") if line["source"] == "clip.avi"]
    assert [line.get("frame") for line in lines] == [*(frame for frame in range(10) for _ in range(2)), None]
    assert lines[-1] == {"source": "clip.avi", "error": error}
    assert (summary.pictures, summary.videos, summary.failed) == (2, 1, 1)
    assert not list((tmp_path / "out").glob("unfinished-*"))
    assert len(list(frames(tmp_path / "out" / "drawn" / "00002-clip.mp4", ALL))) == 10


def test_the_command_takes_videos_from_folders_and_makes_tables_of_them(photos, command, clip):
    clip.rename("photos/99.avi")
    result = run("photos", "--out", "out", *command, "--format", "csv", "--fps", "2", "--draw")
    assert result.exit_code == 0, result.output
    assert "pictures: 20, videos: 1 (frames: 6), without a face: 0" in result.stdout
    last = Path("out/predictions.csv").read_text().splitlines()[-1].split(",")
    assert last[:2] == ["photos/99.avi", "25"]
    assert run("photos", "--out", "new", *command, "--fps", "0").exit_code == 2


def test_the_command_takes_no_drawing_of_any_run_for_input(photos, command):
    for out in ("out", "out", "other"):
        result = run(".", "--out", out, "--draw", *command)
        assert result.exit_code == 0, result.output
    assert "pictures: 20," in result.stdout


def test_the_command_fails_where_a_picture_can_be_drawn_no_more(photos, command):
    assert run("photos", "--out", "out", *command).exit_code == 0
    photos[3].unlink()
    result = run("photos/03.png", "photos", "--out", "out", "--draw", *command)
    assert (result.exit_code, result.stderr) == (1, "photos/03.png: no such file (to draw it)\n")
    assert len(list(Path("out", "drawn").glob("[0-9]*"))) == 19


def test_the_command_fails_with_a_line_for_each_bad_input(photos, command, tmp_path):
    photos[3].write_bytes(b"")
    (tmp_path / "empty").mkdir()
    result = run("empty", "photos", "missing.jpg", "--out", "out", *command)
    assert result.exit_code == 1
    told, lines = result.stderr.splitlines(), Path("out", "predictions.jsonl")
    assert [line.split(":")[0] for line in told] == ["empty", "photos/03.png", "missing.jpg"]
    assert "pictures: 21, without a face: 0, unreadable: 2" in result.stdout
    again = run("empty", "photos", "missing.jpg", "--out", "out", *command)
    told[1] += f" (in an earlier run; to try again, remove its lines from {lines})"  # the last is tried in any case
    assert (again.exit_code, again.stderr.splitlines()) == (1, told)
    other = run("photos/04.png", "--out", "out", *command)  # errors of other inputs are not this command's
    assert (other.exit_code, other.stderr) == (0, "")
    nothing = run("empty", "--out", "other", *command)
    assert (nothing.exit_code, len(nothing.stderr.splitlines())) == (1, 1)


def test_the_command_refuses_what_makes_no_sense(photos, command):
    assert run("photos", "--out", "out", "--weights", command[1], "--detector", "nobody").exit_code == 2
    assert run("photos", "--out", "out", *command).exit_code == 0
    other = run("photos", "--out", "out", *command, "--classes", "7")
    assert other.exit_code == 2
    assert "classes: 8, now 7" in other.stderr
    assert run("photos", "--out", "out", *command, "--classes", "9").exit_code == 2
    assert run("--out", "out").exit_code == 2


def test_ctrl_c_ends_the_command_with_how_to_go_on(photos, command, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ranfer.predict.summarise", stop)
    result = run("photos", "--out", "out", *command)
    assert result.exit_code == 130
    assert "out" in result.stderr
    assert "the same command goes on" in result.stderr


def test_predicting_needs_no_pytorch(photos, weights):
    words = ["photos/01.png", "--out", "out", "--weights", weights, "--detector", "none", "--draw"]
    code = "from ranfer.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    assert torch_after(code, "predict", *words) == [False, False]


def test_parquet_without_pyarrow_names_the_extra(recognizer, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"^predictions.parquet: needs pyarrow, .* 'ranfer\[parquet\]' brings$"):
        predict(recognizer, photos, tmp_path / "out", form="parquet")
    assert not (tmp_path / "out").exists()
