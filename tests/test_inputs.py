"""What a user names becomes a list of files, in order and each once."""

import os
import sys
from pathlib import Path

import pytest

from ranfer.inputs import list_inputs


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        *("photos/b.jpg", "photos/a.PNG", "photos/notes.txt", "photos/.hidden.jpg", "photos/.thumbs/t.jpg"),
        *("photos/trip/c.webp", "photos/trip/d.tiff", "empty/readme.md", "single.jpg", "odd.picture"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def listed(*inputs, stdin=None):
    found = list_inputs(inputs, None if stdin is None else lambda: stdin)
    return [path.as_posix() for path in found.files], found.problems


def test_a_closed_standard_input_is_told():
    assert listed("-") == ([], ["-: there is no standard input"])


def test_a_folder_gives_its_pictures_in_order_without_hidden_and_other_files(tree):
    names = ["photos/a.PNG", "photos/b.jpg", "photos/trip/c.webp", "photos/trip/d.tiff"]
    assert listed("photos") == (names, [])
    assert listed(str(tree / "photos")) == ([(tree / name).as_posix() for name in names], [])


def test_a_named_file_is_taken_whatever_its_name_and_whether_it_exists(tree):
    assert listed("odd.picture", "missing.jpg") == (["odd.picture", "missing.jpg"], [])


def test_an_address_is_told_whole(tree):
    for name in ("https://example.com/a.jpg", "https://example.com/a.jpg?size=2"):
        assert listed(name, "single.jpg") == (["single.jpg"], [f"{name}: an address; download it first"])


def test_patterns_are_expanded_where_the_shell_did_not(tree):
    inside = ["photos/a.PNG", "photos/b.jpg", "photos/trip/c.webp", "photos/trip/d.tiff"]
    assert listed("photos/*") == (inside, [])
    assert listed("photos/**/*.webp") == (["photos/trip/c.webp"], [])
    assert listed(f"{tree}/*.jpg") == ([(tree / "single.jpg").as_posix()], [])


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tree):
    (tree / "photo[1].jpg").write_bytes(b"")
    assert listed("photo[1].jpg") == (["photo[1].jpg"], [])


def test_a_file_that_is_reached_twice_counts_once_under_its_first_name(tree):
    (tree / "link.jpg").symlink_to("single.jpg")
    assert listed("single.jpg", "link.jpg", "./single.jpg", str(tree / "single.jpg")) == (["single.jpg"], [])
    assert listed("photos/trip", "photos")[0][:3] == ["photos/trip/c.webp", "photos/trip/d.tiff", "photos/a.PNG"]


def test_a_list_from_standard_input_stands_where_its_dash_stands(tree):
    content = b"photos/b.jpg\r\n\nphotos/trip\n"
    found = ["odd.picture", "photos/b.jpg", "photos/trip/c.webp", "photos/trip/d.tiff", "single.jpg"]
    assert listed("odd.picture", "-", "single.jpg", stdin=content) == (found, [])
    assert listed("-", stdin=b"a\nb.jpg\0 c .jpg\0") == (["a\nb.jpg", " c .jpg"], [])


def test_a_list_may_begin_with_a_mark(tree):
    assert list_inputs(["-"], lambda: b"\xef\xbb\xbfsingle.jpg\r\n").files == [Path("single.jpg")]


def test_what_gives_no_picture_is_one_line_and_the_rest_goes_on(tree):
    pictures, problems = listed("empty", "none/*.jpg", "", "single.jpg", "-", stdin=b"x.jpg\nempty\n")
    assert pictures == ["single.jpg", "x.jpg"]
    none_of = (
        "none of .avi, .avif, .bmp, .gif, .jfif, .jp2, .jpe, .jpeg, .jpg, .m4v, .mkv, .mov, .mp4, .mpeg, .mpg, .ogv, "
        ".png, .tif, .tiff, .webm, .webp, .wmv"
    )
    assert problems == [
        f"empty: no pictures or videos in this folder ({none_of})",
        "none/*.jpg: no picture or video matches this pattern",
        "an input is an empty name",
        f"standard input:2: empty: no pictures or videos in this folder ({none_of})",
    ]


def test_a_list_that_names_nothing_is_told(tree):
    assert listed("-", stdin=b"\n\n") == ([], ["-: standard input names nothing"])


def test_what_a_run_drew_is_taken_only_where_it_is_named(tree):
    drawings = [Path("photos/contact_sheet.jpg"), Path("photos/drawn/00001-b.jpg")]
    Path("photos/drawn").mkdir()
    for path in drawings:
        path.write_bytes(b"")
    names = [path.as_posix() for path in drawings]
    own = ["photos/a.PNG", "photos/b.jpg", "photos/trip/c.webp", "photos/trip/d.tiff"]
    assert sorted(listed("photos")[0]) == sorted(own + names)  # they may be anybody's
    Path("photos/drawn/.ranfer").touch()
    assert listed("photos")[0] == own
    assert listed("photos/**/*.jpg", "photos/drawn/*")[0] == ["photos/b.jpg"]
    assert listed(*names)[0] == names


@pytest.mark.skipif(sys.platform != "linux", reason="such names need a file system of bytes")
def test_a_name_that_is_no_text_is_listed(tree):
    path = os.fsencode(tree) + b"/photos/\xff.jpg"
    Path(os.fsdecode(path)).write_bytes(b"")
    found = list_inputs(["-"], lambda: path + b"\n")
    assert [os.fsencode(one) for one in found.files] == [path]


def test_a_pipe_in_a_folder_is_passed_over_and_a_broken_link_is_told_when_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    assert listed(str(tmp_path)) == ([(tmp_path / "b.jpg").as_posix()], [])


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_told(tree):
    (tree / "photos" / "trip").chmod(0)
    try:
        pictures, problems = listed("photos")
    finally:
        (tree / "photos" / "trip").chmod(0o755)
    assert pictures == ["photos/a.PNG", "photos/b.jpg"]
    assert problems == ["photos/trip: Permission denied"]


def test_a_name_that_cannot_be_reached_is_told_when_it_is_read_and_the_rest_goes_on(tree):
    long = "a" * 300 + ".jpg"
    found = list_inputs([long, "*" + "b" * 300, "single.jpg"])
    assert found.files == [Path(long), Path("single.jpg")]
    assert len(found.problems) == 1
