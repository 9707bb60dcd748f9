"""The check of a dataset: what it finds in a dataset that something is wrong with, and how it says so."""

import io
import json
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.sparse.csgraph import connected_components

from ranfer.data.check import check, print_report
from ranfer.data.check_page import to_html
from ranfer.data.copies import NEAR, join_near
from ranfer.data.drawn import write_ferplus
from ranfer.data.face_lists import read_list
from ranfer.data.ferplus import open_ferplus
from test_cli import run


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return write_ferplus(tmp_path_factory.mktemp("drawn") / "d", {"train": 16, "valid": 24}, seed=4)


@pytest.fixture
def ill(healthy, tmp_path):
    """Two copies within train (one with another majority), one in valid, a blank face, an odd size and a torn file."""
    folder = shutil.copytree(healthy.data, tmp_path / "ferplus")
    train, valid = folder / "FER2013Train", folder / "FER2013Valid"
    shutil.copy(train / "fer0000000.png", train / "fer0000008.png")
    shutil.copy(train / "fer0000000.png", train / "fer0000001.png")
    shutil.copy(train / "fer0000002.png", valid / "fer0000018.png")
    Image.new("L", (48, 48), 9).save(valid / "fer0000020.png")
    colours = np.random.default_rng(0).integers(0, 256, (64, 60, 3), dtype=np.uint8)
    Image.fromarray(colours).save(valid / "fer0000021.png")
    (valid / "fer0000022.png").write_bytes(b"torn")
    labels = (train / "label.csv").read_text().splitlines()
    for row, column in ((0, 0), (1, 1), (8, 0)):  # majorities: neutral, happiness, neutral
        votes = [10 if place == column else 0 for place in range(10)]
        labels[row] = f'fer{row:07d}.png,"(0, 0, 48, 48)",{",".join(map(str, votes))}'
    (train / "label.csv").write_text("\n".join(labels) + "\n")
    return open_ferplus(folder)


def printed(report):
    out = io.StringIO()
    print_report(report, Console(file=out, width=110))
    return out.getvalue()


def test_a_healthy_dataset_passes(healthy):
    seen = []
    report = check(open_ferplus(healthy.data), [read_list(healthy.occlusion)], progress=lambda *told: seen.append(told))
    assert not report.failed and not report.unreadable and not report.blank and not report.surprises
    assert seen == [(n, 40) for n in range(1, 41)]
    assert report.pictures == {"48x48 grey": 40}
    assert all(copies.groups == 0 for copies in report.copies)
    assert "every face can be read" in printed(report)


def test_counts_by_split_and_class_sum_to_the_faces(healthy):
    report = check(open_ferplus(healthy.data))
    train = report.splits["train"]
    assert train.faces == 16 and train.published_faces == 28_558 and train.published_majority == 25_057
    assert sum(train.expressions.values()) == train.majority
    assert train.majority + sum(train.excluded.values()) == 16


def test_everything_that_is_wrong_is_found(ill):
    report = check(ill)
    within, leaves, across = report.copies
    assert (within.groups, within.faces, within.conflicts) == (1, {"train": 3}, 1)
    assert within.examples == (("fer0000000", "fer0000001", "fer0000008"),)
    assert (leaves.groups, leaves.faces) == (0, {"valid": 0})
    assert (across.groups, across.faces) == (1, {"train": 1, "valid": 1})
    assert report.pictures == {"48x48 grey": 38, "60x64 colour": 1}
    assert len(report.blank) == 1 and report.blank[0].startswith("fer0000020 (")
    assert len(report.unreadable) == 1 and "fer0000022.png" in report.unreadable[0]
    assert report.failed


def test_copies_and_surprises_alone_are_no_failure(ill):
    readable = replace(
        ill, samples=tuple(s for s in ill.samples if s.id != "fer0000022"), surprises=("label.csv:7: odd",)
    )
    report = check(readable)
    assert report.copies[0].groups == 1 and report.surprises == ("label.csv:7: odd",) and not report.failed


def test_originals_are_the_other_faces_that_are_no_copy_of_a_training_face(ill, tmp_path):
    found = check(ill).originals
    assert set(found) == {s.id for s in ill.split("valid")} - {"fer0000018", "fer0000022"}  # a copy, and a torn one
    run("data", "check", f"ferplus:{ill.path}", "--originals", tmp_path / "list.txt", status=1)
    assert [entry.id for entry in read_list(tmp_path / "list.txt").entries] == list(found)


def test_a_list_with_faces_that_are_not_there_fails_with_their_lines(healthy, tmp_path):
    path = tmp_path / "some.txt"
    path.write_text("fer0000000\nfer7777777\nfer0000000\n")
    report = check(open_ferplus(healthy.data), [read_list(path)])
    (checked,) = report.lists
    assert (checked.rows, checked.faces, checked.absent) == (3, 2, ("fer7777777 (line 2)",))
    assert report.failed and len(report.surprises) == 1
    assert "some.txt: 1 of 2 faces, fer7777777 (line 2)" in printed(report)


