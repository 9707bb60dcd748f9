"""Training: the schedule, the batches, and that no work is lost."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ranfer import train as training
from ranfer.augment import augment, draw_over, erase, mix, random_affine, warp, warp_points
from ranfer.checkpoint import Trained, load, read_tensors, write_tensors
from ranfer.config import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    override,
    parse,
    read_yaml,
)
from ranfer.data import open_dataset
from ranfer.data.dataset import stack_faces
from ranfer.data.drawn import write_ferplus
from ranfer.data.manifest import prepare
from ranfer.errors import CheckpointError, ConfigError, DataError, LossError, RanferError
from ranfer.evaluate import labelled
from ranfer.faces.attributes import AttributeModel
from ranfer.files import locked
from ranfer.model import RAN
from ranfer.optimizer import build_optimizer, learning_rate
from ranfer.training_faces import Faces, batches, divide, load_faces
from ranfer.training_record import learnt_by
from ranfer.vocab import Location, Sample

TINY = {
    "model": {
        "size": 24,
        "cut": "stem",
        "region_size": 12,
        "backbone": {"arguments": {"widths": [8, 8, 8, 8]}},
    },
    "loss": {"margin": 0.02},
    "epochs": 3,
    "batch": 16,
    "augment": {"mixup": 0.2, "occlude": 0.2},
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "drawn"
    return f"ferplus:{write_ferplus(folder, {'train': 96, 'valid': 40}, seed=1).data}"


@pytest.fixture
def settings(faces):
    def make(*changes: str) -> TrainConfig:
        return parse(TrainConfig, override(TINY, [f"data.source={faces}", *changes]), "test")

    return make


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def same(a, b) -> bool:
    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(settings, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        training.train(settings(f"seed={seed}", "epochs=1"), tmp_path / name, quiet())
    assert same(tmp_path / "a" / "last.safetensors", tmp_path / "b" / "last.safetensors")
    assert not same(tmp_path / "a" / "last.safetensors", tmp_path / "c" / "last.safetensors")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_interrupted_run_resumes_to_the_weights_of_an_uninterrupted_one(settings, tmp_path, monkeypatch, optimizer):
    config = settings(f"optimizer.name={optimizer}", "optimizer.lr=0.01")
    training.train(config, tmp_path / "whole", quiet())
    calls = iter(range(100))
    step = training.training_step

    def stop(*arguments):
        if next(calls) == 8:  # in the middle of the second epoch of six steps
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(training, "training_step", stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "parts", quiet())
    monkeypatch.undo()
    metrics = tmp_path / "parts" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"epoch": 2, "lo')  # a torn line
    training.train(config, tmp_path / "parts", quiet(), resume=True)
    for name in ("best.safetensors", "last.safetensors"):
        assert same(tmp_path / "whole" / name, tmp_path / "parts" / name)
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    events = EventAccumulator(str(tmp_path / "parts" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars(events.Tags()["scalars"][0])] == [1, 2, 3]


def test_a_run_killed_at_random_moments_loses_nothing(settings, tmp_path):
    config = settings("epochs=4")
    (tmp_path / "config.json").write_text(config.model_dump_json())
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, torch\nfrom pathlib import Path\nfrom rich.console import Console\n"
        "from ranfer.config import TrainConfig\nfrom ranfer.train import train\n"
        "torch.set_num_threads(1)\n"
        "config = TrainConfig.model_validate_json(Path(sys.argv[1]).read_text())\n"
        "train(config, Path(sys.argv[2]), Console(), resume=True)\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "config.json")]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    generator = np.random.default_rng(0)
    last = tmp_path / "killed" / "last.safetensors"
    for _ in range(2):
        run = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment, stdout=subprocess.DEVNULL)
        seen = last.stat().st_mtime_ns if last.exists() else 0
        while run.poll() is None and (last.stat().st_mtime_ns if last.exists() else 0) == seen:
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.3))  # somewhere in or after the next epoch, or while it is being written
        run.send_signal(signal.SIGKILL)
        run.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, env=environment, capture_output=True)
    assert same(tmp_path / "whole" / "last.safetensors", last)
    assert same(tmp_path / "whole" / "best.safetensors", tmp_path / "killed" / "best.safetensors")


def test_the_epoch_is_chosen_by_accuracy_or_by_log_loss(settings, tmp_path, monkeypatch):
    told = [(0.5, 2.0), (0.7, 3.0), (0.7, 1.0), (0.6, 1.0)]
    for by, epoch in (("accuracy", 2), ("log_loss", 3)):
        figures = iter([{"valid_accuracy": accuracy, "valid_log_loss": loss} for accuracy, loss in told])
        monkeypatch.setattr(training, "validate", lambda *faces, figures=figures: next(figures))
        best = training.train(settings("epochs=4", f"choose_by={by}"), tmp_path / by, quiet())
        assert load(best).description["epoch"] == epoch


def test_the_log_loss_that_chooses_does_not_praise_sharpness(settings):
    config = settings()
    dataset = open_dataset(config.data.source)
    faces, _ = load_faces(config, dataset, dataset.split("train"), "majority")
    torch.manual_seed(0)
    model = RAN(config.model)
    model.fc.weight.data *= 20  # unlike a new one, it has a mind of its own,
    said = Trained(model)(faces.pixels[faces.rows].numpy(), ["face"] * len(faces.rows)).probabilities.argmax(axis=1)
    said[::3] = 0  # and is often right
    faces = replace(faces, expressions=said)
    usual = training.validate(model, faces)
    for parameter in model.fc.parameters():
        parameter.data *= 1.5
    sharper = training.validate(model, faces)
    assert sharper["valid_accuracy"] == usual["valid_accuracy"] < 1
    assert sharper["valid_log_loss"] == pytest.approx(usual["valid_log_loss"], rel=1e-3)


def test_both_splits_may_be_learnt_with_no_epoch_chosen(settings, tmp_path):
    console = quiet()
    config = settings("data.train=train+valid", "data.valid=null", "choose_by=log_loss")
    best = training.train(config, tmp_path / "run", console)
    assert "136 faces to learn from in 8 steps of 16 an epoch, none to validate on" in console.file.getvalue()
    assert same(best, training.train(config, tmp_path / "run", quiet(), resume=True))
    said = load(best).description
    assert (said["epoch"], said["figures"], said["data_hash"]["valid"]) == (3, {}, None)
    told = {key: said["training"][key] for key in ("split", "faces", "epoch_chosen_on")}
    assert told == {"split": "train+valid", "faces": 136, "epoch_chosen_on": "none, the last"}


def test_a_run_says_in_what_the_model_that_it_goes_on_from_differs(settings, tmp_path):
    first = training.train(settings("epochs=1"), tmp_path / "first", quiet())
    alike, enlarged = quiet(), quiet()
    training.train(settings("epochs=1", f"initial={first}"), tmp_path / "alike", alike)
    assert "model." not in alike.file.getvalue()
    training.train(settings("epochs=1", f"initial={first}", "model.enlarge=40"), tmp_path / "enlarged", enlarged)
    assert f"{first}: model.enlarge was None and is now 40\n" in enlarged.file.getvalue()


def test_what_the_start_and_the_teachers_have_learnt_does_not_choose_the_epoch(settings, tmp_path):
    both = training.train(settings("data.train=train+valid", "data.valid=null", "epochs=1"), tmp_path / "both", quiet())
    for change in (f"initial={both}", f"model.backbone.initial={both}", f"loss.teachers=[{both}]"):
        with pytest.raises(ConfigError, match=r"best\.safetensors: has learnt ferplus valid, of which faces"):
            training.train(settings(change), tmp_path / "next", quiet())
    after = training.train(settings(f"initial={both}", "data.valid=null", "epochs=1"), tmp_path / "after", quiet())
    assert learnt_by(load(after).description) == ["ferplus train", "ferplus valid"]  # it is not forgotten
    with pytest.raises(ConfigError, match="has learnt ferplus valid"):
        training.train(settings(f"initial={after}"), tmp_path / "next", quiet())

    held = training.train(settings("data.held_out=0.25", "epochs=1"), tmp_path / "held", quiet())
    training.train(settings("data.held_out=0.25", "epochs=1", f"initial={held}"), tmp_path / "on", quiet())
    with pytest.raises(ConfigError, match="has learnt ferplus train, of which faces are to choose"):
        training.train(settings("data.held_out=0.5", "epochs=1", f"initial={held}"), tmp_path / "next", quiet())
    with pytest.raises(ConfigError, match="leaves none to choose the epoch"):  # rather than the last epoch in silence
        training.train(settings("data.held_out=0.0001", "epochs=1"), tmp_path / "next", quiet())


def test_the_best_epoch_is_kept_with_its_story(settings, tmp_path):
    best = training.train(settings(), tmp_path / "run", quiet())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    said = load(best).description
    top = max(lines, key=lambda line: line["valid_accuracy"])
    assert said["epoch"] == top["epoch"]
    assert said["figures"]["valid_accuracy"] == top["valid_accuracy"]
    assert said["config"]["data"]["label_rule"] == "distribution"
    assert len(said["data_hash"]["train"]) == 64
    assert said["revision"].startswith("0.")


def test_it_learns_the_faces_that_it_sees(settings, tmp_path):
    still = "augment={flip: 0, rotate: 0, scale: 0, shift: 0, light: 0, erase: 0}"
    config = settings(still, "epochs=30", "optimizer={name: adamw, lr: 0.01}", "schedule.warmup=0")
    training.train(config, tmp_path / "run", quiet())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["accuracy"] > 0.6  # one in eight by chance
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5


def test_a_teacher_is_part_of_the_targets(settings, tmp_path):
    """A learner that has its teacher's word alone comes nearer to it than one that never heard it."""
    teacher = training.train(settings("data.label_rule=majority"), tmp_path / "teacher", quiet())
    few = ["epochs=2", "optimizer.name=adamw", "optimizer.lr=0.003", "ema=null", "augment.erase=0", "augment.occlude=0"]
    taught = [f"loss.teachers=[{teacher}, {teacher}]", "loss.teacher_share=1"]
    faces = open_dataset(settings().data.source)
    pixels = stack_faces(faces, faces.split("train"), 1, 24)
    ids = [sample.id for sample in faces.split("train")]
    said = load(teacher)(pixels, ids).probabilities
    away = {}
    for name, changes in (("alone", few), ("taught", few + taught)):
        learner = load(training.train(settings(*changes), tmp_path / name, quiet()))
        away[name] = np.abs(learner(pixels, ids).probabilities - said).mean()
        assert learner.description["training"]["teachers"] == (
            ["teacher/best.safetensors"] * 2 if name == "taught" else []
        )
    assert away["taught"] < away["alone"]
    training.train(settings("epochs=1"), tmp_path / "other", quiet())
    teacher.write_bytes((tmp_path / "other" / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"is of another run: teacher .* was"):
        training.train(settings(*few, *taught), tmp_path / "taught", quiet(), resume=True)


def test_faces_are_enlarged_before_they_are_changed(settings, monkeypatch):
    config = settings("model.enlarge=40", "augment.occlude=0")
    dataset = open_dataset(config.data.source)
    faces, _ = training.load_faces(config, dataset, dataset.split("train"), config.data.label_rule)
    chosen, model, seen = np.arange(8), RAN(config.model), []
    monkeypatch.setattr(training, "augment", lambda images, *rest: (seen.append(images), augment(images, *rest))[1])
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    training.training_step(model, None, faces, chosen, config, 1, torch.device("cpu"))
    before, after = seen
    torch.testing.assert_close(before, model.prepare(faces.pixels[faces.rows[chosen]]), atol=1e-5, rtol=0)
    assert after.shape == before.shape == (8, 1, 40, 40)


@pytest.mark.parametrize("enlarge", ["null", "40"])
def test_a_teacher_that_sees_the_faces_as_they_are_refines_the_targets_once(enlarge, settings, tmp_path):
    teacher = training.train(settings(f"model.enlarge={enlarge}"), tmp_path / "teacher", quiet())
    config = settings(f"loss.teachers=[{teacher}]", "loss.teacher_share=0.25", "loss.teachers_see=original")
    dataset = open_dataset(config.data.source)
    faces, _ = training.load_faces(config, dataset, dataset.split("train"), config.data.label_rule)
    fabric = training.lightning_fabric.Fabric(accelerator="cpu")
    teachers = training.Teachers(config.loss.teachers, config.model, fabric)
    found = training.refined(faces, teachers, config, batch=7)
    trained, ids = load(teacher), [sample.id for sample in faces.samples]
    seen = teachers(faces.images(np.arange(len(ids))).float() / 255)
    np.testing.assert_allclose(seen, trained(faces.pixels.numpy(), ids).probabilities, atol=1e-5)
    trained.views = 6
    said = trained(faces.pixels.numpy(), ids).probabilities
    np.testing.assert_allclose(found, 0.75 * faces.targets.numpy() + 0.25 * said, atol=1e-5)
    refined = load(training.train(config, tmp_path / "run", quiet()))
    assert refined.description["training"]["teachers"] == ["teacher/best.safetensors"]
    assert refined.description["training"]["classes"] == load(teacher).description["training"]["classes"]


def test_a_teacher_that_sees_other_faces_than_the_learner_is_refused(settings, tmp_path):
    teacher = training.train(settings("epochs=1", "model.size=32"), tmp_path / "teacher", quiet())
    with pytest.raises(ConfigError, match=r"faces of 32 pixels in 1 channel.*expected 24"):
        training.train(settings(f"loss.teachers=[{teacher}]"), tmp_path / "run", quiet())


def test_a_loss_that_is_no_number_says_where_and_what_to_try(settings, tmp_path):
    with pytest.raises(LossError, match=r"epoch 1, step \d+ .*Try a smaller optimizer.lr"):
        training.train(settings("optimizer.lr=1e30"), tmp_path / "run", quiet())


def test_two_runs_do_not_train_into_one_folder(settings, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with locked(run), pytest.raises(ConfigError, match="run: another run is writing it"):
        training.train(settings("epochs=1"), run, quiet())
    assert training.train(settings("epochs=1"), run, quiet()) == run / "best.safetensors"


def test_what_cannot_be_resumed_is_refused(settings, tmp_path):
    run = tmp_path / "run"
    training.train(settings("epochs=1"), run, quiet())
    with pytest.raises(ConfigError, match="holds a run already; add --resume"):
        training.train(settings("epochs=1"), run, quiet())
    with pytest.raises(CheckpointError, match=r"another run: batch was 16 and is now 8; epochs was 1 and is now 2"):
        training.train(settings("epochs=2", "batch=8"), run, quiet(), resume=True)
    with pytest.raises(CheckpointError, match=r"its model is best\.safetensors beside it"):
        load(run / "last.safetensors")
    content = (run / "last.safetensors").read_bytes()
    tensors, about = read_tensors(run / "last.safetensors")
    assert training.train(settings("epochs=1"), run, quiet(), resume=True) == run / "best.safetensors"
    for damaged, told, message in (
        (
            dict(list(tensors.items())[1:]),
            about,
            r"damaged \(Error.* Missing key.*\); remove it to train from the start",
        ),
        (tensors, {key: value for key, value in about.items() if key != "history"}, "damaged, for it lacks history"),
        (tensors, about | {"history": []}, "damaged, for it lacks history"),
    ):
        write_tensors(run / "last.safetensors", damaged, told)
        with pytest.raises(CheckpointError, match=message):
            training.train(settings("epochs=1"), run, quiet(), resume=True)
    with pytest.raises(ConfigError, match=r"best.safetensors: is read here"):
        training.train(settings(f"initial={run / 'best.safetensors'}"), run, quiet(), resume=True)
    (run / "last.safetensors").write_bytes(content[:1000])
    with pytest.raises(CheckpointError, match=r"last.safetensors: truncated"):
        training.train(settings("epochs=1"), run, quiet(), resume=True)


def test_a_full_disk_is_one_error_and_the_last_good_files_stay(settings, tmp_path, monkeypatch):
    run = tmp_path / "run"
    epochs = []
    write = training.write_state

    def full(*arguments):
        epochs.append(1)
        if len(epochs) == 2:
            monkeypatch.setattr("ranfer.checkpoint.os.fsync", no_space)
        write(*arguments)

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "write_state", full)
    with pytest.raises(RanferError, match="No space left on device"):
        training.train(settings(), run, quiet())
    monkeypatch.undo()
    training.train(settings(), run, quiet(), resume=True)
    training.train(settings(), tmp_path / "whole", quiet())
    assert same(run / "last.safetensors", tmp_path / "whole" / "last.safetensors")


def test_a_learning_rate_of_zero_freezes_weights_and_statistics(settings, tmp_path):
    config = settings("optimizer.lr_scale={backbone.conv1: 0, backbone.bn1: 0, backbone: 0.1}", "epochs=1", "ema=null")
    torch.manual_seed(config.seed)
    start = RAN(config.model).state_dict()
    training.train(config, tmp_path / "run", quiet())
    end = load(tmp_path / "run" / "best.safetensors").model.state_dict()
    changed = {name for name in end if not torch.equal(start[name], end[name])}
    assert not {name for name in changed if name.startswith(("backbone.conv1", "backbone.bn1"))}
    assert {"backbone.layer1.0.conv1.weight", "fc.weight"} <= changed
    optimizer = build_optimizer(RAN(config.model), config.optimizer)
    assert {(group["scale"], group["weight_decay"]) for group in optimizer.param_groups} == {
        (0.1, 5e-4),
        (0.1, 0.0),
        (1.0, 5e-4),
        (1.0, 0.0),
    }
    with pytest.raises(ConfigError, match="no weight begins with 'head'"):
        build_optimizer(RAN(config.model), OptimizerConfig(lr_scale={"head": 0.1}))


def test_mixed_precision_trains(settings, tmp_path):
    training.train(settings("precision=bf16-mixed", "epochs=1", "optimizer.clip=1"), tmp_path / "run", quiet())
    assert load(tmp_path / "run" / "best.safetensors").model.fc.weight.dtype == torch.float32


def test_every_shipped_configuration_is_valid():
    files = sorted(Path(__file__).parents[1].glob("configs/*.yaml"))
    runs = [file for file in files if "rows" not in read_yaml(file)]  # the others are tables: see test_experiment.py
    assert len(runs) >= 3
    for file in runs:
        config = parse(TrainConfig, read_yaml(file), str(file))
        with torch.device("meta"):
            RAN(config.model)


def test_schedules_rise_and_fall_as_they_say():
    cosine = ScheduleConfig(name="cosine", warmup=2)
    rates = [learning_rate(cosine, 10, float(epoch)) for epoch in np.linspace(0, 10, 101)]
    assert rates[0] < 0.01
    assert rates[20] == 1
    assert rates[60] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    broken_off = ScheduleConfig(name="cosine", warmup=2, part=0.6)
    assert [learning_rate(broken_off, 6, epoch) for epoch in (1.0, 4.0, 6.0)] == [rates[10], rates[40], rates[60]]
    step = ScheduleConfig(name="step", warmup=0)
    at = [0, 17.9, 18, 30, 47.9, 48, 59]
    expected = [1, 1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert [learning_rate(step, 60, float(epoch)) for epoch in at] == pytest.approx(expected)


def stand_in(expressions: np.ndarray) -> Faces:
    n = len(expressions)
    samples = [Sample(str(i), "train", Location(Path("none")), (1,) * 10) for i in range(n)]
    return Faces(samples, torch.zeros(n, 2, 2, 1, dtype=torch.uint8), np.arange(n), torch.zeros(n, 8), expressions)


def test_faces_of_a_prepared_cache_stay_on_the_disk_and_are_those_of_the_files(settings, faces, tmp_path):
    prepare(open_dataset(faces), tmp_path / "m.jsonl", 24, 1)
    datasets = open_dataset(faces), open_dataset(f"manifest:{tmp_path / 'm.jsonl'}")
    (files, files_hash), (cached, cached_hash) = (
        load_faces(settings(), dataset, dataset.split("train"), "majority") for dataset in datasets
    )
    assert cached.mapped and not files.mapped and cached_hash == files_hash
    assert 0 < len(files.samples) < 96  # some have no majority, so that rows of the cache are skipped
    some = np.array([5, 0, 7])
    assert torch.equal(cached.images(some), files.images(some)) and cached.images(some).shape == (3, 1, 24, 24)


def test_faces_of_which_the_rule_keeps_none_are_refused(settings):
    dataset = open_dataset(settings().data.source)
    tied = tuple(replace(sample, votes=(5, 5) + (0,) * 8) for sample in dataset.split("valid"))
    message = r"none of the 40 faces has a label that the rule keeps \(no majority: 40\)"
    with pytest.raises(DataError, match=message):
        load_faces(settings(), dataset, tied, "majority")
    with pytest.raises(DataError, match=message):  # as calibration and evaluation do
        labelled(replace(dataset, samples=tied), "valid", "majority")


def test_a_network_that_cannot_work_on_such_faces_is_refused_before_faces_are_read(settings, tmp_path, monkeypatch):
    config = settings("model={backbone: {name: vgg16, stem: large}, size: 24}", "data.source=ferplus:nowhere")
    with pytest.raises(ConfigError, match=r"model: it cannot learn from faces of 24 pixels \(.*too small"):
        training.train(config, tmp_path / "run", quiet())


def test_balanced_batches_draw_every_expression_equally_often(settings):
    config = settings("data.balanced=true", "batch=8")
    expressions = np.array([0] * 90 + [1] * 6 + [3] * 4)
    faces = stand_in(expressions)
    drawn = np.concatenate([b for epoch in range(60) for b in batches(faces, config, epoch, 0, 1)])
    share = np.bincount(expressions[drawn], minlength=8) / len(drawn)
    np.testing.assert_allclose(share[[0, 1, 3]], 1 / 3, atol=0.03)


def test_processes_share_an_epoch_without_overlap(settings):
    config = settings("batch=8")
    faces = stand_in(np.zeros(40, int))
    parts = [np.concatenate(list(batches(faces, config, 3, rank, 2))) for rank in (0, 1)]
    assert sorted(np.concatenate(parts)) == list(range(40))


def test_balanced_sampling_is_for_training_and_the_best_epoch_for_other_faces():
    with pytest.raises(RanferError, match="cannot be both learnt and used"):
        parse(TrainConfig, {"data": {"train": "valid", "valid": "valid"}}, "x")
    with pytest.raises(ConfigError, match=r"x: 2 wrong setting\(s\)\n  loss.margin: .*\n  optimiser: "):
        parse(TrainConfig, {"loss": {"margin": -1}, "optimiser": {}}, "x")
    with pytest.raises(ConfigError, match=r"\n  optimizer.rate: no such setting; there are .*\blr\b.* \(got 0.1\)$"):
        parse(TrainConfig, {"optimizer": {"rate": 0.1}}, "x")
    with pytest.raises(ConfigError, match=r"\n  data: data.train must not include the test split$"):
        parse(TrainConfig, {"data": {"train": "test"}}, "x")
    with pytest.raises(ConfigError, match=r"needs self- or relation-attention"):
        baseline = {"model": {"attention": "average"}, "loss": LossConfig(margin=0.1).model_dump()}
        parse(TrainConfig, baseline, "x")
    assert DataConfig().balanced is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=2024-13-45", "--set seed=2024-13-45: the value is not YAML"),
        ("seed=99999999999999999999", r"seed: .* less than"),
        ("loss.class_weights=[1, 2]", r"loss.class_weights: .* at least 8 items"),
        ("loss.class_weights=[1, 1, 1, 1, 1, 1, 1, 0]", r"loss.class_weights.7: .* greater than 0"),
        ("model.region_size=100000", r"model.region_size: .* less than or equal to 1024"),
        ("optimizer.lr=.inf", r"optimizer.lr: .* a finite number"),
        ("schedule.steps=[0.3, 40]", r"schedule.steps.1: .* less than 1"),
        (
            "model.regions={scheme: boxes, boxes: [[0, 0, 1, 1.2]]}",
            r"in fractions of the face.*got \(0.0, 0.0, 1.0, 1.2\)",
        ),
        ("augment.erase_side=[0.5, 0.15]", r"augment.erase_side: .*the sides must rise within \[0, 1\]"),
    ],
)
def test_values_that_no_run_could_use_are_refused_at_once(change, message):
    with pytest.raises(ConfigError, match=message):
        parse(TrainConfig, override({}, [change]), "x")


