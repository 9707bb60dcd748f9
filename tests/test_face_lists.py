"""Published and plain lists: every form of line, every slip, and the real files."""

from collections import Counter
from pathlib import Path

import pytest

from ranfer.data.face_lists import Agreement, FaceEntry, compare, read_list, read_subset, resolve
from ranfer.data.ferplus import read_votes
from ranfer.data.labels import label
from ranfer.errors import DataError
from ranfer.vocab import Expression, Location, Occlusion, Sample

HASH = "83dac9d7eec7fb0bfef79b4d35ddc69a6f7fb458d3bffc4e78f33ad9"


@pytest.fixture
def write(tmp_path):
    def write(text, name="list.txt"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def only(face_list):
    (entry,) = face_list.entries
    return entry


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1_fer0034656.png 8 0", FaceEntry("fer0034656", 1, Expression.HAPPINESS, 0, Occlusion.UPPER)),
        ("4_fer0034656.png 8 3", FaceEntry("fer0034656", 1, Expression.ANGER, 3, Occlusion.EYEWEAR)),
        ("7/fer0032220 6", FaceEntry("fer0032220", 1, Expression.CONTEMPT)),
        ("0/fer0032226.jpg", FaceEntry("fer0032226", 1, Expression.NEUTRAL)),
        (f"val/3/{HASH}/", FaceEntry(HASH, 1, Expression.SURPRISE)),
        (f"2/{HASH}.jpg", FaceEntry(HASH, 1, Expression.SADNESS)),
        (f"7/{HASH}/8.jpg", FaceEntry(HASH, 1, Expression.CONTEMPT)),
        ("test_0003_aligned 3 4", FaceEntry("test_0003_aligned", 1, Expression.HAPPINESS, 4)),
        ("0/test_0004_aligned.jpg", FaceEntry("test_0004_aligned", 1, Expression.SURPRISE)),
        ("fer0032226", FaceEntry("fer0032226", 1)),
        ("FER2013Test/fer0032226.png", FaceEntry("fer0032226", 1)),
        ("photos/anna.JPG", FaceEntry("anna", 1)),
        ('{"id": "fer0032226", "yaw": 31.5}', FaceEntry("fer0032226", 1)),
        ('{"id": "anna", "expression": "sad"}', FaceEntry("anna", 1, Expression.SADNESS)),
    ],
)
def test_every_form_of_line_is_read(write, line, expected):
    assert only(read_list(write(line + "\n"))) == expected


def test_line_ends_blank_lines_a_mark_at_the_start_and_a_header_change_nothing(write):
    plain = read_list(write("0/fer0000001.jpg\n1/fer0000002.jpg\n", "plain.txt"))
    odd = read_list(write("\ufeff2 7\r\n\r\n0/fer0000001.jpg\r\n 1/fer0000002.jpg \r\n\r\n", "odd.txt"))
    assert [(e.id, e.expression) for e in odd.entries] == [(e.id, e.expression) for e in plain.entries]
    assert [entry.line for entry in odd.entries] == [3, 4] and not odd.surprises


def test_a_header_that_miscounts_is_a_surprise(write):
    path = write("5 7\n0/fer0000001.jpg\n")
    assert read_list(path).surprises == (f"{path}:1: the header announces 5 lines, 1 follow",)


def test_a_face_that_is_listed_twice_counts_once_and_both_lines_are_named(write):
    path = write("0/fer0000001.jpg\n1/fer0000002.jpg\n0/fer0000001.jpg\n")
    faces = read_list(path)
    assert faces.rows == 3 and [entry.id for entry in faces.entries] == ["fer0000001", "fer0000002"]
    assert faces.surprises == (f"{path}:3: fer0000001 stands in line 1 too and counts once",)


