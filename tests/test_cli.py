"""Commands as people type them: what is printed, what is written, and the status."""

import errno
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import ranfer.data
from ranfer.bars import showing
from ranfer.cli import app, main
from ranfer.data import open_dataset
from ranfer.data.drawn import write_ferplus
from ranfer.evaluate import labelled
from test_runtime import EIGHT, classifier, ours


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_ferplus(tmp_path_factory.mktemp("drawn") / "faces", {"train": 24, "valid": 60})


@pytest.fixture
def predictions(drawn, tmp_path):
    lines = ["id,expression", *(f"{sample.id},happy" for sample in open_dataset(f"ferplus:{drawn.data}").samples)]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    return tmp_path / "p.csv"


def run(*words, status=0):
    found = CliRunner().invoke(app, list(map(str, words)))
    assert found.exit_code == status, found.output
    return found


def run_evaluate(drawn, tmp_path, *words, status=0):
    data = ("--data", f"ferplus:{drawn.data}", "--split", "valid")
    return run("evaluate", *data, "--out", tmp_path / "out", *words, status=status)


def test_predictions_become_a_report_and_a_summary(drawn, predictions, tmp_path):
    found = run_evaluate(drawn, tmp_path, "--predictions", predictions, "--subset", f"covered={drawn.occlusion}")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert f"{100 * report['accuracy']:.2f}" in found.stdout
    assert "covered" in found.stdout
    assert str(tmp_path / "out" / "report.md") in found.stdout
    assert found.stderr == ""


def test_anybodys_classifier_is_evaluated_from_its_onnx_file(drawn, tmp_path):
    weights = np.random.default_rng(0).normal(size=(48 * 48, 8)) / 20
    file = classifier(tmp_path / "m.onnx", shape=("b", 1, 48, 48), weights=weights)
    words = ("--onnx", file, "--labels", ",".join(EIGHT), "--preprocess", "output=logits,mean=0.5")
    run_evaluate(drawn, tmp_path, *words, "--against", file)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["input"]["output"] == "logits"
    assert report["comparison"]["mcnemar_p"] == 1
    words = ("--predictions", tmp_path / "out" / "predictions.csv", "--out", tmp_path / "again")
    again = run_evaluate(drawn, tmp_path, *words)
    assert f"{100 * report['accuracy']:.2f}" in again.stdout


def test_a_file_of_ours_needs_no_labels(drawn, tmp_path):
    told = run_evaluate(drawn, tmp_path, "--weights", ours(tmp_path / "ours.onnx"))
    assert "was trained on" not in told.stdout
    knows = {"dataset": "ferplus", "split": "train+valid"}
    told = run_evaluate(drawn, tmp_path, "--weights", ours(tmp_path / "ours.onnx", training=knows))
    assert "The model was trained on faces of valid; results there do not generalise." in told.stdout


