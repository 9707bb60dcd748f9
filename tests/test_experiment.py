"""Tables of runs: every run once, whatever stops or breaks, and a comparison that claims no more than it may."""

import io
import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from ranfer import experiment, experiment_report
from ranfer import train as training
from ranfer.cli import app
from ranfer.config import ExperimentConfig, ModelConfig, TrainConfig, override, parse, read_yaml
from ranfer.cost import multiply_adds
from ranfer.data.drawn import write_ferplus
from ranfer.errors import ConfigError, DataError
from ranfer.experiment import configure, run_table
from ranfer.experiment_report import Group, Row, Table, compare
from ranfer.files import locked
from test_train import TINY

BASELINE = ["model.attention=none", "model.regions.scheme=none", "loss.margin=null"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_ferplus(tmp_path_factory.mktemp("table") / "faces", {"train": 48, "valid": 40}, seed=1)


@pytest.fixture
def file(drawn, tmp_path):
    """A table of two rows and two seeds on drawn faces."""
    base = {**TINY, "epochs": 1, "data": {"source": f"ferplus:{drawn.data}"}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    table = {
        "base": str(tmp_path / "base.yaml"),
        "changes": ["augment.mixup=0"],
        "seeds": [0, 1],
        "references": ["baseline"],
        "rows": {"baseline": {"changes": BASELINE}, "relation": {}},
        "subsets": {"turned": str(drawn.pose)},
        "occlusion_faces": 3,
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    return tmp_path / "table.yaml"


def table_of(file, **changes) -> ExperimentConfig:
    return parse(ExperimentConfig, read_yaml(file) | changes, str(file))


def run(table, out, **options):
    said = []
    quiet = Console(file=io.StringIO())
    return run_table(table, out, quiet, **{"complain": said.append} | options), said


@pytest.fixture
def trained(monkeypatch):
    """The runs that were really trained for some epochs, as they come."""
    runs = []
    validate = training.validate

    def counted(model, faces):
        runs.append(model.config.attention)
        return validate(model, faces)

    monkeypatch.setattr(training, "validate", counted)
    return runs


def test_a_table_is_stopped_goes_on_and_ends_in_one_report(file, tmp_path, monkeypatch, trained):
    table, out = table_of(file), tmp_path / "runs"
    step, calls = training.training_step, iter(range(100))

    def stop(*arguments):
        if next(calls) == 4:  # in the second run: an epoch has three steps
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(training, "training_step", stop)
    with pytest.raises(KeyboardInterrupt):
        run(table, out)
    assert not (out / "experiment.json").exists()
    monkeypatch.setattr(training, "training_step", step)
    assert run(table, out) == (True, [])
    assert trained == ["none", "none", "relation", "relation"]
    report = json.loads((out / "experiment.json").read_text(), parse_constant=pytest.fail)
    assert report["missing"] == []
    assert list(report["groups"]) == ["valid", "turned", "covered by 10 to 60 %"]
    whole = report["groups"]["valid"]["rows"]
    kept = [line.split(",") for line in (out / "relation" / "seed-1" / "predictions.csv").read_text().splitlines()[1:]]
    right = [told == said for _, split, told, said, *_ in kept if split == "valid" and told]
    assert len(right) == report["groups"]["valid"]["n"]
    assert whole["relation"]["accuracies"][1] == pytest.approx(np.mean(right))
    assert whole["relation"]["against"]["baseline"]["mcnemar_p"].keys() == {"0", "1"}
    assert report["groups"]["covered by 10 to 60 %"]["rows"]["relation"]["against"]["baseline"]["mcnemar_p"] == {}
    for name in ("experiment.png", "occlusion.png"):
        assert f"({name})" in (out / "experiment.md").read_text()
        assert (out / name).stat().st_size > 5000
    monkeypatch.setattr(experiment, "PATIENCE", 0)
    with locked(out), pytest.raises(ConfigError, match="another run is writing it"):  # one writes its report now
        run(table, out)


def test_of_two_processes_that_end_together_the_second_waits_and_reports_the_runs_of_both(file, tmp_path, monkeypatch):
    table, out = table_of(file, seeds=[0], occlusion_faces=0, subsets={}), tmp_path / "runs"
    run(table, out)
    done = out / "relation" / "seed-0" / "run.json"
    done.rename(tmp_path / "kept")
    with ExitStack() as other:
        other.enter_context(locked(out))

        def end(seconds):
            (tmp_path / "kept").rename(done)
            other.close()

        monkeypatch.setattr(experiment, "sleep", end)
        assert run(table, out, only=["baseline"]) == (True, [])
    assert json.loads((out / "experiment.json").read_text())["missing"] == []


def test_what_is_done_is_neither_trained_nor_evaluated_again_unless_it_is_evaluated_otherwise(
    file, tmp_path, trained, monkeypatch
):
    table, out = table_of(file, seeds=[0], occlusion_faces=0), tmp_path / "runs"
    run(table, out, only=["baseline"])
    evaluated = []
    evaluate_run = experiment.evaluate_run
    monkeypatch.setattr(
        experiment, "evaluate_run", lambda run, *rest: (evaluated.append(run.row), evaluate_run(run, *rest))
    )
    run(table, out)
    assert (trained, evaluated) == (["none", "relation"], ["relation"])
    run(table.model_copy(update={"subsets": {}}), out)
    assert (trained, evaluated) == (["none", "relation"], ["relation", "baseline", "relation"])


def test_a_row_goes_on_from_another_ones_weights_seed_by_seed_and_is_not_done_once_those_are_others(
    file, tmp_path, monkeypatch
):
    rows = {"baseline": {"changes": BASELINE}, "relation": {"starts_from": "baseline"}}
    table, out = table_of(file, rows=rows, occlusion_faces=0, subsets={}), tmp_path / "runs"
    given = []
    go_on_from = training.go_on_from
    monkeypatch.setattr(training, "go_on_from", lambda model, path: given.append(path) or go_on_from(model, path))
    assert run(table, out) == (True, [])
    assert given == [out / "baseline" / f"seed-{seed}" / "best.safetensors" for seed in (0, 1)]
    report = json.loads((out / "experiment.json").read_text())
    assert [row["starts_from"] for row in report["rows"].values()] == [None, "baseline"]

    for row in ("baseline", "relation"):
        shutil.rmtree(out / row / "seed-1")
    fine, said = run(table, out, only=["relation"])
    assert (fine, said) == (False, ["relation, seed 1: it starts from row baseline, seed 1, which is not done"])

    shutil.rmtree(out / "baseline" / "seed-0")
    run(table, out, changes=["optimizer.lr=0.02"], only=["baseline"])
    assert json.loads((out / "experiment.json").read_text())["missing"] == ["relation, seed 0", "relation, seed 1"]
    rows["relation"]["changes"] = ["optimizer.lr=0.1"]  # as it was: only what it started from differs
    fine, said = run(table_of(file, rows=rows, occlusion_faces=0, subsets={}), out, changes=["optimizer.lr=0.02"])
    assert not fine
    assert "is of another run: initial was" in said[0]


def test_a_run_that_fails_is_a_line_and_the_others_go_on(file, tmp_path, monkeypatch):
    train = experiment.train

    def fail(config, folder, console, resume):
        if config.model.attention == "none" and config.seed == 1:
            raise RuntimeError("out of memory:\n  tried to allocate 3 GB")
        return train(config, folder, console, resume)

    monkeypatch.setattr(experiment, "train", fail)
    table = table_of(file, occlusion_faces=0, subsets={})
    fine, said = run(table, tmp_path / "runs", report=tmp_path / "report")
    assert (fine, said) == (False, ["baseline, seed 1: out of memory: tried to allocate 3 GB"])
    report = json.loads((tmp_path / "report" / "experiment.json").read_text())
    assert report["missing"] == ["baseline, seed 1"]
    assert report["groups"]["valid"]["rows"]["relation"]["against"]["baseline"]["mcnemar_p"].keys() == {"0"}
    assert "## Not done\n\n- baseline, seed 1" in (tmp_path / "report" / "experiment.md").read_text()


@pytest.mark.parametrize("damaged", ["[]", "null", '{"config": 3}', '{"config": {}, "start": []}'])
def test_what_describes_no_run_is_not_done(file, tmp_path, damaged):
    (made, *_) = experiment._runs(table_of(file), experiment.configure(table_of(file)), tmp_path)
    made.folder.mkdir(parents=True)
    (made.folder / "run.json").write_text(damaged)
    assert not made.is_done({})


def test_rows_are_not_evaluated_on_faces_that_they_learn(file, tmp_path):
    with pytest.raises(ConfigError, match=r"row baseline learns train\+valid, and could not be evaluated"):
        run(table_of(file, split="valid"), tmp_path, changes=["data.train=train+valid", "data.valid=null"])
    with pytest.raises(ConfigError, match="split: say what to evaluate on"):
        run(table_of(file), tmp_path, changes=["data.valid=null"])


def test_other_settings_are_not_taken_for_the_run_that_is_there(file, tmp_path):
    table = table_of(file, occlusion_faces=0, subsets={}, seeds=[0])
    run(table, tmp_path / "runs", only=["relation"])
    with pytest.raises(DataError, match="no run of this table is done"):
        run(table, tmp_path / "runs", changes=["epochs=2"], only=["relation"])


def test_the_command_says_where_the_report_is_and_130_when_it_is_stopped(file, tmp_path, monkeypatch):
    words = ["experiment", str(file), "--out", str(tmp_path / "runs"), "--set", "epochs=1"]

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run_table", stop)
    stopped = CliRunner().invoke(app, words)
    assert stopped.exit_code == 130
    assert "the same command goes on there" in stopped.stderr
    monkeypatch.setattr(experiment, "run_table", lambda *arguments, **options: False)
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 1
    assert "experiment.md" in failed.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": ["average"]}, "no row is called 'average'; there are baseline, relation"),
        ({"rows": {"a/b": {}}, "references": ["a/b"]}, "should match pattern"),
        ({"seeds": [1, 1]}, "a seed is listed twice"),
        ({"seeds": []}, "at least 1 item"),
        (
            {"rows": {"a": {"compute_of": "b"}, "b": {"compute_of": "a"}}, "references": ["a"]},
            "itself trained by compute",
        ),
        ({"row": {}}, "row: no such setting; there are base, .*rows"),
        ({"rows": {"baseline": {"change": []}}}, r"rows.baseline.change: no such setting \(got \[\]\)"),
        (
            {"rows": {"a": {"starts_from": "b"}, "b": {}}, "references": ["b"]},
            "row a starts from 'b', which is no earlier row",
        ),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(file, changes, message):
    with pytest.raises(ConfigError, match=message):
        table_of(file, **changes)


def test_settings_of_a_row_that_make_no_sense_are_refused_with_its_name(file):
    table = table_of(file, rows={"baseline": {"changes": ["model.attention=none"]}})
    with pytest.raises(ConfigError, match="row baseline: 1 wrong setting"):
        configure(table)
    table = table_of(file, rows={"baseline": {"changes": BASELINE}, "other": {"changes": ["data.valid=other"]}})
    with pytest.raises(ConfigError, match="evaluated on the same faces"):
        configure(table)
    first = {"baseline": {"changes": BASELINE}}
    with pytest.raises(ConfigError, match="row other changes seed: set the table's seeds"):
        configure(table_of(file, rows=first | {"other": {"changes": ["seed=7"]}}))
    with pytest.raises(ConfigError, match="row other changes initial, which starts_from sets"):
        configure(table_of(file, rows=first | {"other": {"starts_from": "baseline", "changes": ["initial=x"]}}))


def test_a_network_of_a_row_that_cannot_be_built_is_refused_before_anything_is_trained(file, tmp_path, trained):
    wrong = {"changes": ["model.backbone.arguments={depth: 3}"]}
    table = table_of(file, rows={"baseline": {"changes": BASELINE}, "deep": wrong})
    with pytest.raises(ConfigError, match=r"row deep: backbone compact: wrong arguments \{'depth': 3\}"):
        run(table, tmp_path / "runs")
    rows = {
        "baseline": {"changes": BASELINE},
        "on": {"starts_from": "baseline", "changes": ["model.backbone.initial=x"]},
    }
    with pytest.raises(ConfigError, match=r"row on: .*\n.*both say what to start from"):
        run(table_of(file, rows=rows), tmp_path / "runs")
    assert trained == []


def test_no_row_starts_from_or_is_taught_by_what_has_learnt_the_faces_that_evaluate_it(file, tmp_path):
    base = override(read_yaml(tmp_path / "base.yaml"), ["data.train=train+valid", "data.valid=null"])
    knows = training.train(parse(TrainConfig, base, "base"), tmp_path / "both", Console(file=io.StringIO()))
    for change in (f"initial={knows}", f"loss.teachers=[{knows}]"):
        rows = {"baseline": {"changes": BASELINE}, "other": {"changes": [change]}}
        with pytest.raises(
            ConfigError, match=r"row other: .*best.safetensors was trained on valid, on which the rows are"
        ):
            run(table_of(file, rows=rows, split="valid"), tmp_path / "runs", changes=["data.valid=null"])


def test_another_teacher_of_the_same_name_makes_another_run_and_one_that_is_gone_does_not(tmp_path):
    teacher = tmp_path / "teacher"
    teacher.write_bytes(b"one")
    config = TrainConfig.model_validate({"loss": {"teachers": [teacher]}})

    def made():
        return experiment.Run("row", 0, config, tmp_path)

    (tmp_path / "run.json").write_text(json.dumps({**made().description, "benchmark": {}}))
    assert made().is_done({})
    teacher.write_bytes(b"other")
    assert not made().is_done({})
    teacher.unlink()
    assert made().is_done({})


def test_a_row_at_equal_compute_gets_the_epochs_that_the_other_row_pays_for(file):
    longer = {"changes": BASELINE, "compute_of": "relation"}
    rows = {"baseline": {"changes": BASELINE}, "relation": {}, "longer": longer}
    configs = configure(table_of(file, rows=rows), ["epochs=20"])
    one, other = (multiply_adds(configs[name].model) for name in ("baseline", "relation"))
    assert configs["relation"].epochs == configs["baseline"].epochs == 20
    assert other > 1.2 * one
    assert configs["longer"].epochs == round(20 * other / one)
    assert configs["relation"].augment.mixup == 0


def test_multiply_adds_are_those_of_a_network_counted_by_hand():
    layers = {"name": "torch.nn.Conv2d", "arguments": {"in_channels": 1, "out_channels": 5, "kernel_size": 6}}
    plain = {"regions": {"scheme": "none"}, "attention": "none"}
    found = multiply_adds(ModelConfig.model_validate({"size": 6, "backbone": layers, **plain}))
    kernel, head = 5 * 36, 5 * 8
    assert found == 2 * kernel + 3 * head  # forward; kernels' gradients; and, of the head, also its input's


def rows(**seeds):
    return {name: Row((), told, 1, 1, 1) for name, told in seeds.items()}


def test_a_difference_counts_the_seeds_that_both_rows_have():
    right = {"a": np.array([[1.0, 1, 0, 0], [1, 1, 1, 1]]), "b": np.array([[0.0, 0, 0, 0]])}
    table = Table(rows(a=(0, 1), b=(1,)), ("b",), {"g": Group(right, 4)}, (), {}, (), {})
    found = compare(table, table.groups["g"], "a", "b")
    assert found is not None
    assert found.accuracy.value == 1
    assert (found.seeds, found.p_values) == ((1,), {1: 0.125})
    assert compare(table, table.groups["g"], "b", "b") is None


@pytest.mark.parametrize(
    ("first", "other", "verdict"),
    [(0.9, 0.5, "better"), (0.5, 0.9, "worse"), (0.7, 0.7, "no difference is shown")],
)
def test_the_words_say_what_the_interval_allows_and_no_more(first, other, verdict, tmp_path):
    generator = np.random.default_rng(0)
    right = {name: (generator.random((3, 200)) < chance) * 1.0 for name, chance in (("a", first), ("b", other))}
    table = Table(rows(a=(0, 1, 2), b=(0, 1, 2)), ("b",), {"g": Group(right, 200)}, (), {}, (), {})
    experiment_report.write_report(table, tmp_path, "x")
    text = (tmp_path / "experiment.md").read_text()
    zero = " (the interval includes zero)" if verdict.startswith("no") else ""
    assert f"Against *b*: {verdict}{zero}: a." in text
    assert (
        json.loads((tmp_path / "experiment.json").read_text())["groups"]["g"]["rows"]["a"]["against"]["b"]["verdict"]
        == verdict
    )


def test_a_group_without_faces_is_not_measured(tmp_path):
    right = {"a": np.empty((2, 0)), "b": np.empty((2, 0))}
    table = Table(rows(a=(0, 1), b=(0, 1)), ("b",), {"none": Group(right, 0)}, (), {}, (), {})
    experiment_report.write_report(table, tmp_path, "x")
    text = (tmp_path / "experiment.md").read_text()
    assert "Against *b*: not measured: a." in text
    assert "share only one seed" not in text
    found = json.loads((tmp_path / "experiment.json").read_text())["groups"]["none"]["rows"]["a"]
    assert (found["accuracy"], found["standard_deviation"]) == (None, None)
    assert found["against"]["b"]["verdict"] == "not measured"


def test_a_comparison_of_one_shared_seed_is_marked_beside_others_of_more(tmp_path):
    right = {name: np.full((n, 50), share) for name, n, share in (("a", 1, 1.0), ("b", 2, 1.0), ("c", 2, 0.0))}
    table = Table(rows(a=(0,), b=(0, 1), c=(0, 1)), ("c",), {"g": Group(right, 50)}, (), {}, (), {})
    experiment_report.write_report(table, tmp_path, "x")
    text = (tmp_path / "experiment.md").read_text()
    assert "share only one seed" in text
    assert "Against *c*: better: a (one seed), b." in text
    assert "| +100.00 (+100.00 to +100.00) (one seed) |" in text
    found = json.loads((tmp_path / "experiment.json").read_text())["groups"]["g"]["rows"]
    assert [found[row]["against"]["c"]["shared_seeds"] for row in "ab"] == [[0], [0, 1]]


@pytest.mark.parametrize("name", ["ablation", "ablation-full"])
def test_the_shipped_tables_make_sense_and_compare_what_they_should(monkeypatch, name):
    monkeypatch.chdir(Path(__file__).parents[1])
    table = parse(ExperimentConfig, read_yaml(Path(f"configs/{name}.yaml")), name)
    configs = configure(table)
    assert set(table.references) >= {"baseline", "average"}
    assert len(table.seeds) >= 3
    assert configs["baseline-compute"].epochs > 1.5 * configs["baseline"].epochs
    assert {config.model.attention for config in configs.values()} == {"none", "average", "self", "relation"}
    assert {config.model.normalization for config in configs.values()} == {"ratio", "softmax"}
    assert {config.model.regions.scheme for config in configs.values()} == {"none", "fixed5", "random", "landmark"}
