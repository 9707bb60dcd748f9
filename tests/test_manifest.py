"""A dataset prepared once: the manifest and its cache, stopped and resumed, damaged, and with misses."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace

import cv2
import pytest
from PIL import Image

from layouts import RAFDB, write_rafdb, write_sfew
from ranfer.data import manifest, open_dataset
from ranfer.data.dataset import stack_faces
from ranfer.demo import PORTRAIT
from ranfer.errors import ConfigError, DataError, ImageError
from ranfer.faces.detectors import whole_picture
from ranfer.files import write_text
from test_cli import run

FACES = {f"train_{n:05d}": RAFDB[n % 7] for n in range(1, 9)}


@pytest.fixture
def opened(tmp_path):
    return open_dataset(f"rafdb:{write_rafdb(tmp_path / 'basic', FACES)}")


@pytest.mark.parametrize("channels", [1, 3])
def test_faces_come_from_the_cache_as_from_their_files(opened, tmp_path, channels):
    assert manifest.prepare(opened, tmp_path / "m.jsonl", 24, channels) == ([], 0)
    ready = open_dataset(f"manifest:{tmp_path / 'm.jsonl'}")
    assert [(s.id, s.split, s.votes) for s in ready.samples] == [(s.id, s.split, s.votes) for s in opened.samples]
    faces = stack_faces(ready, ready.samples, channels, 24)
    assert (faces == stack_faces(opened, opened.samples, channels, 24)).all()
    assert (stack_faces(ready, ready.samples[::2], channels, 24) == faces[::2]).all()


@pytest.mark.parametrize(
    ("damaged", "changed"), [("", False), ("{damaged}\n", False), ("{}\n", False), ("[]\n", False), ("", True)]
)
def test_a_stopped_run_goes_on_where_it_stopped_unless_pictures_changed(
    opened, tmp_path, monkeypatch, damaged, changed
):
    monkeypatch.setattr(manifest, "CHUNK", 2)

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manifest.prepare(opened, tmp_path / "m.jsonl", 24, 3, progress=stop)
    assert not (tmp_path / "m.jsonl").exists()
    log = tmp_path / "m.faces.log"
    log.write_text(log.read_text() + damaged)
    read = []
    watched = replace(opened, decode=lambda location: read.append(location) or opened.decode(location))
    if changed:
        opened.samples[0].location.path.write_bytes(opened.samples[7].location.path.read_bytes())
    assert manifest.prepare(watched, tmp_path / "m.jsonl", 24, 3) == ([], 0)
    assert set(read) == {sample.location for sample in opened.samples[0 if changed else 4 :]}
    ready = open_dataset(f"manifest:{tmp_path / 'm.jsonl'}")
    assert (stack_faces(ready, ready.samples, 3, 24) == stack_faces(opened, opened.samples, 3, 24)).all()


def test_ctrl_c_ends_the_command_with_how_to_go_on(opened, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "prepare", stop)
    stopped = run("data", "prepare", f"rafdb:{opened.path}", "--out", tmp_path / "m.jsonl", status=130)
    assert "m.jsonl, and the same command goes on there" in stopped.stderr


@pytest.mark.parametrize("writes", [0, 1])
def test_a_run_that_was_stopped_at_its_end_leaves_no_old_manifest_over_new_faces(opened, tmp_path, monkeypatch, writes):
    """After one of its two last writes, or before them, over a manifest of which no face could be read."""

    def unreadable(location):
        raise ImageError(f"{location}: gone")

    path = tmp_path / "m.jsonl"
    assert len(manifest.prepare(replace(opened, decode=unreadable), path, 24)[0]) == len(opened.samples)

    left = iter(range(writes, -1, -1))

    def stop(file, text):
        if not next(left):
            raise KeyboardInterrupt
        write_text(file, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(manifest, "write_text", stop)
        manifest.prepare(opened, path, 24)
    with pytest.raises(DataError, match=r"no readable cache of faces .* run ranfer data prepare again"):
        manifest.open_manifest(path)
    manifest.prepare(opened, path, 24)
    assert not manifest.open_manifest(path).broken


def test_two_runs_do_not_prepare_one_manifest(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "CHUNK", 2)
    refused = []

    def second(done, total):
        with pytest.raises(ConfigError, match="another run is writing it") as caught:
            manifest.prepare(opened, tmp_path / "m.jsonl", 24)
        refused.append(caught)
        if len(refused) == 2:
            raise KeyboardInterrupt

    for stopped in (True, False):  # also where the run goes on with what an earlier one has done
        with pytest.raises(KeyboardInterrupt) if stopped else nullcontext():
            manifest.prepare(opened, tmp_path / "m.jsonl", 24, progress=second)
    assert len(refused) == 4


def test_what_is_prepared_with_the_same_settings_stands(opened, tmp_path):
    manifest.prepare(opened, tmp_path / "m.jsonl", 24, 3)
    lines = (tmp_path / "m.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "m.jsonl").write_text("".join(lines[1:]))  # a line taken out by hand
    assert manifest.prepare(opened, tmp_path / "m.jsonl", 24, 3) == ([], 0)
    assert len(open_dataset(f"manifest:{tmp_path / 'm.jsonl'}").samples) == 7


def test_two_manifests_do_not_share_a_cache(opened, tmp_path):
    with pytest.raises(ConfigError, match=r"faces\.A: expected the name of a manifest, which ends in \.jsonl"):
        manifest.prepare(opened, tmp_path / "faces.A", 8)


def test_what_was_prepared_otherwise_is_not_replaced(opened, tmp_path):
    manifest.prepare(opened, tmp_path / "m.jsonl", 24, 3)
    before = [file.read_bytes() for file in manifest.manifest_files(tmp_path / "m.jsonl")]
    for data, size in ((opened, 16), (replace(opened, samples=opened.samples[:3]), 24)):
        with pytest.raises(ConfigError, match="was prepared from other data or with other settings; choose another"):
            manifest.prepare(data, tmp_path / "m.jsonl", size, 3)
    assert [file.read_bytes() for file in manifest.manifest_files(tmp_path / "m.jsonl")] == before


def test_faces_of_pictures_or_a_detector_that_changed_since_do_not_stand(opened, tmp_path, monkeypatch):
    path, first = tmp_path / "m.jsonl", opened.samples[0].location.path
    kept = first.read_bytes()
    first.write_bytes(b"torn")
    assert len(manifest.prepare(opened, path, 24)[0]) == 1
    first.write_bytes(kept)  # mended, so that the same command finds it
    assert manifest.prepare(opened, path, 24) == ([], 0)
    first.write_bytes(opened.samples[7].location.path.read_bytes())
    with pytest.raises(ConfigError, match=r"m.jsonl: pictures or the detector have changed since it was prepared"):
        manifest.prepare(opened, path, 24)
    first.unlink()
    with pytest.raises(ConfigError, match="have changed since"):
        manifest.prepare(opened, path, 24)
    found = tmp_path / "found.jsonl"
    manifest.prepare(opened, found, 24, detect=whole_picture)
    (tmp_path / "weights").write_bytes(b"others")
    first.write_bytes(kept)
    manifest.prepare(opened, found, 24, detect=whole_picture)
    monkeypatch.setattr(manifest, "weight_files", lambda name: [tmp_path / "weights"])
    with pytest.raises(ConfigError, match="have changed since"):
        manifest.prepare(opened, found, 24, detect=whole_picture)


@pytest.mark.parametrize(("told", "unread"), [({"row": 0.0, "error": "gone"}, [0]), ({"error": None}, [])])
def test_an_edited_error_counts_where_it_says_something(opened, tmp_path, told, unread):
    path = tmp_path / "m.jsonl"
    manifest.prepare(opened, path, 24)
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | told), *others]) + "\n")
    assert sorted(manifest.open_manifest(path).broken) == unread


def test_a_manifest_remembers_its_dataset_and_the_published_counts(opened, tmp_path):
    manifest.prepare(opened, tmp_path / "m.jsonl", 24, 3)
    ready = open_dataset(f"manifest:{tmp_path / 'm.jsonl'}")
    assert (ready.name, ready.origin) == ("manifest", "rafdb") and ready.published == opened.published


def test_an_unreadable_face_keeps_its_line_and_is_an_error_where_it_is_needed(opened, tmp_path):
    opened.samples[0].location.path.write_bytes(b"torn")
    (line, _) = manifest.prepare(opened, tmp_path / "m.jsonl", 24, 3)
    assert "train_00001_aligned.jpg" in line[0]
    ready = open_dataset(f"manifest:{tmp_path / 'm.jsonl'}")
    with pytest.raises(DataError, match=r"1 of 8 faces cannot be read: .*train_00001_aligned.jpg"):
        stack_faces(ready, ready.samples, 3, 24)


def test_a_manifest_that_is_not_there_is_named_itself(tmp_path):
    with pytest.raises(DataError, match=r"m\.jsonl: no such file; ranfer data prepare writes it"):
        open_dataset(f"manifest:{tmp_path / 'm.jsonl'}")


def test_a_damaged_cache_is_found(opened, tmp_path):
    manifest.prepare(opened, tmp_path / "m.jsonl", 24, 3)
    manifest.verify(tmp_path / "m.jsonl")
    file = tmp_path / "m.faces.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"1 of 1 parts are damaged"):
        manifest.verify(tmp_path / "m.jsonl")
    file.write_bytes(content[:-9])
    with pytest.raises(DataError, match="no readable cache of faces"):
        open_dataset(f"manifest:{tmp_path / 'm.jsonl'}")


@pytest.mark.parametrize("key", ["key", "published", "shape", "sha256"])
def test_notes_that_lack_something_are_an_error_and_prepared_again(opened, tmp_path, key):
    path, notes = tmp_path / "m.jsonl", tmp_path / "m.faces.json"
    manifest.prepare(opened, path, 24)
    told = json.loads(notes.read_text())
    notes.write_text(json.dumps({name: value for name, value in told.items() if name != key}))
    with pytest.raises(DataError, match=rf"no readable cache of faces .*{key}"):
        manifest.open_manifest(path)
    manifest.prepare(opened, path, 24)
    assert json.loads(notes.read_text()) == told


def test_misses_of_the_detector_are_kept_and_counted(tmp_path):
    stills = open_dataset(f"sfew:{write_sfew(tmp_path / 'sfew', 1)}")
    assert manifest.prepare(stills, tmp_path / "m.jsonl", 24, 3, detect=lambda picture: []) == ([], 14)
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert len(lines) == 14 and all(line["attributes"]["found"] == 0 and line["box"] is None for line in lines)


@pytest.mark.parametrize("problem", [cv2.error("Insufficient memory"), MemoryError()])
def test_a_picture_for_which_there_is_no_memory_is_an_unreadable_face(tmp_path, problem):
    stills = open_dataset(f"sfew:{write_sfew(tmp_path / 'sfew', 1)}")

    def detect(picture):
        raise problem

    unreadable, _ = manifest.prepare(stills, tmp_path / "m.jsonl", 24, 3, detect)
    assert len(unreadable) == 14
    assert unreadable[0].startswith(f"{stills.samples[0].location}: cannot be processed, or memory is short")


def test_faces_are_found_in_the_photos_of_a_folder(tmp_path):
    (tmp_path / "photos" / "happy").mkdir(parents=True)
    shutil.copy(PORTRAIT, tmp_path / "photos" / "happy")
    Image.new("RGB", (60, 60)).save(tmp_path / "photos" / "happy" / "nobody.png")
    words = ("data", "prepare", f"folder:{tmp_path / 'photos'}", "--size", 48, "--out")
    assert "without a face" not in run(*words, tmp_path / "whole.jsonl").stdout
    found = run(*words, tmp_path / "m.jsonl", "--find")
    assert "2 faces of 48 pixels, 1 of them without a face that was found" in " ".join(found.stdout.split())
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert sorted(line["attributes"]["found"] for line in lines) == [0, 1]
    assert all((line["box"] is not None) == line["attributes"]["found"] for line in lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": 8}, "row 8 of 8"),
        ({"row": -1}, "row -1 of 8"),
        ({"votes": [1, 2, 3]}, r"votes \(1, 2, 3\)"),
        ({"votes": [10**30] + [0] * 9}, "votes"),
        ({"votes": [float("inf")] + [0] * 9}, "OverflowError"),
        ({"id": "train_00001_aligned"}, "train_00001_aligned stands in line 1 already"),
        ({"attributes": [1]}, r"attributes \[1\]"),
        ({"attributes": "female"}, "attributes 'female'"),
    ],
)
def test_an_edited_line_that_cannot_be_is_an_error_with_its_line(opened, tmp_path, change, message):
    path = tmp_path / "m.jsonl"
    manifest.prepare(opened, path, 24, 3)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], json.dumps(json.loads(lines[1]) | change), *lines[2:]]) + "\n")
    with pytest.raises(DataError, match=rf"m.jsonl:2: expected an object with id, split, votes and row .*{message}"):
        open_dataset(f"manifest:{path}")
    with pytest.raises(ConfigError, match=r"m.jsonl: is read here, and must not be written over; choose another name"):
        manifest.prepare(replace(opened, path=path), path, 24, 3)


def test_a_line_without_attributes_may_say_null(opened, tmp_path):
    path = tmp_path / "m.jsonl"
    manifest.prepare(opened, path, 24, 3)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(lines[0]) | {"attributes": None}), *lines[1:]]) + "\n")
    assert open_dataset(f"manifest:{path}").samples[0].codes == {}
    run("data", "check", f"manifest:{path}")


def test_a_lost_cache_is_prepared_again_and_no_other_file_is_taken_for_a_manifest(opened, tmp_path):
    file = tmp_path / "m.jsonl"
    manifest.prepare(opened, file, 8)
    for lost in manifest.manifest_files(file)[1:]:
        lost.unlink()
    manifest.prepare(opened, file, 8)
    assert manifest.open_manifest(file).samples
    for text in ("mine", "", '{"id": "a"}\n', "[]\n"):
        (tmp_path / "notes.jsonl").write_text(text)
        with pytest.raises(ConfigError, match="something else than a manifest"):
            manifest.prepare(opened, tmp_path / "notes.jsonl", 8)
        assert (tmp_path / "notes.jsonl").read_text() == text


def test_the_cache_of_a_manifest_is_not_written_over_by_one_made_of_it(opened, tmp_path):
    manifest.prepare(opened, tmp_path / "m.jsonl", 8)
    with pytest.raises(ConfigError, match=r"m.jsonl: is read here"):
        manifest.prepare(manifest.open_manifest(tmp_path / "m.jsonl"), tmp_path / "m.jsonl", 8)
    for file in manifest.manifest_files(tmp_path / "m.jsonl"):
        assert (
            "is read here" in run("data", "check", f"manifest:{tmp_path / 'm.jsonl'}", "--json", file, status=2).stderr
        )