def test_a_repeated_face_with_another_label_is_a_conflict(write):
    path = write("0/fer0000001.jpg\n4/fer0000001.jpg\n")
    faces = read_list(path)
    assert only(faces).expression is Expression.NEUTRAL
    assert faces.surprises == (
        f"{path}:2: conflict: fer0000001 stands in line 1 too, with another label; line 1 counts",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fer0000001\n1_fer0034656.png 8 9\n", r"list.txt:2: expected an id, .* got '1_fer0034656.png 8 9'"),
        ("7/fer0032220 5\n", r"list.txt:1: expected an id"),
        ("9/fer0032226.jpg\n", r"list.txt:1: expected an expression from 0 to 7, got 9"),
        ("7/test_0004_aligned.jpg\n", r"list.txt:1: expected an expression from 0 to 6, got 7"),
        ("test_0003_aligned 3 5\n", r"list.txt:1: expected an id"),
        ('{"id": "a"}\n{"name": "b"}\n', r'list.txt:2: expected an object with an "id", got'),
        ('{"id": "a"}\n{"id": \n{"id": "c"}\n', r"list.txt:2: not a line of JSON"),
        ('{"id": "a", "expression": "bored"}\n', r"list.txt:1: no expression is called 'bored'"),
        ("\n\n", r"list.txt: expected a list of faces; there is none in it"),
        (b"\xff\xfe\x00", r"list.txt: not a text file"),
    ],
)
def test_a_malformed_line_is_an_error_with_its_line(write, text, message):
    with pytest.raises(DataError, match=message):
        read_list(write(text))