def test_the_report_is_plain_json(ill, healthy):
    report = check(ill, [read_list(healthy.pose)])
    values = json.loads(json.dumps(report.to_dict()))
    assert values["failed"] is True
    assert values["splits"]["valid"]["faces"] == 24
    assert set(values["lists"][0]["majority"]) == {"same", "other", "excluded"}


def test_the_printed_report_shows_figures_beside_the_published_ones_and_names_what_is_wrong(ill):
    text = printed(check(ill))
    assert "16 (published 28,558)" in text
    assert "1 blank face " in text and "1 unreadable face\n" in text
    assert text.rstrip().endswith("failed")
    for name in ("within train", "train and valid", "fer0000000 = fer0000001 = fer0000008", "fer0000022.png"):
        assert name in text


def test_the_page_shows_faces_or_none_and_escapes_names(ill):
    odd = replace(ill, surprises=("label.csv:7: <b>odd</b>",))
    report = check(odd)
    page = to_html(report, odd)
    copied = ("fer0000000", "fer0000001", "fer0000008")
    assert all(f"<figcaption>{face}, train: " in page for face in copied)
    assert page.count("data:image/png;base64,") > 20 and "&lt;b&gt;odd" in page and "<b>odd" not in page
    assert "16 (published 28,558)" in page and "Some faces cannot be read" in page
    bare = to_html(report, odd, faces=False)
    assert "<img" not in bare and "1 unreadable face" in bare


def test_near_copies_are_found_beside_exact_ones_and_other_faces_are_not(healthy, tmp_path):
    folder = shutil.copytree(healthy.data, tmp_path / "ferplus")
    train, valid = folder / "FER2013Train", folder / "FER2013Valid"
    shutil.copy(train / "fer0000003.png", train / "fer0000004.png")
    face = np.asarray(Image.open(train / "fer0000003.png")).astype(int)
    Image.fromarray((face * 0.98 + 2).clip(0, 255).astype(np.uint8)).save(valid / "fer0000019.png")
    report = check(open_ferplus(folder))
    within, _, across = report.near
    assert (report.copies[0].groups, report.copies[2].groups) == (1, 0)
    assert across.groups == 1 and across.examples == (("fer0000003", "fer0000004", "fer0000019"),)
    assert within.groups == 1


def test_near_hashes_are_joined_as_by_brute_force():
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 256, (60, 32), dtype=np.uint8)
    for row in range(0, 60, 3):
        bits = np.unpackbits(hashes[row])
        bits[generator.choice(256, row // 2, replace=False)] ^= 1
        hashes[row + 1] = np.packbits(bits)
    distance = np.unpackbits(hashes[:, None] ^ hashes[None], axis=2).sum(axis=2)
    _, expected = connected_components(distance <= NEAR)
    found = join_near(hashes)
    assert 40 < len(set(expected.tolist())) < 55
    assert np.array_equal(found[:, None] == found, expected[:, None] == expected)


def test_many_hashes_that_are_alike_are_joined_without_a_list_of_their_pairs():
    generator = np.random.default_rng(0)
    bits = np.zeros((2000, 256), dtype=np.uint8)
    bits[np.arange(2000), generator.integers(0, 256, 2000)] = 1
    bits[1000:, 128:] ^= 1  # two crowds, far apart
    tracemalloc.start()
    found = join_near(np.packbits(bits, axis=1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(found[:1000].tolist())) == len(set(found[1000:].tolist())) == 1 and found[0] != found[-1]
    assert peak < 20e6  # all pairs within the crowds took 300 MB


def test_without_the_library_near_copies_are_said_not_to_be_looked_for(healthy, monkeypatch):
    monkeypatch.setattr("ranfer.data.copies.find_spec", lambda name: None)
    dataset = open_ferplus(healthy.data)
    report = check(dataset)
    assert report.near is None and "ranfer[check]" in printed(report) and "ranfer[check]" in to_html(report, dataset)


def test_square_brackets_in_a_path_are_printed_as_they_are(healthy, tmp_path):
    folder = shutil.copytree(healthy.data, tmp_path / "faces [old]")
    assert "faces [old]" in printed(check(open_ferplus(folder)))


def test_many_lines_are_cut_in_print_and_whole_in_the_dictionary(healthy):
    dataset = replace(open_ferplus(healthy.data), surprises=tuple(f"surprise {i}" for i in range(40)))
    report = check(dataset)
    assert "and 28 more" in printed(report) and len(report.to_dict()["surprises"]) == 40
