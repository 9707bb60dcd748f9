"""FERPlus in its three forms, the errors that name file and line, and the real faces."""

import csv
import shutil
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ranfer.data import open_dataset
from ranfer.data.check import check
from ranfer.data.dataset import data_hash, stack_faces
from ranfer.data.drawn import write_ferplus
from ranfer.data.ferplus import open_ferplus
from ranfer.data.labels import label
from ranfer.errors import ConfigError, DataError, ImageError
from test_cli import run

COUNTS = {"train": 6, "valid": 4, "test": 3}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The three forms of one small dataset, by name; tests copy what they change."""
    root = tmp_path_factory.mktemp("drawn")
    return {form: write_ferplus(root / form, COUNTS, seed=7, form=form).data for form in ("folder", "zip", "csv")}


@pytest.fixture
def folder(drawn, tmp_path):
    return shutil.copytree(drawn["folder"], tmp_path / "own" / "ferplus")


@pytest.fixture
def tables(drawn, tmp_path):
    return shutil.copytree(drawn["csv"], tmp_path / "own" / "tables")


def edit(path, change):
    """Rewrites the lines of a text file."""
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def contents(dataset):
    return [(s.id, s.split, s.votes, dataset.image(s).tobytes()) for s in dataset.samples]


def zipped(folder, path, top=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{top}{file.relative_to(folder)}")
    return path


# The forms


def test_all_three_forms_give_the_same_faces(drawn):
    folder = contents(open_ferplus(drawn["folder"]))
    assert Counter(split for _, split, _, _ in folder) == COUNTS
    assert contents(open_ferplus(drawn["zip"])) == folder
    assert contents(open_ferplus(drawn["csv"])) == folder
    assert contents(open_ferplus(drawn["csv"] / "fer2013.csv")) == folder


def test_a_zip_may_hold_its_folders_below_another_one_and_a_mac_may_have_packed_it(drawn, folder, tmp_path):
    path = zipped(folder, tmp_path / "below.zip", top="some/where/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/some/where/FER2013Train/._fer0000000.png", b"junk")
    below = open_ferplus(path)
    assert contents(below) == contents(open_ferplus(drawn["folder"]))
    assert not below.surprises


def test_some_splits_may_be_absent_and_asking_for_one_names_those_there_are(folder):
    shutil.rmtree(folder / "FER2013Test")
    dataset = open_ferplus(folder)
    assert dataset.splits == ("train", "valid")
    assert len(dataset.split("valid")) == 4
    with pytest.raises(DataError, match="no split is called 'test'; there are train, valid"):
        dataset.split("test")


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, pixels, Usage", "emotion, Usage, pixels"])
def test_kaggles_headers_are_all_understood(drawn, tables, header):
    with (tables / "fer2013.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name.strip() for name in header.split(",")]
    lines = [header, *(",".join(row[name] for name in names) for row in rows)]
    (tables / "fer2013.csv").write_bytes("\r\n".join([*lines, ""]).encode())
    assert contents(open_ferplus(tables)) == contents(open_ferplus(drawn["csv"]))


def test_rows_without_an_image_name_are_faces_taken_out(tables):
    edit(tables / "fer2013new.csv", lambda lines: [lines[0], "Training,,0,0,0,0,0,0,0,0,0,10", *lines[2:]])
    ids = [sample.id for sample in open_ferplus(tables).samples]
    assert "fer0000000" not in ids and len(ids) == sum(COUNTS.values()) - 1


def test_the_last_of_repeated_rows_wins_in_the_folder_and_is_a_surprise(folder):
    labels = folder / "FER2013Train" / "label.csv"
    edit(labels, lambda lines: [*lines, 'fer0000001.png,"(0, 0, 48, 48)",0,0,0,0,0,0,0,9,0,1'])
    dataset = open_ferplus(folder)
    assert len(dataset.split("train")) == 6
    assert dataset.samples[1].votes == (0, 0, 0, 0, 0, 0, 0, 9, 0, 1)
    (surprise,) = dataset.surprises
    assert surprise == f"{labels}:7: fer0000001 again, with other votes; the row {labels}:2 is dropped"


def test_the_last_of_repeated_rows_wins_with_its_pixels_in_the_tables(tables):
    edit(tables / "fer2013new.csv", lambda lines: [*lines, "Training,fer0000001.png,0,9,0,0,0,0,0,0,0,1"])
    edit(tables / "fer2013.csv", lambda lines: [*lines, f"0,{' '.join(['77'] * 2304)},Training"])
    dataset = open_ferplus(tables)
    assert dataset.samples[1].votes == (0, 9, 0, 0, 0, 0, 0, 0, 0, 1)
    assert (dataset.image(dataset.samples[1]) == 77).all()
    assert "fer2013new.csv:15: fer0000001 again" in dataset.surprises[0]


def test_votes_of_fer2013new_beside_or_in_a_layout_are_taken_in_every_form(drawn, folder, tmp_path, monkeypatch):
    own = shutil.copy(drawn["csv"] / "fer2013new.csv", tmp_path / "new.csv")
    edit(own, lambda lines: [lines[0], "Training,fer0000000.png,0,0,0,0,0,10,0,0,0,0", *lines[2:-1]])
    plain = zipped(folder, tmp_path / "own" / "faces.zip")
    places = [
        (folder / "fer2013new.csv", folder),
        (folder.parent / "fer2013new.csv", folder),
        (folder.parent / "fer2013new.csv", plain),
    ]
    for place, opened in places:
        shutil.copy(own, place)
        dataset = open_ferplus(opened)
        place.unlink()
        assert dataset.samples[0].votes == (0, 0, 0, 0, 0, 10, 0, 0, 0, 0)
        differ, lack = dataset.surprises
        assert "its votes are taken; FER2013Train/label.csv has others for 1 of 6 faces (fer0000000)" in differ
        assert "1 of 3 faces of FER2013Test/label.csv have no row here and keep the votes there" in lack
    shutil.copy(own, folder.parent / "fer2013new.csv")
    monkeypatch.chdir(folder)
    assert open_ferplus(Path()).samples[0].votes == (0, 0, 0, 0, 0, 10, 0, 0, 0, 0)
    (folder.parent / "fer2013new.csv").unlink()
    shutil.copy(own, folder)
    (folder / "new.csv").rename(folder / "fer2013new.csv")
    inside = open_ferplus(zipped(folder, tmp_path / "inside.zip"))
    assert inside.samples[0].votes == (0, 0, 0, 0, 0, 10, 0, 0, 0, 0)


# What is wrong, and where


def test_all_missing_images_are_one_error_at_opening(folder):
    for number in (0, 2, 3, 5):
        (folder / "FER2013Train" / f"fer000000{number}.png").unlink()
    with pytest.raises(DataError) as caught:
        open_ferplus(folder)
    labels = folder / "FER2013Train" / "label.csv"
    assert str(caught.value) == (
        f"{folder}: 4 images that {labels} lists are missing: FER2013Train/fer0000000.png ({labels}:1), "
        f"FER2013Train/fer0000002.png ({labels}:3), FER2013Train/fer0000003.png ({labels}:4) and 1 more"
    )


def test_an_image_without_a_row_is_a_surprise(folder):
    shutil.copy(folder / "FER2013Train" / "fer0000000.png", folder / "FER2013Train" / "stray.png")
    dataset = open_ferplus(folder)
    assert len(dataset.samples) == 13
    (surprise,) = dataset.surprises
    assert surprise.startswith(str(folder / "FER2013Train" / "stray.png: no row of "))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            'fer0000001.png,"(0, 0, 48, 48)",1,2,3',
            r"label.csv:2: expected 12 columns \(image name, box, ten votes\), got 5",
        ),
        (
            'fer0000001.png,"(0, 0, 48, 48)",1,2,3,0,0,0,0,0,0,-1',
            r"label.csv:2: expected votes from 0 to .*, got .*,-1$",
        ),
        (
            'fer0000001.png,"(0, 0, 48, 48)",1,2,3,0,0,0,0,0,0,' + "9" * 20,
            r"label.csv:2: expected votes from 0 to .*99$",
        ),
        ('fer0000001.png,"(0, 0, 48, 48)",1,2,3,0,0,0,0,0,0,.5', r"label.csv:2: expected ten whole numbers of votes"),
    ],
)
def test_a_malformed_row_is_an_error_with_its_line(folder, row, message):
    edit(folder / "FER2013Train" / "label.csv", lambda lines: [lines[0], row, *lines[2:]])
    with pytest.raises(DataError, match=message):
        open_ferplus(folder)


def test_a_face_without_ten_votes_is_a_surprise_and_one_without_any_has_no_label(folder):
    row = 'fer0000000.png,"(0, 0, 48, 48)",0,0,0,0,0,0,0,0,0,0'
    edit(folder / "FER2013Train" / "label.csv", lambda lines: [row, *lines[1:]])
    dataset = open_ferplus(folder)
    assert dataset.surprises == (f"{folder}/FER2013Train/label.csv:1: 0 votes, where faces have ten",)
    assert not label(dataset.samples, "distribution").kept[0]


def test_a_face_in_two_splits_is_an_error_with_both_lines(folder):
    shutil.copy(folder / "FER2013Train" / "fer0000000.png", folder / "FER2013Valid")
    row = 'fer0000000.png,"(0, 0, 48, 48)",10,0,0,0,0,0,0,0,0,0'
    edit(folder / "FER2013Valid" / "label.csv", lambda lines: [*lines, row])
    with pytest.raises(
        DataError, match=r"Valid/label.csv:5: fer0000000 is in valid, but in train by .*Train/label.csv:1"
    ):
        open_ferplus(folder)


def test_a_missing_label_file_is_named_and_the_layouts_shown(folder):
    (folder / "FER2013Valid" / "label.csv").unlink()
    with pytest.raises(DataError, match=r"FER2013Valid/label.csv is missing; expected FERPlus in one of three forms"):
        open_ferplus(folder)


def test_a_wrong_path_shows_the_three_layouts(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    for path in (tmp_path, tmp_path / "gone", tmp_path / "notes.txt", tmp_path / "empty.zip"):
        with pytest.raises(
            DataError, match=r"(?s)FER2013Train/.*label\.csv.*a zip.*fer2013\.csv and fer2013new\.csv"
        ) as caught:
            open_ferplus(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_truncated_zip_is_one_error(drawn, tmp_path):
    whole = drawn["zip"].read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half.zip: neither a readable zip"):
        open_ferplus(tmp_path / "half.zip")


def test_tables_that_do_not_agree_row_by_row_are_refused(tables):
    edit(tables / "fer2013new.csv", lambda lines: lines[:-1])
    with pytest.raises(DataError, match=r"fer2013.csv: 13 faces, but 12 rows in .*fer2013new.csv"):
        open_ferplus(tables)


def test_a_usage_that_differs_between_the_tables_is_refused_with_both_lines(tables):
    edit(tables / "fer2013new.csv", lambda lines: [*lines[:3], lines[3].replace("Training", "PrivateTest"), *lines[4:]])
    with pytest.raises(DataError, match=r"fer2013.csv:4: usage 'Training', but .*fer2013new.csv:4 says test"):
        open_ferplus(tables)


@pytest.mark.parametrize(
    ("file", "header", "message"),
    [
        ("fer2013.csv", "emotion,Usage", r"fer2013.csv:1: expected the header 'emotion,pixels,Usage'"),
        (
            "fer2013new.csv",
            "Usage,Image name,happiness",
            r"fer2013new.csv:1: expected the header 'Usage,Image name,neutral",
        ),
    ],
)
def test_another_header_is_refused(tables, file, header, message):
    edit(tables / file, lambda lines: [header, *lines[1:]])
    with pytest.raises(DataError, match=message):
        open_ferplus(tables)


def test_a_missing_table_is_named(tables):
    (tables / "fer2013new.csv").unlink()
    with pytest.raises(DataError, match=r"fer2013new.csv: cannot be read \(No such file"):
        open_ferplus(tables)


@pytest.mark.parametrize("pixels", ["1 2 3", " ".join(["256"] * 2304), " ".join(["x"] * 2304)])
def test_wrong_pixels_are_an_image_error_with_their_line(tables, pixels):
    edit(tables / "fer2013.csv", lambda lines: [lines[0], f"0,{pixels},Training", *lines[2:]])
    dataset = open_ferplus(tables)
    with pytest.raises(ImageError, match=r"fer2013.csv:2: expected 48x48 numbers from 0 to 255"):
        dataset.image(dataset.samples[0])


# Formats and faces in memory


@pytest.mark.parametrize("text", ["faces.zip", "ferplus:", "fer:faces.zip"])
def test_data_must_be_named_format_and_path(text):
    with pytest.raises(ConfigError, match=r"FORMAT:PATH, as in ferplus:faces.zip; formats: ferplus"):
        open_dataset(text)


def test_faces_in_memory_are_those_on_disk(drawn):
    dataset = open_dataset(f"ferplus:{drawn['zip']}")
    samples = dataset.split("valid")
    seen = []
    grey = stack_faces(dataset, samples, progress=lambda *told: seen.append(told))
    colour = stack_faces(dataset, samples, channels=3)
    assert grey.shape == (4, 48, 48, 1) and colour.shape == (4, 48, 48, 3)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for sample, face in zip(samples, colour, strict=True):
        assert np.array_equal(face, dataset.image(sample))
    assert np.array_equal(grey[..., 0], colour[..., 1])  # these faces are grey


def test_grey_is_the_luma_of_colour(folder):
    colours = np.random.default_rng(0).integers(0, 256, size=(48, 48, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "FER2013Train" / "fer0000000.png")
    dataset = open_ferplus(folder)
    grey = stack_faces(dataset, dataset.samples[:1])[0, ..., 0]
    assert np.abs(grey - colours @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_resizing_averages_what_it_shrinks_over(folder):
    stripes = np.zeros((48, 48), dtype=np.uint8)
    stripes[:, ::2] = 200
    Image.fromarray(stripes).save(folder / "FER2013Train" / "fer0000000.png")
    dataset = open_ferplus(folder)
    small = stack_faces(dataset, dataset.samples[:1], size=12)
    assert small.shape == (1, 12, 12, 1)
    assert np.abs(small[0, :, 1:-1, 0].astype(int) - 100).max() <= 1  # without antialiasing: 0 or 200


def test_all_unreadable_faces_are_one_error(folder):
    for number in range(5):
        (folder / "FER2013Train" / f"fer000000{number}.png").write_bytes(b"torn")
    dataset = open_ferplus(folder)
    with pytest.raises(DataError, match=r"(?s)5 of 13 faces cannot be read: .*fer0000000.png: .* and 2 more"):
        stack_faces(dataset, dataset.samples)


def test_a_dangling_link_is_an_unreadable_face(folder):
    face = folder / "FER2013Train" / "fer0000001.png"
    face.unlink()
    face.symlink_to(folder / "gone.png")
    report = check(open_ferplus(folder))
    assert report.failed and report.unreadable == (f"{face}: no such file",)


def test_outputs_are_refused_that_would_take_the_place_of_what_was_read(folder, tables):
    shutil.copy(tables / "fer2013new.csv", folder)
    inside = {folder: ["fer2013new.csv", "FER2013Train/label.csv", "FER2013Train/fer0000001.png"],
              tables: ["fer2013new.csv", "fer2013.csv"]}  # fmt: skip
    for root, names in inside.items():
        for file in (root / name for name in names):
            before = file.read_bytes()
            found = run("data", "check", f"ferplus:{root}", "--json", file, status=2)
            assert f"{file}: is read here" in found.stderr and file.read_bytes() == before
    (folder / "found.json").write_text("of an earlier run")
    run("data", "check", f"ferplus:{folder}", "--json", folder / "found.json")


def test_faces_of_several_sizes_need_a_size(folder):
    Image.new("L", (40, 30)).save(folder / "FER2013Train" / "fer0000002.png")
    dataset = open_ferplus(folder)
    with pytest.raises(DataError, match=r"expected square faces of one size.*got 12 of 48x48, 1 of 40x30"):
        stack_faces(dataset, dataset.samples)
    assert stack_faces(dataset, dataset.samples, size=48).shape == (13, 48, 48, 1)


def test_a_torn_member_of_a_zip_is_an_image_error_that_names_it(drawn, tmp_path):
    data = bytearray(drawn["zip"].read_bytes())
    with zipfile.ZipFile(drawn["zip"]) as archive:
        start = archive.getinfo("FER2013Train/fer0000003.png").header_offset
    data[start + 120 : start + 140] = bytes(20)
    (tmp_path / "torn.zip").write_bytes(data)
    dataset = open_ferplus(tmp_path / "torn.zip")
    with pytest.raises(ImageError, match=r"torn.zip:FER2013Train/fer0000003.png: cannot be unpacked \(Bad CRC"):
        dataset.image(dataset.samples[3])


def test_the_data_hash_sees_ids_votes_pixels_and_order(drawn):
    dataset = open_ferplus(drawn["folder"])
    samples = dataset.split("train")
    faces = stack_faces(dataset, samples)
    known = data_hash(samples, faces)
    assert len(known) == 64 and known == data_hash(samples, faces.copy())
    assert known == data_hash(open_ferplus(drawn["csv"]).split("train"), faces)  # the form does not matter
    darker = faces.copy()
    darker[0, 0, 0] ^= 1
    others = [
        data_hash(samples, darker),
        data_hash(samples[::-1], faces[::-1]),
        data_hash(dataset.split("valid"), faces[:4]),
        data_hash(samples[:5], faces[:5]),
    ]
    assert len({known, *others}) == 5


# The real faces


@pytest.fixture(scope="module")
def real(real_data):
    return open_dataset(f"ferplus:{real_data / 'ferplus_train_valid.zip'}")


def test_the_real_zip_has_the_published_faces_and_majorities(real):
    for split, faces, majority in (("train", 28_558, 25_057), ("valid", 3_579, 3_199)):
        samples = real.split(split)
        assert (len(samples), label(samples, "majority").kept.sum()) == (faces, majority) == real.published[split][:2]


def test_the_real_label_files_alone_keep_what_the_published_split_lists_hold(real_data, tmp_path):
    (tmp_path / "alone.zip").symlink_to(real_data / "ferplus_train_valid.zip")
    dataset = open_ferplus(tmp_path / "alone.zip")  # no fer2013new.csv beside it
    kept = [int(label(dataset.split(split), "majority").kept.sum()) for split in dataset.splits]
    assert kept == [25_045, 3_191] and sum(kept) == 28_236


def test_real_faces_in_tables_are_those_of_the_zip(real, real_data, tmp_path):
    """fer2013.csv made from some validation faces, with the rows of the real fer2013new.csv."""
    with (real_data / "fer2013new.csv").open() as file:
        header, *rows = csv.reader(file)
    samples = {f"{sample.id}.png": sample for sample in real.split("valid")[:200]}
    rows = [row for row in rows if row[1] in samples]
    pixels = [" ".join(map(str, real.image(samples[row[1]])[..., 0].ravel())) for row in rows]
    for name, lines in {
        "fer2013new.csv": [header, *rows],
        "fer2013.csv": [["emotion", "pixels", "Usage"], *([0, p, row[0]] for p, row in zip(pixels, rows, strict=True))],
    }.items():
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    tables = open_ferplus(tmp_path)
    assert [(s.id, s.split, s.votes) for s in tables.samples] == [(s.id, s.split, s.votes) for s in samples.values()]
    assert np.array_equal(stack_faces(tables, tables.samples), stack_faces(real, list(samples.values())))


def test_the_oddities_of_the_real_files_are_told_with_file_and_line(real):
    told = "\n".join(real.surprises)
    for line, face, difference, first in (
        (6970, "fer0006953", "the same", 5276),
        (11819, "fer0011785", "the same", 5350),
        (15837, "fer0008403", "the same", 8425),
        (34336, "fer0033120", "other", 33202),
    ):
        assert f"fer2013new.csv:{line}: {face} again, with {difference} votes; the row " in told
        assert f"fer2013new.csv:{first} is dropped" in told
    assert "fer2013new.csv:10437: 9 votes" in told and "FER2013Train/label.csv:10368: 9 votes" in told
    assert "FER2013Train/label.csv has others for 1073 of 28558 faces" in told
    assert "FER2013Valid/label.csv has others for 246 of 3579 faces" in told
    assert len(real.surprises) == 8


def test_copies_among_the_real_faces_are_found(real):
    ids = {"fer0000030", "fer0019166", "fer0000080", "fer0029468", *(f"fer003147{i}" for i in range(10))}
    report = check(replace(real, samples=tuple(sample for sample in real.samples if sample.id in ids)))
    assert [(copies.faces, copies.conflicts) for copies in report.copies] == [
        ({"train": 2}, 0),
        ({"valid": 0}, 0),
        ({"train": 1, "valid": 1}, 0),
    ]
    assert report.copies[0].examples == (("fer0000030", "fer0019166"),)
    assert not report.failed and set(report.pictures) == {"48x48 grey"}
