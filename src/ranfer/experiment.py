"""A table of training runs: each row is trained and evaluated with each seed, and then all rows are compared.

A stopped table goes on where it was, and a run that fails is a line: the others go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import torch
from rich.console import Console

from ranfer.answers import PredictionsFile
from ranfer.bars import showing
from ranfer.checkpoint import description, load
from ranfer.config import ExperimentConfig, TrainConfig, override, parse, read_yaml
from ranfer.cost import multiply_adds
from ranfer.data import Dataset, open_dataset
from ranfer.data.dataset import require_read
from ranfer.data.face_lists import FaceList, list_hash, read_subset, resolve
from ranfer.data.labels import label
from ranfer.errors import ConfigError, DataError
from ranfer.evaluate import evaluate, write_predictions
from ranfer.experiment_report import Group, Row, Table, write_report
from ranfer.files import atomic_path, locked, write_text
from ranfer.provenance import file_hash
from ranfer.synthetic_occlusion import KINDS, SHARES, Covered, Subjects, answer_covered, cover, prepare_subjects
from ranfer.train import BEST, train
from ranfer.training_faces import divide
from ranfer.training_record import has_learnt

PREDICTIONS, COVERED, DONE = "predictions.csv", "occlusion.npz", "run.json"
RULE = "majority"  # by which all runs are evaluated
DRAWN = f"covered by {100 * SHARES[0]:.0f} to {100 * SHARES[-1]:.0f} %"
PATIENCE = 60.0  # seconds to wait for another process that writes the report


@dataclass(frozen=True)
class Run:
    """One training run of the table; ``start`` is the run whose weights it goes on from."""

    row: str
    seed: int
    config: TrainConfig
    folder: Path
    start: Run | None = None

    @cached_property
    def description(self) -> dict[str, Any]:
        """What must be the same for it not to be trained again; files that are gone are left out."""
        start = {} if self.start is None else {"start": self.start.description}
        known = self.config.taught_by if self.start is None else self.config.loss.teachers
        files = {str(path): file_hash(path) for path in known if path.exists()}
        return {"config": self.config.model_dump(mode="json"), **start, "files": files}

    def is_done(self, benchmark: Mapping[str, Any]) -> bool:
        """Whether it was trained with these settings, and evaluated on what ``benchmark`` describes."""
        try:
            about = json.loads((self.folder / DONE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        except ValueError as error:
            raise DataError(f"{self.folder / DONE}: damaged; remove it to evaluate this run again ({error})") from error
        return bool(_without_gone_files(about) == {**self.description, "benchmark": benchmark})


def _without_gone_files(about: Any) -> Any:
    """A run's description as it would be now that some of its files are gone; no run's description stays as it is."""
    if not isinstance(about, dict) or not isinstance(about.get("files"), dict):
        return about
    there = {name: digest for name, digest in about["files"].items() if Path(name).exists()}
    start = {"start": _without_gone_files(about["start"])} if "start" in about else {}
    return {**about, **start, "files": there}


@dataclass(frozen=True)
class Benchmark:
    """What every run is evaluated by: a split, lists of faces, and a sample of the split for covered faces."""

    dataset: Dataset
    split: str
    lists: Mapping[str, FaceList]
    subjects: Subjects | None

    @cached_property
    def covered(self) -> list[Covered]:
        """The covered faces, drawn once for all runs: drawing takes longer than classifying.

        400 faces of 48 pixels need 100 MB, and of 224 pixels 2.2 GB.
        """
        return [] if self.subjects is None else list(cover(self.subjects))

    def describe(self) -> dict[str, Any]:
        """What must be the same for a run not to be evaluated again."""
        return {
            "data": f"{self.dataset.name}:{self.dataset.path}",
            "split": self.split,
            "label_rule": RULE,
            "faces_sha256": list_hash((sample.id, None) for sample in self.dataset.split(self.split)),
            "subsets": {
                name: list_hash((entry.id, entry.expression) for entry in faces.entries)
                for name, faces in self.lists.items()
            },
            "covered_faces": 0 if self.subjects is None else len(self.subjects.ids),
            "covered_by": None if self.subjects is None else f"{', '.join(KINDS)}; {', '.join(map(str, SHARES))}",
            "landmarks": None if self.subjects is None else self.subjects.placed,
        }


def run_table(
    table: ExperimentConfig,
    out: Path,
    console: Console,
    *,
    changes: Sequence[str] = (),
    only: Sequence[str] = (),
    report: Path | None = None,
    command: str = "",
    complain: Callable[[str], None],
) -> bool:
    """Train and evaluate what is not done yet, in ``out/ROW/seed-N``, and compare all that is done.

    Args:
        changes: settings of all rows, as after ``--set``.  only: train no other rows.
        report: the folder of ``experiment.json``, ``experiment.md`` and plots; ``out`` unless given.
        command: what the report says it was made by.  complain: gets a line a failed run.

    Returns:
        Whether no run failed.

    Raises:
        ConfigError: the table makes no sense, which is found before anything is trained. Or another process has been
            writing the report for a minute.
        DataError: data or lists cannot be read; or no run is done, and there is nothing to report.
    """
    configs = configure(table, changes)
    if unknown := [row for row in only if row not in configs]:
        raise ConfigError(f"no row is called {unknown[0]!r}; there are {', '.join(configs)}")
    runs = _runs(table, configs, out)
    benchmark = _benchmark(table, runs[0].config)
    _require_unknown(configs, benchmark)
    described = benchmark.describe()
    failed = False
    for number, run in enumerate(runs, start=1):
        if run.is_done(described) or (only and run.row not in only):
            continue
        console.rule(f"{number} of {len(runs)}: {run.row}, seed {run.seed}, epochs: {run.config.epochs}")
        torch.compiler.reset()  # it would give up on one network after eight others
        try:
            if run.start is not None and not run.start.is_done(described):  # another process may be at it still
                raise ConfigError(f"it starts from row {run.start.row}, seed {run.seed}, which is not done")
            train(run.config, run.folder, console, resume=True)
            evaluate_run(run, benchmark, console)
        except Exception as error:  # PyTorch raises many kinds; the other rows go on
            complain(f"{run.row}, seed {run.seed}: {' '.join(str(error).split())}")
            failed = True
        else:
            write_text(run.folder / DONE, json.dumps({**run.description, "benchmark": described}, indent=2) + "\n")
    out.mkdir(parents=True, exist_ok=True)
    with _waiting_for(out):  # processes that share a table may end together: the last one reports the runs of all
        done = [run for run in runs if run.is_done(described)]
        if not done:
            raise DataError(f"{out}: no run of this table is done with these settings; there is nothing to compare")
        write_report(_collect(table, configs, runs, done, benchmark, changes), report or out, command)
    return not failed


@contextmanager
def _waiting_for(folder: Path) -> Iterator[None]:
    """As :func:`locked`, but waits up to ``PATIENCE`` seconds for another process.

    Raises:
        ConfigError: it still has the folder.
    """
    deadline = monotonic() + PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except ConfigError:
                if monotonic() >= deadline:
                    raise
                sleep(0.2)
        yield


def configure(table: ExperimentConfig, changes: Sequence[str] = ()) -> dict[str, TrainConfig]:
    """The settings of each row: the base, the changes of the table, ``changes``, and those of the row.

    Raises:
        ConfigError: settings that do not exist or do not go together; rows that differ in their data; the line of
            the row names what is wrong.
    """
    for name, row in table.rows.items():
        keys = {change.partition("=")[0] for change in row.changes}
        if "seed" in keys:
            raise ConfigError(f"row {name} changes seed: set the table's seeds instead")
        if "initial" in keys and row.starts_from is not None:
            raise ConfigError(f"row {name} changes initial, which starts_from sets")
    base = override(read_yaml(table.base), [*table.changes, *changes])
    configs = {
        name: parse(TrainConfig, override(base, row.changes), f"{table.base}, row {name}")
        for name, row in table.rows.items()
    }
    if len({(config.data.source, config.data.valid) for config in configs.values()}) > 1:
        raise ConfigError(
            "the rows of a table are evaluated on the same faces: data.source and data.valid must not differ"
        )
    for name, config in configs.items():
        if (table.split or config.data.valid) in config.data.learnt:
            raise ConfigError(f"row {name} learns {config.data.train}, and could not be evaluated on a split of these")
    costs = dict[str, int]()
    for name, config in configs.items():
        try:
            costs[name] = multiply_adds(config.model)
        except ConfigError as error:
            raise ConfigError(f"{table.base}, row {name}: {error}") from error
    for name, row in table.rows.items():
        if row.compute_of is not None:
            epochs = max(1, round(configs[row.compute_of].epochs * costs[row.compute_of] / costs[name]))
            configs[name] = _changed(configs[name], name, epochs=epochs)
    return configs


def _changed(config: TrainConfig, row: str, **changes: Any) -> TrainConfig:
    """Settings with some replaced; what does not go together is refused, as when they are read."""
    return parse(TrainConfig, config.model_dump() | changes, f"row {row}")


def _require_unknown(configs: Mapping[str, TrainConfig], benchmark: Benchmark) -> None:
    """Refuse a start or a teacher that was trained on the faces on which all are evaluated."""
    for name, config in configs.items():
        for path in filter(Path.exists, config.taught_by):  # without one, its run fails by itself
            if has_learnt(description(path), benchmark.dataset.origin, benchmark.split):
                raise ConfigError(
                    f"row {name}: {path} was trained on {benchmark.split}, on which the rows are to be evaluated"
                )


def _runs(table: ExperimentConfig, configs: Mapping[str, TrainConfig], out: Path) -> list[Run]:
    """All runs, row by row; those of a row that starts from another have its best weights as ``initial``."""
    runs = dict[tuple[str, int], Run]()
    for row, config in configs.items():
        for seed in table.seeds:
            changes: dict[str, Any] = {"seed": seed}
            start = None
            if (name := table.rows[row].starts_from) is not None:
                start = runs[name, seed]
                changes["initial"] = start.folder / BEST
            runs[row, seed] = Run(row, seed, _changed(config, row, **changes), out / row / f"seed-{seed}", start)
    return list(runs.values())


def _benchmark(table: ExperimentConfig, config: TrainConfig) -> Benchmark:
    split = table.split or config.data.valid
    if split is None:
        raise ConfigError("split: say what to evaluate on, because no split chooses the epoch")
    dataset = open_dataset(config.data.dataset)
    if taken := {split, DRAWN} & table.subsets.keys():
        raise ConfigError(f"subsets: {min(taken)!r} is the name of all faces; choose another")
    lists = {name: read_subset(path) for name, path in table.subsets.items()}
    for faces in lists.values():
        resolve(faces, [sample.id for sample in dataset.samples])  # refused now, and not after hours of training
    subjects = None
    if table.occlusion_faces:
        subjects = prepare_subjects(dataset, split, RULE, table.occlusion_faces)
    return Benchmark(dataset, split, lists, subjects)


def evaluate_run(run: Run, benchmark: Benchmark, console: Console) -> None:
    """Ask a run's best model about all faces, and keep its answers in the run's folder.

    Raises:
        RanferError: the model cannot be read or gives no probabilities, or a face cannot be read.
    """
    trained = load(run.folder / BEST, run.config.model.backbone.name).on_best_device()
    # Its own intervals are not used: one replicate makes them cheap.
    with showing(console) as bar:
        evaluation = evaluate(
            benchmark.dataset,
            benchmark.split,
            trained,
            RULE,
            subsets=benchmark.lists,
            replicates=1,
            progress=bar("faces"),
        )
        # All runs must be evaluated on the same faces.
        require_read(list(evaluation.unreadable.values()), benchmark.dataset.samples)
        write_predictions(evaluation, run.folder / PREDICTIONS)
        if benchmark.subjects is None:
            return
        found = answer_covered([trained], benchmark.subjects, cells=benchmark.covered, progress=bar("covered"))
    right = found.mean_right[0]
    with atomic_path(run.folder / COVERED) as partial, partial.open("wb") as file:
        np.savez_compressed(file, right=right)


def _collect(
    table: ExperimentConfig,
    configs: Mapping[str, TrainConfig],
    runs: Sequence[Run],
    done: Sequence[Run],
    benchmark: Benchmark,
    changes: Sequence[str],
) -> Table:
    files = {(run.row, run.seed): PredictionsFile(run.folder / PREDICTIONS) for run in done}
    any_file = next(iter(files.values()))  # the faces of each group, and their labels, are the same for every run
    seen = evaluate(benchmark.dataset, benchmark.split, any_file, RULE, subsets=benchmark.lists, replicates=1)
    seeds = {row: tuple(seed for seed in table.seeds if (row, seed) in files) for row in configs}
    finished = [row for row in configs if seeds[row]]
    groups = {}
    for name, group in {benchmark.split: seen.whole, **seen.subsets}.items():
        ids = [sample.id for sample in group.samples]
        right = {
            row: np.stack([files[row, seed].look_up(ids).predicted == group.truth for seed in seeds[row]]).astype(float)
            for row in finished
        }
        groups[name] = Group(right, len(ids))
    curves: dict[str, np.ndarray] = {}
    if benchmark.subjects is not None:
        covered = {
            row: np.stack([np.load(run.folder / COVERED)["right"] for run in done if run.row == row])
            for row in finished
        }
        curves = {row: right.mean(axis=2) for row, right in covered.items()}
        means = {row: right.mean(axis=1) for row, right in covered.items()}
        groups[DRAWN] = Group(means, len(benchmark.subjects.ids), single=False)
    return Table(
        rows={row: _row(table, row, seeds[row], config, benchmark.dataset) for row, config in configs.items()},
        references=table.references,
        groups=groups,
        shares=SHARES,
        curves=curves,
        missing=tuple(f"{run.row}, seed {run.seed}" for run in runs if run not in done),
        facts={
            "learnt": runs[0].config.data.model_dump(mode="json", exclude={"source"}),
            "base": str(table.base),
            "changes": " ".join([*table.changes, *changes]) or "none",
            **benchmark.describe(),
        },
    )


def _row(table: ExperimentConfig, name: str, seeds: tuple[int, ...], config: TrainConfig, dataset: Dataset) -> Row:
    faces = int(label(divide(dataset, config.data)[0], config.data.label_rule).kept.sum())
    cost = multiply_adds(config.model)
    faces -= faces % config.batch  # those after the last full batch are not used in an epoch
    start = table.rows[name].starts_from
    return Row(table.rows[name].changes, seeds, config.epochs, cost, cost * faces * config.epochs, start)