def test_without_a_model_that_of_the_package_is_evaluated(drawn, tmp_path):
    run_evaluate(drawn, tmp_path)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["model"]["trust"]["n"] == 3199


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--predictions", "p.csv", "--weights", "w"), "only one of"),
        (("--predictions", "p.csv", "--labels", "sad"), "are for ONNX files of other programs"),
        (("--predictions", "p.csv", "--subset", "covered"), "expected NAME=LIST"),
        (("--predictions", "p.csv", "--label-rule", "distribution"), "'majority', 'probability'"),
        (("--predictions", "p.csv", "--subset-labels", "mine"), "mine"),
        (("--predictions", "p.csv", "--occlude-kinds", "fringe"), "--occlude-kinds belong to --occlude"),
        (("--predictions", "p.csv", "--occlude-faces", "9"), "--occlude-kinds belong to --occlude"),
        (("--predictions", "p.csv", "--nonsense"), "nonsense"),
        (("--predictions", "p.csv", "--out", ""), "--out: expected a folder"),
    ],
)
def test_a_command_that_makes_no_sense_is_status_2(drawn, predictions, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(predictions.parent)
    assert message in run_evaluate(drawn, tmp_path, *words, status=2).stderr
    assert not (tmp_path / "out").exists()


def test_two_subsets_of_one_name_are_refused(drawn, predictions, tmp_path):
    twice = ["--subset", f"s={drawn.occlusion}"] * 2
    assert "the same name" in run_evaluate(drawn, tmp_path, "--predictions", predictions, *twice, status=2).stderr


def test_a_full_disk_is_one_line_and_status_1(drawn, predictions, tmp_path, monkeypatch):
    def full(*arguments, **rest):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ranfer.report.write_report", full)
    told = run_evaluate(drawn, tmp_path, "--predictions", predictions, status=1).stderr
    assert told.splitlines() == ["cannot read or write ([Errno 28] No space left on device)"]


def test_a_subset_does_not_take_the_name_of_the_split(drawn, predictions, tmp_path):
    words = ("--predictions", predictions, "--subset", f"valid={drawn.occlusion}")
    told = run_evaluate(drawn, tmp_path, *words, status=2).stderr
    assert "--subset valid=...: the split has that name; choose another" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--predictions", "none.csv"), "none.csv: not a readable CSV file"),
        (("--weights", "none.onnx"), "none.onnx: no such file"),
        (("--predictions", "p.csv", "--subset", "s=none.txt"), "none.txt: cannot be read"),
        (("--predictions", "p.csv", "--split", "tests"), "no split is called 'tests'; there are train, valid"),
        (("--predictions", "p.csv", "--out", "p.csv/deeper"), "p.csv/deeper"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(drawn, predictions, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(predictions.parent)
    found = run_evaluate(drawn, tmp_path, *words, status=1)
    assert message in found.stderr
    assert found.stderr.count("\n") == 1


def test_an_interrupt_is_a_line_and_status_130(drawn, predictions, tmp_path, monkeypatch):
    def interrupted(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(ranfer.data, "open_dataset", interrupted)
    assert run_evaluate(drawn, tmp_path, "--predictions", predictions, status=130).stderr == "stopped\n"


def test_data_check_prints_and_writes_what_it_found(drawn, tmp_path):
    file = tmp_path / "found.json"
    found = run("data", "check", f"ferplus:{drawn.data}", "--list", drawn.pose, "--json", file)
    assert "every face can be read" in found.stdout
    assert json.loads(file.read_text())["splits"]["valid"]["faces"] == 60


def test_data_check_fails_where_a_list_names_absent_faces(drawn, tmp_path):
    (tmp_path / "list.txt").write_text("fer9999999\n")
    found = run("data", "check", f"ferplus:{drawn.data}", "--list", tmp_path / "list.txt", status=1)
    assert "faces cannot be read, or lists name faces that are not there" in found.stderr


def test_the_version_is_an_attribute_and_is_printed_by_the_module_too():
    found = subprocess.run([sys.executable, "-m", "ranfer", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout == f"ranfer {ranfer.__version__}\n"


def sources(drawn, folder):
    """A file of each kind that a command reads, where a careless ``--out`` would put its own."""
    opened = open_dataset(f"ferplus:{drawn.data}")
    answers = "\n".join(["id,expression", *(f"{sample.id},happy" for sample in opened.samples)])
    turned = {"yaw": 50, "pitch": 0, "roll": 0, "landmarks": [[0.5, 0.5]]}
    attributes = "".join(json.dumps({"id": sample.id} | turned) + "\n" for sample in opened.split("valid"))
    texts = {"predictions.csv": answers, "attributes.jsonl": attributes, "list.txt": f"{opened.samples[0].id}\n"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "table").mkdir()
    (folder / "table" / "predictions.csv").write_text("image,expression\n../ours.onnx,happy\n")
    ours(folder / "ours.onnx")
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--data", "DATA", "--split", "valid", "--predictions", "predictions.csv", "--out", "."),
        ("evaluate", "--data", "DATA", "--split", "valid", "--against", "predictions.csv", "--out", "."),
        ("annotate", "export", "attributes.jsonl", "--data", "DATA", "--split", "valid", "--format", "attributes",
         "--out", "."),
        ("data", "check", "DATA", "--list", "list.txt", "--originals", "linked.txt"),
        ("data", "check", "DATA", "--list", "list.txt", "--json", "list.txt"),
        ("data", "prepare", "DATA", "--out", "list.txt"),
        ("evaluate", "--data", "folder:table/predictions.csv", "--split", "all", "--out", "table"),
        ("export", "--weights", "ours.onnx", "--out", "./ours.onnx"),
        ("export", "--weights", "ours.onnx", "--calibrate-as", "ours.onnx", "--out", "predictions.csv"),
    ],
)  # fmt: skip
def test_no_command_writes_over_what_it_reads_or_what_is_not_its_own(drawn, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    before = sources(drawn, tmp_path)
    (tmp_path / "linked.txt").symlink_to("list.txt")
    found = run(*(f"ferplus:{drawn.data}" if word == "DATA" else word for word in words), status=2)
    assert re.search(r"must not be written over|ends in .(onnx|jsonl)|something else than a manifest", found.stderr)
    assert found.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before


def test_a_file_where_a_folder_is_needed_is_said_to_be_one(drawn, predictions, tmp_path):
    (tmp_path / "out").write_text("mine")
    told = run_evaluate(drawn, tmp_path, "--predictions", predictions, status=1).stderr
    assert told == f"{tmp_path / 'out'}: expected a folder, and a file stands there\n"


def test_a_name_cannot_speak_to_the_terminal(drawn, tmp_path):
    odd = tmp_path / "odd\x1b.txt"
    odd.write_text(f"{open_dataset(f'ferplus:{drawn.data}').samples[0].id}\n")
    told = run("predict", tmp_path / "\x1b]red\x07.jpg", "--out", tmp_path / "out", status=1)
    assert "\x1b" not in told.stderr + told.stdout
    table = run("data", "check", f"ferplus:{drawn.data}", "--list", odd).stdout
    assert "\x1b" not in table
    assert "odd\ufffd.txt" in table
    assert "\ufffd]red\ufffd.jpg: no such file" in told.stderr


def test_faces_that_cannot_be_read_are_named_and_left_out_and_the_others_evaluated(tmp_path):
    drawn = write_ferplus(tmp_path / "faces", {"train": 1, "valid": 300})
    dataset = open_dataset(f"ferplus:{drawn.data}")
    samples, _, _ = labelled(dataset, "valid", "majority")
    broken = samples[::100]
    (tmp_path / "broken.txt").write_text("".join(f"{sample.id}\n" for sample in broken))
    for sample in broken:
        sample.location.path.write_bytes(b"no picture")
    model, answers = ours(tmp_path / "m.onnx"), tmp_path / "answers.csv"
    words = ("--weights", model, "--subset", f"broken={tmp_path / 'broken.txt'}", "--occlude", "--occlude-faces", 300)
    told = run_evaluate(drawn, tmp_path, *words, "--occlude-kinds", "block", status=1)
    assert [line.split(": ")[0] for line in told.stderr.splitlines()] == [str(sample.location) for sample in broken]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["n"], report["excluded_reasons"]["cannot be read"]) == (len(samples) - 3, 3)
    assert set(report["data"]["unreadable"]) == {sample.id for sample in broken}
    assert (report["subsets"]["broken"]["n"], report["occlusion"]["n"]) == (0, len(samples) - 3)
    page = (tmp_path / "out" / "report.md").read_text()
    assert all(str(sample.location) in page for sample in broken)
    assert "except 3 that cannot be read" in page
    # A table of answers needs no pixels, but it is compared on the faces that the model saw.
    told = (tmp_path / "out" / "predictions.csv").read_text()
    answers.write_text(told + "".join(f"{s.id},valid,,fear,{'0.125,' * 7}0.125\n" for s in broken))
    run_evaluate(drawn, tmp_path, "--predictions", answers, "--against", model, status=1)
    both = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (both["n"], both["comparison"]["accuracy_difference"]) == (len(samples) - 3, 0)


def test_a_split_without_a_readable_face_is_one_error(tmp_path):
    drawn = write_ferplus(tmp_path / "faces", {"train": 1, "valid": 5})
    dataset = open_dataset(f"ferplus:{drawn.data}")
    for sample in dataset.split("valid"):
        sample.location.path.write_bytes(b"no picture")
    told = run_evaluate(drawn, tmp_path, "--weights", ours(tmp_path / "m.onnx"), status=1).stderr
    assert re.match(r"\d of \d faces cannot be read: .* and \d more\n$", told)


def test_bars_tell_on_a_terminal_how_much_is_done_and_nothing_elsewhere():
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        with showing(console) as bar:
            faces = bar("reading faces")
            faces(3, 12)
        shown = console.file.getvalue()
        assert ("reading faces" in shown, "3/12" in shown, shown != "") == (terminal, terminal, terminal)


def test_a_stop_before_a_command_has_begun_is_one_line(monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr("ranfer.cli.app", stop)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert (stopped.value.code, capsys.readouterr().err) == (130, "stopped\n")
