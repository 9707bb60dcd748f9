"""Which faces the rules take, and subsets as files: what is written is what is read again."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from layouts import write_folder
from ranfer.cli import app
from ranfer.data import open_dataset
from ranfer.data.attributes import from_line, merge_answers, read_attributes, to_line, write_attributes
from ranfer.data.dataset import Dataset
from ranfer.data.drawn import write_ferplus
from ranfer.data.exchange import FORMATS, export_subsets, open_source
from ranfer.data.face_lists import FERPLUS_OCCLUSION, read_list, read_subset
from ranfer.data.labelstudio import read_labelstudio
from ranfer.data.subset_files import write_list
from ranfer.data.subsets import LabelledFace, Subset, rules
from ranfer.errors import ConfigError, DataError
from ranfer.vocab import ESTIMATED, Attributes, Expression, Location, Occlusion, Pose, Sample

UPPER, LOWER, SIDE, EYEWEAR = ESTIMATED
HASH = "83dac9d7eec7fb0bfef79b4d35ddc69a6f7fb458d3bffc4e78f33ad9"


def covered(other=0.0, **kinds):
    return Attributes(dict.fromkeys(ESTIMATED, other) | {Occlusion(kind): p for kind, p in kinds.items()})


def turned(yaw=0.0, pitch=0.0, roll=0.0):
    return Attributes({}, Pose(yaw, pitch, roll))


@pytest.mark.parametrize(
    ("face", "fulfilled"),
    [
        (turned(29.9), ""),
        (turned(30.0), ""),
        (turned(30.1), "pose_30"),
        (turned(-30.1), "pose_30"),
        (turned(pitch=-30.1), "pose_30"),
        (turned(roll=90.0), ""),
        (turned(45.0, 10.0), "pose_30"),
        (turned(10.0, 45.1), "pose_30 pose_45"),
        (Attributes({}, turned=0), ""),
        (Attributes({}, turned=30), "pose_30"),
        (Attributes({}, turned=45), "pose_30 pose_45"),
        (Attributes({}, Pose(0.0, 0.0, 0.0), turned=45), ""),  # angles say more
    ],
)
def test_the_pose_rules(face, fulfilled):
    assert [rule.name for rule in rules() if rule.holds(face)] == fulfilled.split()
    assert [rule.holds(face) for rule in rules()][2:] == [None] * 6  # of occlusion nothing is told


@pytest.mark.parametrize(
    ("face", "thresholds", "fulfilled"),
    [
        (covered(), {}, "none"),
        (covered(upper=0.49), {}, "none"),
        (covered(upper=0.5), {}, "upper any"),
        (covered(lower=0.3, side=0.3), {}, "any"),  # 1 - 0.7 * 0.7 = 0.51
        (covered(eyewear=0.7), {"eyewear": 0.8}, "any"),
        (covered(eyewear=0.1), {"any": 0.1}, "any"),  # 1 - (1 - 0.1) is less than 0.1
        (covered(eyewear=0.7), {"any": 0.71}, "eyewear none"),
        (replace(covered(upper=1 / 3, eyewear=1 / 3), uncovered=2 / 3), {}, "none"),
        (Attributes({UPPER: 1.0}), {}, "upper any"),  # whatever the others are
        (Attributes({UPPER: 0.9}), {}, "upper"),
    ],
)
def test_the_rules_of_occlusion(face, thresholds, fulfilled):
    names = [f"occlusion_{name}" for name in fulfilled.split()]
    assert [rule.name for rule in rules(thresholds) if rule.holds(face)] == names


def test_what_is_untold_fulfils_no_rule_and_fails_none():
    answers = {rule.name: rule.holds(Attributes({UPPER: 0.9})) for rule in rules()}
    assert [name for name, answer in answers.items() if answer is not None] == ["occlusion_upper"]


@pytest.mark.parametrize("thresholds", [{"upper": 0.0}, {"upper": 1.01}, {"beard": 0.5}])
def test_thresholds_that_make_no_sense_are_refused(thresholds):
    with pytest.raises(ConfigError, match="threshold"):
        rules(thresholds)


# What people said


def test_the_share_of_people_who_said_none_is_kept_and_not_reckoned_from_the_kinds(tmp_path):
    said = [{"occlusion": set()}, {"occlusion": set()}, {"occlusion": {UPPER, EYEWEAR}}]
    merged = merge_answers(said, ["anna", "ben", "cleo"], None)
    assert merged.none == pytest.approx(2 / 3) and merged.occlusion[UPPER] == pytest.approx(1 / 3)
    write_attributes(tmp_path / "a.jsonl", {"a": merged}, {})
    assert read_attributes(tmp_path / "a.jsonl").records["a"].none == pytest.approx(2 / 3, abs=1e-6)
    estimate = covered(upper=1 / 3, eyewear=1 / 3)
    assert from_line(to_line("a", estimate), "here").none == pytest.approx(4 / 9, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotators": [1]}, r"expected annotators to be a list of names, got \[1\]"),
        ({"annotators": ["anna"], "occlusion": {"none": 2}}, "expected none to be a number from 0 to 1, got 2"),
        ({"yaw": 30}, "expected pitch to be a number from -180 to 180, got None"),
        ({"turned": 31}, "expected turned to be one of 0, 30, 45, got 31"),
    ],
)
def test_a_malformed_line_of_attributes_is_an_error_with_its_line(tmp_path, change, message):
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a"} | change) + "\n")
    with pytest.raises(DataError, match=rf"a.jsonl:1: {message}"):
        read_attributes(tmp_path / "a.jsonl")


def test_degrees_that_are_written_with_a_point_are_whole_numbers():
    assert repr(from_line({"turned": 30.0}, "here").turned) == "30"


def test_of_an_export_of_label_studio_relations_are_left_alone_and_lone_angles_are_told(tmp_path):
    def of(name, kind, value):
        return {"from_name": name, "to_name": "image", "type": kind, "value": {kind: value}}

    results = [of("occlusion", "choices", ["upper"]), {"type": "relation", "from_id": "a", "to_id": "b"}]
    others = [of("occlusion", "choices", ["none"]), of("yaw", "number", 60), {"type": "rectangle", "from_name": "box"}]
    annotations = [{"result": each, "completed_by": n} for n, each in enumerate((results, others))]
    (tmp_path / "a.json").write_text(json.dumps([{"data": {"id": "a"}, "annotations": annotations}]))
    found = read_labelstudio(tmp_path / "a.json")
    assert found.records["a"].occlusion[UPPER] == found.records["a"].none == 0.5 and found.records["a"].pose is None
    assert found.surprises == (f"{tmp_path / 'a.json'}: task 1: yaw alone is no pose and is left out",)


# Files


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Sixteen faces, and attributes that put each fourth of them into a kind of its own, and turn some."""
    folder = tmp_path_factory.mktemp("drawn")
    dataset = open_dataset(f"ferplus:{write_ferplus(folder / 'd', {'test': 16}, seed=0).data}")
    records = {
        sample.id: replace(covered(**{ESTIMATED[n % 4]: 0.9 if n < 12 else 0.1}), pose=Pose(5.0 * n, 0.0, 0.0))
        for n, sample in enumerate(dataset.samples)
    }
    write_attributes(folder / "attributes.jsonl", records, {"model": "none"})
    return dataset, folder / "attributes.jsonl"