def test_attributes_are_a_list_of_faces_but_no_subset(write):
    line = '{"id": "a", "occlusion": {"upper": 0}}\n'
    assert [entry.id for entry in read_list(write(line)).entries] == ["a"]  # as of whom to ask
    for text in (line, '{"about": {"what": "looked at"}}\n' + line):
        with pytest.raises(DataError, match="is an attributes file, not a subset; make subsets with ranfer"):
            read_subset(write(text))
    assert read_subset(write('{"about": {"subset": "pose_30"}}\n' + line)).entries[0].id == "a"


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.txt: cannot be read \(No such file"):
        read_list(tmp_path / "gone.txt")


def test_a_torn_last_line_of_a_jsonl_is_dropped_and_told(write):
    path = write('{"id": "a"}\n{"id": "b"}\n{"id": "c')
    faces = read_list(path)
    assert [entry.id for entry in faces.entries] == ["a", "b"]
    assert faces.surprises == (f"{path}:3: this last line is torn and dropped",)


def test_a_malformed_last_line_that_is_ended_is_an_error_and_not_torn(write):
    with pytest.raises(DataError, match=r"list.txt:2: not a line of JSON"):
        read_list(write('{"id": "a"}\n{"id": b}\n'))


def test_labels_in_a_file_of_their_own_are_joined_by_line(write):
    faces = write("test_0004_aligned\ntest_0006_aligned\n")
    labels = write("2 7\n0\n6\n", "labels.txt")
    assert [entry.expression for entry in read_list(faces, labels).entries] == [Expression.SURPRISE, Expression.NEUTRAL]


def test_labels_that_contradict_their_list_are_a_conflict(write):
    faces = write("3/test_0004_aligned.jpg\n")
    labels = write("1 7\n4\n", "labels.txt")
    read = read_list(faces, labels)
    assert only(read).expression is Expression.SADNESS
    assert read.surprises == (
        f"{labels}:2: conflict: test_0004_aligned is sadness here and happiness in {faces}:1; the labels file is taken",
    )


@pytest.mark.parametrize(
    ("faces", "labels", "message"),
    [
        ("test_1_aligned\n", "2 7\n0\n1\n", r"labels.txt: expected 1 labels, one for each face of .*list.txt, got 2"),
        ("test_1_aligned\n", "1 7\nsad\n", r"labels.txt:2: expected one digit, got 'sad'"),
        ("test_1_aligned\n", "1 7\n7\n", r"labels.txt:2: expected an expression from 0 to 6, got 7"),
        ("anna.jpg\n", "0\n", r"labels.txt:1: the labels of anna have no known order \(.*list.txt:1\)"),
    ],
)
def test_wrong_labels_are_an_error(write, faces, labels, message):
    with pytest.raises(DataError, match=message):
        read_list(write(faces), write(labels, "labels.txt"))


def test_faces_are_found_in_the_data_in_the_order_of_the_list(write):
    assert resolve(read_list(write("c\na\n")), ["a", "b", "c"]).tolist() == [2, 0]


def test_all_faces_that_the_data_lack_are_one_error(write):
    path = write("a\nx1\nb\nx2\nx3\nx4\n")
    with pytest.raises(DataError) as caught:
        resolve(read_list(path), ["a", "b"])
    assert str(caught.value) == (
        f"{path}: 4 of 6 faces are not in the data: x1 (line 2), x2 (line 4), x3 (line 5) and 1 more; "
        "ids of the data are such as a, b"
    )


def test_labels_of_a_list_are_compared_with_those_of_the_rule(write):
    votes = [(10, *[0] * 9), (0, 10, *[0] * 8), (5, 5, *[0] * 8), (10, *[0] * 9)]
    samples = [Sample(f"fer000000{i}", "test", Location(Path("f")), v) for i, v in enumerate(votes)]
    faces = read_list(write("0/fer0000000.jpg\n0/fer0000001.jpg\n0/fer0000002.jpg\nfer0000003\n"))
    positions = resolve(faces, [sample.id for sample in samples])
    assert compare(faces, positions, label(samples, "majority")) == Agreement(same=1, other=1, excluded=1)


# The published files

ROWS = {  # rows, faces
    "affectnet_occlusion.txt": (683, 683),
    "affectnet_pose_30.txt": (1949, 1944),
    "affectnet_pose_45.txt": (985, 983),
    "ferplus_occlusion.txt": (605, 605),
    "ferplus_pose_30.txt": (1170, 1170),
    "ferplus_pose_45.txt": (633, 633),
    "ferplus_test.txt": (3137, 3137),
    "ferplus_train.txt": (28236, 28236),
    "rafdb_occlusion_list.txt": (735, 734),
    "rafdb_pose_30.txt": (1247, 1247),
    "rafdb_pose_45.txt": (558, 558),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_published_list_has_its_known_rows_and_faces_each_with_a_label(real_data, name):
    faces = read_list(real_data / "ran_lists" / name)
    assert (faces.rows, len(faces.entries)) == ROWS[name]
    assert len(faces.surprises) == faces.rows - len(faces.entries)  # the repeated lines, and nothing else
    assert all(entry.expression is not None for entry in faces.entries)


def test_the_occlusion_codes_have_their_known_counts(real_data):
    ferplus = read_list(real_data / "ran_lists" / "ferplus_occlusion.txt")
    assert Counter(entry.occlusion_code for entry in ferplus.entries) == {0: 70, 1: 138, 2: 213, 3: 184}
    assert Counter(entry.occlusion for entry in ferplus.entries)[Occlusion.EYEWEAR] == 184
    rafdb = read_list(real_data / "ran_lists" / "rafdb_occlusion_list.txt")
    # 141 rows have code 2, and one of them is the repeated face.
    assert Counter(entry.occlusion_code for entry in rafdb.entries) == {1: 156, 2: 140, 3: 140, 4: 298}
    assert all(entry.occlusion is None for entry in rafdb.entries)


@pytest.mark.parametrize("degrees", [30, 45])
def test_rafdbs_label_files_agree_with_the_folders_of_its_lists(real_data, degrees, write):
    path = real_data / "ran_lists" / f"rafdb_pose_{degrees}.txt"
    alone = write(path.read_bytes(), path.name)
    joined = read_list(path, path.with_stem(f"{path.stem}_label"))
    assert joined == read_list(path) and joined.entries == read_list(alone).entries


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ferplus_occlusion", Agreement(592, 8, 5)),
        ("ferplus_pose_30", Agreement(1161, 6, 3)),
        ("ferplus_pose_45", Agreement(627, 3, 3)),
        ("ferplus_test", Agreement(3102, 19, 16)),
        ("ferplus_train", Agreement(28040, 100, 96)),
    ],
)
def test_the_ferplus_lists_agree_with_majority_as_far_as_known(real_data, real_samples, name, expected):
    faces = read_list(real_data / "ran_lists" / f"{name}.txt")
    positions = resolve(faces, [sample.id for sample in real_samples])
    assert compare(faces, positions, label(real_samples, "majority")) == expected


@pytest.fixture(scope="module")
def real_samples(real_data):
    rows, _ = read_votes(real_data / "fer2013new.csv")
    return list({row.id: row for row in rows if row is not None}.values())


def test_the_occlusion_and_pose_faces_are_all_of_the_test_split_and_the_45_among_the_30(real_data, real_samples):
    lists = {n: read_list(real_data / "ran_lists" / f"ferplus_{n}.txt") for n in ("occlusion", "pose_30", "pose_45")}
    ids = {name: {entry.id for entry in faces.entries} for name, faces in lists.items()}
    test = {sample.id for sample in real_samples if sample.split == "test"}
    assert ids["pose_45"] < ids["pose_30"] < test and ids["occlusion"] < test
