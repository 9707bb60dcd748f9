"""Predictions as lines that grow, are gone on with, and become tables."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranfer.errors import ConfigError, DataError
from ranfer.outputs import Results
from ranfer.prediction_lines import read_pictures, read_predictions, to_face, to_lines
from ranfer.recognize import Face, Region
from ranfer.tables import write_table
from ranfer.vocab import ESTIMATED, Box, Expression

SETTINGS = {"weights": "0123456789abcdef", "detector": "mtcnn", "classes": 8}
REGIONS = ("face", "top left")
POINTS = ((30.5, 40.25), (60.0, 41.0), (45.0, 55.0), (33.0, 70.0), (58.0, 71.0))


def make_face(**changes):
    rest = dict.fromkeys(Expression, 0.01)
    values = {
        "box": (10.0, 20.0, 80.5, 99.25),
        "score": 0.99,
        "landmarks": POINTS,
        "expression": Expression.HAPPINESS,
        "probability": 0.93,
        "probabilities": {**rest, Expression.HAPPINESS: 0.93},
        "regions": (Region("face", Box(0, 0, 1, 1), 0.25), Region("top left", Box(0, 0, 0.75, 0.75), 0.75)),
        "trusted": True,
    }
    return Face(**(values | changes))


UNSURE = make_face(
    landmarks=None,
    trusted=False,
    reason="unsure: happiness 0.41 of 0.55 needed",
    occlusion=dict.fromkeys(ESTIMATED, 0.5),
    yaw=3.5,
)


def written(folder, settings=SETTINGS):
    with Results(folder, settings, {"file": "m.onnx"}) as results:
        results.write("a.jpg", [make_face(), UNSURE])
        results.write("nobody.jpg", [])
        results.write_error("broken.jpg", "broken.jpg: not a readable picture")
        results.write("z.jpg", [make_face(), make_face(score=0.5)])
    return results.path


def test_a_line_has_the_documented_fields_in_plain_json(tmp_path):
    lines = list(read_predictions(str(written(tmp_path))))
    assert list(lines[0]) == [
        *("source", "frame", "time", "track", "box", "score", "landmarks", "expression", "probability"),
        *("probabilities", "regions", "yaw", "pitch", "roll", "occlusion", "trusted", "reason"),
    ]
    assert lines[0]["source"] == "a.jpg"
    assert lines[0]["box"] == [10, 20, 80.5, 99.25]
    assert lines[0]["probabilities"]["happiness"] == 0.93
    assert lines[0]["regions"][1] == {"name": "top left", "box": [0, 0, 0.75, 0.75], "weight": 0.75}
    assert lines[1]["occlusion"] == {"upper": 0.5, "lower": 0.5, "side": 0.5, "eyewear": 0.5, "none": 0.0625}
    assert lines[1]["reason"] == UNSURE.reason
    assert list(lines[2]) == list(lines[0])
    assert {name for name, value in lines[2].items() if value is not None} == {"source", "frame"}
    assert lines[3] == {"source": "broken.jpg", "error": "broken.jpg: not a readable picture"}


@pytest.mark.parametrize("face", [make_face(), UNSURE, make_face(regions=())])
def test_a_line_gives_its_face_back(face):
    (line,) = to_lines("a.jpg", [face])
    assert to_face(json.loads(json.dumps(line))) == face


def test_a_feature_survives_to_seven_digits():
    feature = np.random.default_rng(0).normal(size=9).astype(np.float32)
    (line,) = to_lines("a.jpg", [make_face(feature=feature)])
    np.testing.assert_allclose(to_face(line).feature, feature, rtol=1e-6)
    assert "feature" not in to_lines("a.jpg", [make_face()])[0]


def test_lines_of_a_picture_come_together(tmp_path):
    groups = list(read_pictures(written(tmp_path)))
    assert [(group[0]["source"], len(group)) for group in groups] == [
        *(("a.jpg", 2), ("nobody.jpg", 1), ("broken.jpg", 1), ("z.jpg", 2))
    ]


def fill(video, frames=range(5)):
    """A face that stays in every frame, and another in every second."""
    for frame in frames:
        other = make_face(box=(200.0, 20.0, 260.0, 80.0), score=0.5)
        video.write(frame, frame / 5, [make_face(), other] if frame % 2 else [make_face()])


def test_a_video_grows_in_a_file_of_its_own_and_comes_over_as_a_whole(tmp_path):
    with Results(tmp_path, SETTINGS, {}) as results:
        results.write("a.jpg", [])
        video = results.begin("clip.mp4")
        fill(video)
        assert [line["source"] for line in read_predictions(results.path)] == ["a.jpg"]
        assert len(list(tmp_path.glob("unfinished-*"))) == 1
        results.finish(video, None)
    lines = list(read_predictions(results.path))[1:]
    assert [(line["frame"], line["time"], line["track"]) for line in lines] == [
        *((0, 0.0, 0), (1, 0.2, 0), (1, 0.2, 1), (2, 0.4, 0), (3, 0.6, 0), (3, 0.6, 1), (4, 0.8, 0))
    ]
    assert list(lines[0]) == list(to_lines("a.jpg", [make_face()])[0])
    assert not list(tmp_path.glob("unfinished-*"))
    with Results(tmp_path, SETTINGS, {}, {"a.jpg", "clip.mp4"}) as results:
        assert results.done == {"a.jpg": None, "clip.mp4": None}


@given(st.data())
def test_a_video_cut_at_any_byte_and_gone_on_with_has_the_lines_of_one_run(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "cut video"
    with Results(folder, SETTINGS, {}, {"clip.mp4"}) as results:
        video = results.begin("clip.mp4")
        fill(video, range(video.last + 1, 5))
        whole = video.path.read_bytes()
        video.path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        again = results.begin("clip.mp4")
        fill(again, range(again.last + 1, 5))
        assert (again.path.read_bytes(), again.frames) == (whole, 5)


@pytest.mark.parametrize("kept", [1, 4, 7])
def test_a_stop_while_a_video_comes_over_loses_nothing(tmp_path, kept):
    with Results(tmp_path, SETTINGS, {}) as results:
        results.write("a.jpg", [])
        video = results.begin("clip.mp4")
        fill(video)
        growing = video.path.read_bytes()
        results.finish(video, None)
    whole = results.path.read_bytes()
    video.path.write_bytes(growing)
    results.path.write_bytes(b"".join(whole.splitlines(keepends=True)[: 1 + kept]))
    with Results(tmp_path, SETTINGS, {}, {"clip.mp4"}) as results:
        assert list(results.done) == ["a.jpg"]
        video = results.begin("clip.mp4")
        fill(video, range(video.last + 1, 5))
        results.finish(video, None)
    assert results.path.read_bytes() == whole


@pytest.mark.parametrize("start", range(0, 60, 7))
def test_a_face_that_went_unseen_for_a_second_has_the_number_of_one_run(tmp_path, start):
    faces = [make_face(box=(10.004, 20.006, 80.5049, 99.251))]
    frames = [(start + 12 * k, (start + 12 * k) / 60, [] if 5 <= k < 9 else faces) for k in range(12)]
    with Results(tmp_path, SETTINGS, {}) as results:
        whole, parts = results.begin("whole.mp4"), results.begin("parts.mp4")
        for frame in frames:
            whole.write(*frame)
        for frame in frames[:8]:
            parts.write(*frame)
        again = results.begin("parts.mp4")
        for frame in frames[7:]:
            again.write(*frame)
        tracks = [[line["track"] for line in read_predictions(video.path)] for video in (whole, again)]
    assert tracks[0] == tracks[1] == [0] * 5 + [None] * 4 + [0] * 3


def test_a_video_that_was_begun_is_not_gone_on_with_by_other_settings(tmp_path):
    with Results(tmp_path, SETTINGS, {}) as results:
        fill(results.begin("clip.mp4"))
    assert results.path.stat().st_size == 0
    with pytest.raises(ConfigError, match=r"other settings \(classes: 8, now 7\).*unfinished-\*.jsonl"):
        Results(tmp_path, SETTINGS | {"classes": 7}, {})
    with Results(tmp_path, SETTINGS, {}) as results:
        assert results.begin("clip.mp4").last == 3


def test_a_video_that_ends_early_keeps_what_was_found_and_says_why_it_ends(tmp_path):
    with Results(tmp_path, SETTINGS, {}) as results:
        video = results.begin("clip.mp4")
        fill(video, range(2))
        results.finish(video, "clip.mp4: the video ends early")
        results.finish(results.begin("none.mp4"), "none.mp4: not a readable video")
    with Results(tmp_path, SETTINGS, {}, {"clip.mp4"}) as results:
        assert results.done == {
            "clip.mp4": "clip.mp4: the video ends early",
            "none.mp4": "none.mp4: not a readable video",
        }
    assert [line.get("error") for line in read_predictions(results.path)] == [
        *(None, None, None, "clip.mp4: the video ends early", "none.mp4: not a readable video")
    ]


def test_going_on_takes_the_last_picture_again_as_it_may_lack_faces(tmp_path):
    written(tmp_path)
    with Results(tmp_path, SETTINGS, {}, {"z.jpg"}) as results:
        assert list(results.done) == ["a.jpg", "nobody.jpg", "broken.jpg"]
        results.write("z.jpg", [])
    assert [line["source"] for line in read_predictions(results.path)] == [
        *("a.jpg", "a.jpg", "nobody.jpg", "broken.jpg", "z.jpg")
    ]


@given(st.data())
def test_cut_at_any_byte_and_gone_on_with_the_file_is_that_of_one_run(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "cut"
    whole = written(folder).read_bytes() if not folder.exists() else (folder / "whole").read_bytes()
    (folder / "whole").write_bytes(whole)
    path = folder / "predictions.jsonl"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    answers = {"a.jpg": [make_face(), UNSURE], "nobody.jpg": [], "z.jpg": [make_face(), make_face(score=0.5)]}
    sources = ("a.jpg", "nobody.jpg", "broken.jpg", "z.jpg")
    with Results(folder, SETTINGS, {"file": "m.onnx"}, sources) as results:
        for source in sources:
            if source in results.done:
                continue
            if source in answers:
                results.write(source, answers[source])
            else:
                results.write_error(source, "broken.jpg: not a readable picture")
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("torn", "kept"),
    [
        (b"", True),
        (b'{"source": "another.jpg", "fra', True),
        (b'{"source": "z.jpg.jpg", "fra', True),
        (b'{"source": "z.jpg", "bo', False),
        (b'{"source": "z', False),  # which may become z.jpg
    ],
)
def test_the_last_picture_stays_where_no_run_does_it_again_unless_the_torn_line_may_be_its_own(tmp_path, torn, kept):
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Results(tmp_path, SETTINGS, {}, {"other.jpg"}) as results:
        assert ("z.jpg" in results.done) == kept
        results.write("other.jpg", [])
    assert path.read_bytes().startswith(whole) == kept
    assert [line["source"] for line in read_predictions(path)][-1] == "other.jpg"


@pytest.mark.parametrize("torn", [b'{"source": "another.jpg", "fra', b'{"sou'])
def test_a_video_that_came_over_stays_whatever_is_torn_after_it(tmp_path, torn):
    with Results(tmp_path, SETTINGS, {}) as results:
        video = results.begin("clip.mp4")
        fill(video)
        results.finish(video, None)
    whole = results.path.read_bytes()
    results.path.write_bytes(whole + torn)
    with Results(tmp_path, SETTINGS, {}, {"clip.mp4", "another.jpg"}) as results:
        assert results.done == {"clip.mp4": None}
    assert results.path.read_bytes() == whole


def test_going_on_with_other_settings_is_refused_and_names_them(tmp_path):
    before = written(tmp_path).read_bytes()
    with pytest.raises(
        ConfigError,
        match=r"other settings \(weights: 01234567, now fedcba98; detector: mtcnn, now none\): choose another --out",
    ):
        Results(tmp_path, {"weights": "fedcba9876543210", "detector": "none", "classes": 8}, {})
    assert (tmp_path / "predictions.jsonl").read_bytes() == before


def test_predictions_of_unknown_origin_are_refused(tmp_path):
    written(tmp_path)
    (tmp_path / "predictions.meta.json").unlink()
    with pytest.raises(DataError, match=r"predictions\.meta\.json: how predictions\.jsonl was made cannot be read"):
        Results(tmp_path, SETTINGS, {})


def test_the_settings_and_the_model_stand_beside_the_lines(tmp_path):
    written(tmp_path)
    about = json.loads((tmp_path / "predictions.meta.json").read_text())
    assert about["settings"] == SETTINGS
    assert about["model"] == {"file": "m.onnx"}
    assert about["ranfer"]


@pytest.mark.parametrize("wrong", ["{", "[]", '{"source": "a.jpg"}', '{"box": null}', '{"source": 3, "box": null}'])
def test_a_damaged_line_is_named(tmp_path, wrong):
    path = written(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], wrong, *lines[1:]]) + "\n")
    for use in (lambda: list(read_predictions(path)), lambda: Results(tmp_path, SETTINGS, {})):
        with pytest.raises(DataError, match=r"predictions\.jsonl:2: expected"):
            use()


def test_a_face_that_lacks_something_is_named(tmp_path):
    path = written(tmp_path)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    first = next(number for number, line in enumerate(lines) if line.get("box"))
    del lines[first]["score"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match=rf"\.jsonl:{first + 1}: score: Field required; correct it, or remove"):
        list(read_predictions(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": [0, 0, 9]}, "box"),
        ({"probability": "0.9"}, "probability: Input should be a valid number"),
        ({"expression": "glee"}, "expression: Input should be 'neutral'"),
        ({"probabilities": {"glee": 1.0}}, "probabilities.glee"),
        ({"regions": [{"name": "face"}]}, "regions.0.box: Field required"),
        ({"landmarks": [[0.5, 0.5]]}, "landmarks: List should have at least 5 items"),
        ({"frame": None}, "frame"),
        ({"occlusion": {"hat": 0.5}}, "occlusion.hat"),
        ({"trusted": "yes"}, "trusted"),
    ],
)
def test_an_edited_value_that_cannot_be_is_named(tmp_path, change, message):
    path = written(tmp_path)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    first = next(number for number, line in enumerate(lines) if line.get("box"))
    lines[first] |= change
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for use in (lambda: list(read_predictions(path)), lambda: Results(tmp_path, SETTINGS, {})):
        with pytest.raises(DataError) as refused:
            use()
        assert str(refused.value).startswith(f"{path}:{first + 1}: {message}")


@pytest.mark.parametrize("change", [{"time": None}, {"track": None}, {"error": "torn"}])
def test_a_video_that_was_edited_before_its_end_is_refused(tmp_path, change):
    with Results(tmp_path, SETTINGS, {}) as results:
        fill(results.begin("clip.avi"))
        path = results.begin("clip.avi").path
        lines = [json.loads(text) for text in path.read_text().splitlines()]
        first = next(number for number, line in enumerate(lines) if line["box"])
        lines[first] |= change
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(DataError, match=rf":{first + 1}: expected a frame; remove the file"):
            results.begin("clip.avi")


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    with Results(tmp_path, SETTINGS, {}) as first:
        with pytest.raises(ConfigError, match=r"predictions\.jsonl: another run is writing it"):
            Results(tmp_path, SETTINGS, {})
        first.write("a.jpg", [])
    with Results(tmp_path, SETTINGS, {}) as second:
        assert list(second.done) == ["a.jpg"]


def test_the_csv_has_the_columns_that_users_of_py_feat_know(tmp_path):
    path = write_table(written(tmp_path), "csv", list(Expression), REGIONS)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    known = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Pitch", "Roll", "Yaw"]
    known += ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    places = [columns.index(name) for name in ("input", "frame", *known)]
    assert all(first < second for first, second in pairwise(places))
    assert not any(name.startswith(("x_", "y_")) for name in columns)  # py-feat's are 68 other points
    first, second, nobody, broken, *_ = rows
    assert (first["input"], first["frame"], first["expression"]) == ("a.jpg", "0", "happiness")
    rectangle = [float(first[name]) for name in known[:5]]
    assert rectangle == [10, 20, 70.5, 79.25, 0.99]
    assert (first["left_eye_x"], first["left_eye_y"], first["right_mouth_corner_y"]) == ("30.5", "40.25", "71.0")
    assert (first["weight_face"], first["weight_top_left"]) == ("0.25", "0.75")
    assert (first["trusted"], second["trusted"], second["Yaw"], second["left_eye_x"]) == ("True", "False", "3.5", "")
    assert {name for name, value in nobody.items() if value} == {"input", "frame"}
    assert {name for name, value in broken.items() if value} == {"input", "error"}
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        *("predictions.csv", "predictions.jsonl", "predictions.meta.json")
    ]


def test_seven_classes_give_seven_columns(tmp_path):
    seven = [name for name in Expression if name is not Expression.CONTEMPT]
    with Results(tmp_path, SETTINGS, {}) as results:
        results.write("a.jpg", [make_face(probabilities=dict.fromkeys(seven, 1 / 7))])
    header = write_table(results.path, "csv", seven, ()).read_text().splitlines()[0].split(",")
    assert "neutral" in header
    assert "contempt" not in header


def test_parquet_holds_what_the_csv_holds_with_types_and_features(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    with Results(tmp_path, SETTINGS, {}) as results:
        results.write_error("broken\udcff.jpg", "broken\udcff.jpg: empty")
        results.write("a.jpg", [make_face(feature=np.float32([1, 2.5]))])
        results.write("nobody.jpg", [])
    table = parquet.read_table(write_table(results.path, "parquet", list(Expression), REGIONS))
    text = write_table(results.path, "csv", list(Expression), REGIONS)
    with text.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == [*rows[0], "feature"]
    assert table["input"].to_pylist() == [row["input"] for row in rows] == ["broken\\udcff.jpg", "a.jpg", "nobody.jpg"]
    assert table["error"].to_pylist() == ["broken\\udcff.jpg: empty", None, None]
    assert table["trusted"].to_pylist() == [None, True, None]
    assert table["happiness"].to_pylist() == [None, 0.93, None]
    assert table["feature"].to_pylist() == [None, [1, 2.5], None]
    assert table["frame"].to_pylist() == [None, 0, 0]