def test_a_run_without_data_is_told_which_setting_names_them(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.source is not set: --set data.source=FORMAT:PATH"):
        training.train(parse(TrainConfig, TINY, "x"), tmp_path, Console(quiet=True))


def test_a_setting_inside_a_plain_value_is_refused():
    with pytest.raises(ConfigError, match=r"--set data.train.y=1: train is 'train' and has no settings of its own"):
        override({"data": {"train": "train"}}, ["data.train.y=1"])
    assert override({"data": None}, ["data.train=x"]) == {"data": {"train": "x"}}


def test_no_test_split_is_learnt_and_none_chooses_the_epoch_in_silence():
    refused = {
        "data.train must not include the test split": {"train": "train+test"},
        "a split is listed twice in 'train.train'": {"train": "train+train"},
        "'valid' cannot be both learnt and used to choose": {"train": "train+valid"},
        "choosing the epoch on the test split inflates its accuracy": {"valid": "test"},
        "both say what chooses the epoch": {"valid": "test", "choose_on_test": True, "held_out": 0.1},
        "only training faces are ever balanced": {"balanced": "valid"},
        "held_out 0.2 has only 5 folds": {"held_out": 0.2, "fold": 5},
        "held_out 0 has only 0 folds": {"fold": 1},
        "1 / held_out must be a whole number; held_out is 0.3": {"held_out": 0.3, "fold": 1},
    }
    for message, data in refused.items():
        with pytest.raises(ConfigError, match=message):
            parse(TrainConfig, {"data": data}, "x")
    assert DataConfig(valid="test", choose_on_test=True).valid == "test"
    assert DataConfig(valid="test", held_out=0.1).held_out == 0.1
    assert DataConfig(held_out=0.3).fold == 0  # a single part need not divide the whole
    assert DataConfig(held_out=0.333, fold=2).fold == 2


def test_held_out_faces_are_training_faces_that_are_not_learnt(faces):
    dataset = open_dataset(faces)
    learn, held = divide(dataset, DataConfig(held_out=0.25))
    assert sorted(sample.id for sample in [*learn, *held]) == [sample.id for sample in dataset.split("train")]
    assert 10 <= len(held) <= 38 and held == divide(dataset, DataConfig(held_out=0.25))[1]
    more = divide(dataset, DataConfig(held_out=0.5))[1]
    assert {sample.id for sample in held} <= {sample.id for sample in more}  # a face stays where it is
    with pytest.raises(ConfigError, match=r"0.9999 of \d+ training faces leaves none to learn"):
        divide(dataset, DataConfig(held_out=0.9999))
    folds = [divide(dataset, DataConfig(held_out=0.2, fold=fold))[1] for fold in range(5)]
    assert sorted(sample.id for fold in folds for sample in fold) == [sample.id for sample in dataset.split("train")]


STILL = AugmentConfig(flip=0, rotate=0, scale=0, shift=0, light=0, erase=0)


def test_augmentation_with_nothing_set_changes_nothing():
    images = torch.rand(4, 1, 20, 20)
    points = torch.rand(4, 5, 2)
    for before, after in zip((images, points), augment(images, STILL, points), strict=True):
        torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert augment(images, STILL)[1] is None


def test_a_flip_mirrors_and_a_shift_moves():
    images = torch.rand(4, 1, 20, 20)
    flipped = warp(images, random_affine(4, STILL.model_copy(update={"flip": 1.0}), images.device))
    torch.testing.assert_close(flipped, images.flip(-1), atol=1e-5, rtol=0)
    moved = warp(images, random_affine(4, STILL.model_copy(update={"shift": 0.5}), images.device))
    assert (moved - images).abs().mean() > 0.1


def test_landmarks_go_where_the_pixels_go_and_change_sides_in_the_mirror():
    torch.manual_seed(0)
    side, n = 96, 40
    points = 0.3 + 0.4 * torch.rand(n, 5, 2)
    grid = (torch.arange(side) + 0.5) / side
    away = (points[:, :, None, None] - torch.stack(torch.meshgrid(grid, grid, indexing="xy"), dim=-1)).square().sum(-1)
    spots = torch.exp(-away / (2 * 0.02**2))  # (n, 5, h, w): a channel with a bright spot for each landmark
    theta = random_affine(n, AugmentConfig(flip=0.5, rotate=30, scale=0.2, shift=0.05), spots.device)
    moved, found = warp_points(points, theta), warp(spots, theta).flatten(2).argmax(dim=2)
    found = torch.stack([found % side, found // side], dim=2).add(0.5) / side
    mirrored = theta[:, :, :2].det() < 0
    assert 10 < mirrored.sum() < 30
    torch.testing.assert_close(moved[~mirrored], found[~mirrored], atol=0.012, rtol=0)
    torch.testing.assert_close(moved[mirrored], found[mirrored][:, [1, 0, 2, 4, 3]], atol=0.012, rtol=0)


def test_regions_round_landmarks_are_learnt_and_evaluated_without_handing_them_in(settings, faces, tmp_path):
    best = training.train(
        settings("epochs=1", "model.regions.scheme=landmark", "model.regions.radii=[0.2]"), tmp_path / "run", quiet()
    )
    dataset = open_dataset(faces)
    samples = dataset.split("valid")[:4]
    pixels, ids = stack_faces(dataset, samples, channels=3), [sample.id for sample in samples]
    said = load(best)(pixels, ids)
    assert said.boxes is not None and said.boxes.shape == (4, 6, 4)
    points = AttributeModel()(pixels).landmarks
    np.testing.assert_allclose((said.boxes[:, 1:, :2] + said.boxes[:, 1:, 2:]) / 2, points, atol=1e-5)


def test_things_are_drawn_over_as_many_faces_as_asked():
    faces = torch.full((200, 1, 24, 24), 90, dtype=torch.uint8)
    torch.manual_seed(0)
    covered = draw_over(faces, 0.4)
    assert 0.3 < (covered != faces).flatten(1).any(1).float().mean() < 0.5
    torch.manual_seed(0)
    assert torch.equal(draw_over(faces, 0.4), covered)
    assert torch.equal(draw_over(faces, 0.0), faces)


def test_erasing_covers_one_grey_rectangle_of_the_asked_size():
    torch.manual_seed(0)
    images = torch.full((200, 1, 40, 40), -1.0)
    erased = erase(images, 1.0, (0.25, 0.5))
    covered = (erased >= 0).float().mean((1, 2, 3))
    assert covered.min() >= (9 / 40) ** 2
    assert covered.max() <= (21 / 40) ** 2
    assert all(len(face[face >= 0].unique()) == 1 for face in erased)
    assert 0.3 < (erase(images, 0.4, (0.25, 0.5)) >= 0).flatten(1).any(1).float().mean() < 0.5


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_keeps_each_pixel_and_target_in_step(kind):
    torch.manual_seed(0)
    level = torch.arange(8) / 7
    images, targets = level[:, None, None, None].expand(8, 1, 16, 16), torch.eye(8)
    mixed, soft = mix(images, targets, STILL.model_copy(update={kind: 1.0}))
    torch.testing.assert_close(soft.sum(1), torch.ones(8))
    # Each face is of one level, so that the mean of the mixture tells the shares.
    torch.testing.assert_close(mixed.mean((1, 2, 3)), soft @ level)
    assert (soft.max(1).values < 1).any()