def test_an_unknown_format_is_refused_and_the_command_names_all(drawn, tmp_path):
    dataset, path = drawn
    found = open_source(path, dataset, "test")
    for formats, message in ((["csv", "xls"], "no format is called 'xls'; there are manifest"), ([], "expected some")):
        with pytest.raises(ConfigError, match=message):
            export_subsets(found, tmp_path / "out", formats)
    assert not (tmp_path / "out").exists()
    command = get_command(app).commands["annotate"].commands["export"]
    (option,) = (option for option in command.params if option.name == "formats")
    assert f"Any of {', '.join(FORMATS)}," in option.help


def test_all_files_are_told_and_none_takes_the_place_of_what_is_read(drawn, tmp_path):
    dataset, path = drawn
    found = open_source(path, dataset, "test")
    files = export_subsets(found, tmp_path, list(FORMATS))
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert tmp_path / "labelstudio.xml" in files
    with pytest.raises(ConfigError, match=r"labelstudio.xml: is read here"):
        export_subsets(found._replace(path=tmp_path / "labelstudio.xml"), tmp_path, ["labelstudio"])


def test_manifests_lists_csv_and_coco_name_the_faces_of_each_subset(drawn, tmp_path):
    dataset, path = drawn
    found = open_source(path, dataset, "test")
    export_subsets(found, tmp_path, ["manifest", "lists", "csv", "coco", "attributes"])
    expected = {f"occlusion_{kind}": list(range(k, 12, 4)) for k, kind in enumerate(ESTIMATED)}
    expected |= {"pose_30": list(range(7, 16)), "pose_45": list(range(10, 16))}
    expected |= {"occlusion_any": list(range(12)), "occlusion_none": list(range(12, 16))}
    ids = [sample.id for sample in dataset.samples]
    labels = {face.sample.id: face.expression for face in found.faces}
    rows = list(csv.DictReader((tmp_path / "faces.csv").open()))
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert len(found.subsets) == len(expected) and [row["id"] for row in rows] == ids
    for name, places in expected.items():
        members = [ids[place] for place in places]
        for file in (f"{name}.jsonl", f"{name}.txt"):
            entries = read_subset(tmp_path / file).entries
            assert [(entry.id, entry.expression) for entry in entries] == [(face, labels[face]) for face in members]
        assert [row["id"] for row in rows if row[name] == "1"] == members
        assert [each["attributes"]["id"] for each in coco["annotations"] if name in each["subsets"]] == members
        again = open_source(tmp_path / f"{name}.jsonl", dataset, "test").subsets[0]
        assert again.about() == next(subset for subset in found.subsets if subset.name == name).about()
        assert again.faces == tuple(face for face in found.faces if face.sample.id in members)
    listed = read_list(tmp_path / "occlusion_any.txt").entries
    assert [entry.occlusion for entry in listed] == [ESTIMATED[n % 4] for n in range(12)]
    assert read_attributes(tmp_path / "attributes.jsonl").records == read_attributes(path).records
    first, image = coco["annotations"][0], coco["images"][0]
    assert first["bbox"] == [0, 0, 48, 48] and (image["width"], image["height"]) == (48, 48)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert [names[each["category_id"]] for each in coco["annotations"]] == [
        labels[face] or "unlabelled" for face in ids
    ]
    manifest = tmp_path / "pose_30.jsonl"
    manifest.write_text(manifest.read_text().rstrip("\n").rpartition("\n")[0] + "\n")
    with pytest.raises(DataError, match=r"expected 9 faces with the hash .* got 8 .*: the file was cut or edited"):
        read_subset(manifest)


