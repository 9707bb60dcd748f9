"""Every configuration in configs/ is read, and trains for a few steps on a small drawn dataset of its own format."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from layouts import RAFDB, write_affectnet, write_folder, write_rafdb, write_sfew
from ranfer.checkpoint import read_named
from ranfer.config import TrainConfig, override, parse, read_yaml
from ranfer.data import open_dataset
from ranfer.data.drawn import write_ferplus
from ranfer.data.manifest import prepare
from ranfer.train import train
from test_cli import run

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(file for file in CONFIGS.rglob("*.yaml") if "rows" not in read_yaml(file))  # a table is no run
PUBLISHED = sorted((CONFIGS / "published").glob("*.yaml"))
BATCH = 4


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A small dataset for each source that a configuration names, by the start of the source."""
    folder = tmp_path_factory.mktemp("data")
    codes = {f"{n:056x}": n % 8 for n in range(16)}
    rafdb = {f"{split}_{n:05d}": RAFDB[n % 7] for split in ("train", "test") for n in range(14)}
    ferplus = write_ferplus(folder / "ferplus", {"train": 16, "valid": 8}).data
    affectnet = write_affectnet(folder / "affectnet", codes, {f"{n + 99:056x}": n % 8 for n in range(8)})
    made = {"ferplus:": f"ferplus:{ferplus}", "rafdb:": f"rafdb:{write_rafdb(folder / 'basic', rafdb)}"}
    made["folder:"] = f"folder:{write_folder(folder / 'faces', ('happy', 'sad', 'angry'), 8)}"
    for name, data in {
        "affectnet.": f"affectnet:{affectnet}",
        "affectnet7.": f"affectnet7:{affectnet}",
        "sfew.": f"sfew:{write_sfew(folder / 'sfew', 2)}",
    }.items():
        prepare(open_dataset(data), folder / f"{name}jsonl", 32)
        made[f"manifest:data/{name}"] = f"manifest:{folder / name}jsonl"
    return made


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_configuration_trains_for_a_few_steps(file, sources, tmp_path):
    values = read_yaml(file)
    assert parse(TrainConfig, values, str(file)).data.source
    source = next(made for start, made in sources.items() if values["data"]["source"].startswith(start))
    small = ["model.size=32", "model.region_size=null", f"batch={BATCH}", "epochs=1", "compile=false"]
    small += [
        "loss.teachers=[]",
        "precision=32-true",
        "model.backbone.initial=null",
        "initial=null",
        f"data.source={source}",
    ]
    if "held_out" in values["data"]:
        small.append("data.held_out=0.4")
    config = parse(TrainConfig, override(values, small), str(file))
    train(config, tmp_path / "run", Console(file=io.StringIO()))
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["loss"] > 0


def test_fine_tuning_starts_from_the_shipped_weights_and_leaves_frozen_ones_alone(sources, tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    config = CONFIGS / "fine-tune.yaml"
    words = ("--set", f"data.source={sources['folder:']}", "--set", "epochs=1", "--set", f"batch={BATCH}")
    found = run("train", config, *words, "--out", tmp_path / "run")
    assert "model." not in found.output  # the network is the one that the weights are of
    shipped = read_named(parse(TrainConfig, read_yaml(config), str(config)).initial)
    tuned = read_named(tmp_path / "run" / "best.safetensors")
    weights = {name: tuned[name] for name in tuned if name.startswith("backbone.") and "batches" not in name}
    assert weights.keys() <= shipped.keys()
    changed = {name for name, tensor in weights.items() if not torch.equal(tensor, shipped[name].to(tensor.dtype))}
    assert {name for name in weights if name.startswith(("backbone.conv1", "backbone.bn1"))}.isdisjoint(changed)
    assert changed >= {name for name in weights if ".conv" in name} - {"backbone.conv1.weight"}


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_no_published_experiment_chooses_its_epoch_on_the_faces_it_is_evaluated_on(file):
    config = parse(TrainConfig, read_yaml(file), str(file))
    assert config.data.held_out or config.data.source.startswith("ferplus:")
    assert not config.data.choose_on_test


def test_every_published_experiment_has_a_row_in_the_ledger():
    ledger = (CONFIGS.parent / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert len(PUBLISHED) == 8
    assert [file.name for file in PUBLISHED if f"configs/published/{file.name}" not in ledger] == []
