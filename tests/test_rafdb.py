"""RAF-DB in the layout of its release, with drawn faces, and the published lists against made-up faces of their ids."""

import pytest

from layouts import RAFDB, flat, write_rafdb
from ranfer.data import open_dataset
from ranfer.data.check import check
from ranfer.data.dataset import refuse_overwriting_data
from ranfer.data.face_lists import compare, read_list, resolve
from ranfer.data.labels import label
from ranfer.data.rafdb import PUBLISHED
from ranfer.errors import ConfigError, DataError
from ranfer.vocab import Expression

FACES = {f"train_{n:05d}": RAFDB[n % 7] for n in range(1, 8)} | {f"test_{n:04d}": RAFDB[n % 7] for n in range(1, 4)}


@pytest.fixture
def folder(tmp_path):
    return write_rafdb(tmp_path / "basic", FACES)


def test_the_labels_are_in_the_order_of_the_release(folder):
    dataset = open_dataset(f"rafdb:{folder}")
    assert dataset.splits == ("train", "test") and len(dataset.split("train")) == 7
    found = label(dataset.samples, "majority").expressions
    told = {sample.id: list(Expression)[e] for sample, e in zip(dataset.samples, found, strict=True)}
    assert told == {f"{stem}_aligned": expression for stem, expression in FACES.items()}
    (folder / "EmoLabel" / "list_patition_label.txt").write_text("test_0001.jpg 7\n")
    (only,) = open_dataset(f"rafdb:{folder.parent}").samples
    assert only.votes[Expression.NEUTRAL.column] == 1 and only.votes[Expression.SURPRISE.column] == 0


def test_the_published_counts_of_the_classes_sum_to_those_of_the_splits():
    for published in PUBLISHED.values():
        assert sum(published.expressions.values()) == published.faces == published.majority


def test_original_pictures_are_aligned_by_their_landmarks(tmp_path):
    folder = write_rafdb(tmp_path / "basic", FACES, aligned=False)
    dataset = open_dataset(f"rafdb:{folder}")
    face = dataset.image(dataset.samples[0])
    assert dataset.samples[0].landmarks[0] == (45, 60)
    assert face.shape[0] == face.shape[1] and 30 < face.shape[0] < 60  # the drawn face has 48 in a picture of 108x128
    assert (face.reshape(-1, 3).max(axis=1) > 0).mean() > 0.9  # and little of its black margin


def test_the_original_pictures_can_be_chosen_where_both_are_there(folder):
    write_rafdb(folder, FACES, aligned=False)
    assert open_dataset(f"rafdb:{folder}").samples[0].landmarks is None
    chosen = open_dataset(f"rafdb:{folder / 'Image' / 'original'}").samples[0]
    assert chosen.landmarks is not None and chosen.id.endswith("_aligned")


def test_the_published_lists_resolve(real_data, tmp_path):
    lists = {name: read_list(real_data / "ran_lists" / f"rafdb_{name}.txt") for name in ("pose_30", "occlusion_list")}
    faces = {e.id.removesuffix("_aligned"): e.expression for faces in lists.values() for e in faces.entries}
    dataset = open_dataset(f"rafdb:{write_rafdb(tmp_path / 'basic', faces, flat)}")
    ids, labels = [sample.id for sample in dataset.samples], label(dataset.samples, "majority")
    for faces in lists.values():
        assert compare(faces, resolve(faces, ids), labels).same == len(faces.entries)


def test_data_check_shows_classes_beside_the_published_ones_and_unreadable_faces(folder):
    (folder / "Image" / "aligned" / "test_0001_aligned.jpg").write_bytes(b"torn")
    report = check(open_dataset(f"rafdb:{folder}"))
    assert report.splits["train"].published_expressions["happiness"] == 4772
    assert report.splits["train"].published_expressions["contempt"] == 0
    assert report.failed and len(report.unreadable) == 1 and "test_0001_aligned.jpg" in report.unreadable[0]


def test_refusals_name_what_is_wrong(folder, tmp_path):
    labels = folder / "EmoLabel" / "list_patition_label.txt"
    good = labels.read_text()
    for text, message in {
        good + "train_00001.jpg 8\n": r"label.txt:11: expected a line such as 'train_00001.jpg 5', got 'train_00001",
        good + "test_0099.jpg 1\n": r"1 of 11 pictures are missing: test_0099_aligned.jpg \(line 11\)",
        "\n": "no faces are listed here; expected the folder basic/",
    }.items():
        labels.write_text(text)
        with pytest.raises(DataError, match=message):
            open_dataset(f"rafdb:{folder}")
    with pytest.raises(DataError, match=r"no such folder; expected the folder basic/"):
        open_dataset(f"rafdb:{tmp_path / 'gone'}")


def test_a_face_in_two_rows_counts_once_and_is_told(folder):
    with (folder / "EmoLabel" / "list_patition_label.txt").open("a") as file:
        file.write("train_00001.jpg 1\r\n")
    dataset = open_dataset(f"rafdb:{folder}")
    assert len(dataset.samples) == 10 and len(dataset.surprises) == 1


def test_no_output_takes_the_place_of_tables_or_pictures(folder):
    dataset = open_dataset(f"rafdb:{folder}")
    for file in (folder / "EmoLabel" / "list_patition_label.txt", dataset.samples[0].location.path):
        with pytest.raises(ConfigError, match="is read here"):
            refuse_overwriting_data([file], dataset)


def test_files_may_begin_with_a_byte_order_mark(tmp_path):
    folder = write_rafdb(tmp_path / "basic", FACES, aligned=False)
    plain = open_dataset(f"rafdb:{folder}")
    for file in folder.rglob("*.txt"):
        file.write_text("\ufeff" + file.read_text(), encoding="utf-8")
    assert open_dataset(f"rafdb:{folder}").samples == plain.samples


def test_a_damaged_annotation_is_named(tmp_path):
    folder = write_rafdb(tmp_path / "basic", FACES, aligned=False)
    (folder / "Annotation" / "manual" / "train_00003_manu_attri.txt").write_text("1 2\n3 4\n")
    with pytest.raises(DataError, match=r"train_00003_manu_attri.txt: expected five lines of two numbers.*got 2"):
        open_dataset(f"rafdb:{folder}")
    (folder / "Annotation" / "manual" / "train_00003_manu_attri.txt").write_text("1 2\n" * 4 + "3 nan\n")
    with pytest.raises(
        DataError, match=r"train_00003_manu_attri.txt: expected five lines of two numbers.*nan is no nu"
    ):
        open_dataset(f"rafdb:{folder}")