def test_attributes_whose_first_line_tells_of_them_are_not_taken_for_a_subset(drawn, tmp_path):
    dataset, path = drawn
    about = '{"about": {"what": "looked at"}}\n'
    (tmp_path / "told.jsonl").write_text(about + path.read_text())
    (tmp_path / "bins.jsonl").write_text("".join(f'{{"id": "{s.id}", "turned": 30}}\n' for s in dataset.samples))
    (tmp_path / "ids.jsonl").write_text(f'{{"id": "{dataset.samples[0].id}"}}\n')
    assert len(open_source(tmp_path / "told.jsonl", dataset, "test").subsets) == 8
    names = [subset.name for subset in open_source(tmp_path / "bins.jsonl", dataset, "test").subsets]
    assert names == ["pose_30", "pose_45"]
    for name in ("told.jsonl", "bins.jsonl"):
        with pytest.raises(DataError, match="is an attributes file, not a subset"):
            read_subset(tmp_path / name)
    assert [subset.name for subset in open_source(tmp_path / "ids.jsonl", dataset, "test").subsets] == ["ids"]


@pytest.mark.parametrize(
    ("face", "expression", "attributes", "subset", "line"),
    [
        ("fer0034656", "happiness", covered(upper=1.0), "occlusion_any", "1_fer0034656.png 8 0"),
        ("fer0034656", "happiness", covered(0.9, side=1.0), "occlusion_any", "1_fer0034656.png 8 2"),
        ("fer0034656", "happiness", covered(0.9, side=1.0), "occlusion_lower", "1_fer0034656.png 8 1"),
        ("fer0034656", None, covered(eyewear=1.0), "occlusion_any", "fer0034656.png 8 3"),
        ("fer0034656", "happiness", covered(upper=1.0), "pose_30", "1/fer0034656.jpg"),
        (HASH, "surprise", covered(upper=1.0), "occlusion_upper", f"val/3/{HASH}/"),
        (HASH, "surprise", covered(), "occlusion_none", f"3/{HASH}.jpg"),
        ("test_0003_aligned", "happiness", covered(upper=1.0), "occlusion_upper", "3/test_0003_aligned.jpg"),
        ("test_0003_aligned", "happiness", Attributes({}, codes={"list": 4}), "mine", "test_0003_aligned 3 4"),
        ("test_0003_aligned", "happiness", Attributes({}, codes={"list": 0}), "mine", "3/test_0003_aligned.jpg"),
        ("anna", "happiness", covered(upper=1.0), "occlusion_upper", "anna"),
    ],
)
def test_a_published_list_has_the_lines_of_its_dataset_and_is_read_again(
    tmp_path, face, expression, attributes, subset, line
):
    expression = expression and Expression(expression)
    faces = (LabelledFace(Sample(face, "test", Location(tmp_path), (0,) * 10), expression, attributes),)
    write_list(Subset(subset, "", "", faces, {}), tmp_path / "list.txt")
    assert (tmp_path / "list.txt").read_text() == line + "\n"
    (entry,) = read_list(tmp_path / "list.txt").entries
    assert entry.id == face and entry.expression == (None if face == "anna" else expression)
    if " 8 " in line:
        assert entry.occlusion is FERPLUS_OCCLUSION[int(line[-1])]


def test_a_face_that_cannot_be_read_is_left_out_of_coco_and_told(tmp_path):
    dataset = open_dataset(f"folder:{write_folder(tmp_path / 'faces', ['happy', 'sad'], 2)}")
    records = {sample.id: covered() for sample in dataset.samples}
    write_attributes(tmp_path / "a.jsonl", records, {})
    dataset.samples[1].location.path.write_bytes(b"torn")
    told: list[str] = []
    export_subsets(open_source(tmp_path / "a.jsonl", dataset, "all"), tmp_path / "out", ["csv", "coco"], told)
    coco = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [image["id"] for image in coco["images"]] == [1, 2, 3]
    assert [each["attributes"]["id"] for each in coco["annotations"]] == [
        sample.id for sample in dataset.samples if sample is not dataset.samples[1]
    ]
    (line,) = told
    assert line.startswith(f"{tmp_path / 'out' / 'coco.json'}: {dataset.samples[1].id} is left out: ")


def test_data_are_named_by_their_folder_also_where_they_are_opened_as_a_dot(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    dataset: Dataset = open_dataset("folder:.")
    assert dataset.title == dataset.origin == f"folder:{tmp_path.name}"
