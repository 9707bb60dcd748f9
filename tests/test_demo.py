"""The demo and the example of training: what a newcomer runs first leaves what it promises."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from ranfer.cli import app
from test_light_rooms import torch_after

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, CliRunner().invoke(app, ["demo", "--out", str(folder)])


def test_the_demo_leaves_a_sheet_and_a_line_for_each_face_and_prints_the_table(result):
    folder, printed = result
    assert printed.exit_code == 0, printed.output
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert len({line["source"] for line in lines}) == 12
    assert sum("several" in line["source"] for line in lines) > 2
    assert Image.open(folder / "contact_sheet.jpg").width > 1000
    assert "mean probability" in printed.stdout
    assert "contact_sheet.jpg" in printed.stdout


def test_the_smile_is_recognised_where_nothing_covers_it(result):
    lines = [json.loads(line) for line in (result[0] / "predictions.jsonl").read_text().splitlines()]
    said = {Path(line["source"]).stem[3:]: line["expression"] for line in lines}
    plain = ("portrait", "grey", "dark", "blurred", "tilted right", "tilted left", "small", "sunglasses")
    assert [said[name] for name in plain] == ["happiness"] * len(plain)


def test_a_second_demo_in_the_same_folder_goes_on_and_adds_nothing(result):
    folder, _ = result
    before = [json.loads(line)["source"] for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert CliRunner().invoke(app, ["demo", "--out", str(folder)]).exit_code == 0
    after = [json.loads(line)["source"] for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert after == before


def test_a_demo_with_a_picture_that_cannot_be_read_says_so_on_standard_error_and_fails(tmp_path, monkeypatch):
    bad = tmp_path / "[red]bad.png"
    bad.write_bytes(b"no picture")
    monkeypatch.setattr("ranfer.demo.write_samples", lambda *arguments: [bad])
    printed = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out")])
    assert printed.exit_code == 1
    assert f"{bad}: " in printed.stderr
    assert "bad.png" not in printed.stdout


def test_the_demo_needs_no_pytorch(tmp_path):
    code = "from ranfer.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    assert torch_after(code, "demo", "--out", tmp_path / "out") == [False, False]


def test_the_example_of_training_leaves_a_report(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    example = __import__("train_on_drawn_faces")
    sys.modules.pop("train_on_drawn_faces")
    console = Console(record=True, width=200)
    example.run(tmp_path / "out", console, faces=60, epochs=1)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert f"right of {report['n']}" in console.export_text()
    assert set(report["subsets"]) == {"covered", "turned"}
