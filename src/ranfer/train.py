"""One training run, from settings to a checkpoint: read it from top to bottom."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import lightning_fabric
import numpy as np
import torch
from jaxtyping import Float, Int
from rich.console import Console
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from ranfer.augment import augment, draw_over, mix
from ranfer.bars import Totals, progress_bars, showing
from ranfer.checkpoint import Trained, description, go_on_from, save_model, start_from
from ranfer.config import TrainConfig
from ranfer.cost import multiply_adds
from ranfer.crop import resize
from ranfer.data import Dataset, open_dataset
from ranfer.errors import ConfigError, LossError
from ranfer.files import locked, refuse_overwriting
from ranfer.losses import cross_entropy, region_biased
from ranfer.metrics import log_losses
from ranfer.model import RAN
from ranfer.optimizer import build_optimizer, freeze_statistics, learning_rate, moving_average
from ranfer.provenance import file_hash, revision
from ranfer.regions import regions_of
from ranfer.run_state import append_metrics, differences, restore, rewrite_metrics, write_state
from ranfer.teachers import Teachers
from ranfer.temperature import apply_temperature, fit_temperature
from ranfer.training_faces import AT_ONCE, Faces, batches, divide, find_points, load_faces
from ranfer.training_record import learnt_by, learnt_selection, training_record
from ranfer.vocab import Progress, silent

BEST, LAST, METRICS = "best.safetensors", "last.safetensors", "metrics.jsonl"


def train(config: TrainConfig, out: Path, console: Console, resume: bool = False) -> Path:
    """Train, and leave in ``out`` the best and the last checkpoint, ``metrics.jsonl`` and TensorBoard's events.

    The epoch is chosen on the validation split (majority), by ``choose_by``; without one, the last is taken. Each epoch
    draws its random numbers from a seed of its own, so that a run that was interrupted and resumed ends in the weights
    of one that was not.

    Returns:
        The path of the best checkpoint.

    Raises:
        ConfigError: ``out`` holds a run already and ``resume`` is False, another process trains there, settings that
            do not go together, or a network that cannot learn from faces of this size.
        CheckpointError: the state to resume is truncated or of other settings, or a checkpoint cannot be written.
        DataError: faces cannot be read, or the label rule keeps none of a split.
        LossError: the loss is no longer a number.
    """
    out.mkdir(parents=True, exist_ok=True)
    # Of several processes that torchrun started, the first writes.
    with locked(out) if int(os.environ.get("RANK", 0)) == 0 else nullcontext():
        return _train(config, out, console, resume)


def _train(config: TrainConfig, out: Path, console: Console, resume: bool) -> Path:
    if (out / LAST).exists() and not resume:
        raise ConfigError(f"{out}: holds a run already; add --resume to go on with it, or name another folder")
    refuse_overwriting([out / BEST, out / LAST], config.taught_by)
    # One device, or with torchrun as many as it starts processes.
    local, world = (int(os.environ.get(name, 1)) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    fabric = lightning_fabric.Fabric(
        accelerator="auto", devices=local, num_nodes=world // local, precision=config.precision
    )
    fabric.launch()
    lead = fabric.is_global_zero
    console = console if lead else Console(quiet=True)

    multiply_adds(config.model)  # or raise, before all faces are read
    dataset = open_dataset(config.data.dataset)
    known = _require_unknown(config, dataset)
    learn, valid, hashes = read_faces(config, dataset, fabric, console)
    # The record comes before teachers, which would give every expression a share.
    record = training_record(config, dataset.origin, len(learn.samples), learn.classes, known)

    model = build_model(config, console).to(fabric.device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    teachers = Teachers(config.loss.teachers, config.model, fabric) if config.loss.teachers else None
    if teachers is not None and config.loss.teachers_see == "original":
        with showing(console) as bar:
            learn, teachers = replace(learn, targets=refined(learn, teachers, config, bar("asking the teachers"))), None
    average = None
    if config.ema is not None:
        average = AveragedModel(model, multi_avg_fn=moving_average(config.ema), use_buffers=True)
    optimizer = build_optimizer(model, config.optimizer)

    about = {
        "config": config.model_dump(mode="json"),
        "data_hash": {
            **hashes,
            "initial": file_hash(config.start) if config.start else None,
            **{f"teacher {path}": file_hash(path) for path in config.loss.teachers},
        },
        "revision": revision(),
        "training": record,
    }
    done, history = 0, list[dict[str, Any]]()
    if (out / LAST).exists():
        done, history = restore(out / LAST, about, model, average, optimizer)
        console.print(f"resuming after epoch {done} of {config.epochs}", highlight=False)
    if lead:
        rewrite_metrics(out / METRICS, history)
    writer = SummaryWriter(str(out / "tensorboard"), purge_step=done + 1) if lead else None

    # All batches are of one size, so one compiled graph serves.
    network = cast(nn.Module, torch.compile(model, dynamic=False)) if config.compile else model
    network, optimizer = fabric.setup(network, optimizer)
    learner = Learner(fabric, model, network, optimizer, average, teachers)
    steps = len(learn.samples) // config.batch
    with progress_bars(console) as bars:
        task = bars.add_task("", total=config.epochs * steps, completed=done * steps)

        def show(epoch: int, totals: Totals) -> None:
            bars.update(task, advance=1, description=f"epoch {epoch}/{config.epochs}  {totals}")

        for epoch in range(done + 1, config.epochs + 1):
            started = time.perf_counter()
            totals, rate = train_epoch(learner, learn, config, epoch, show)
            seconds = time.perf_counter() - started
            figures = validate(learner.kept, valid) if valid else {}
            history.append({"epoch": epoch, "lr": rate, **totals.figures(), **figures, "seconds": round(seconds, 2)})
            if writer is not None:
                save_epoch(out, learner, config, about | {"epoch": epoch, "figures": figures}, history)
                for name, value in history[-1].items():
                    writer.add_scalar(name, value, epoch)
                writer.flush()
            fabric.barrier()
            bars.console.print(
                f"epoch {epoch:3d}  loss {history[-1]['loss']:.4f}  accuracy {history[-1]['accuracy']:.4f}  "
                + (f"validation {figures['valid_accuracy']:.4f}  " if figures else "")
                + f"{seconds:.0f} s",
                highlight=False,
            )
    if writer is not None:
        writer.close()
    best = best_of(history, config.choose_by)
    worth = f"{best['valid_accuracy']:.4f} of {len(valid.samples):,} validation faces (majority)" if valid else "last"
    console.print(f"best: epoch {best['epoch']}, {worth}; {out / BEST}", highlight=False, soft_wrap=True)
    return out / BEST


def _require_unknown(config: TrainConfig, dataset: Dataset) -> list[str]:
    """What initial weights and teachers have learnt, as in ``ferplus train``: no face of it may choose the epoch."""
    known = set[str]()
    for path in config.taught_by:
        told = description(path)
        known.update(learnt_by(told))
        if clash := learnt_selection(told, dataset.origin, config.data):
            raise ConfigError(
                f"{path}: has learnt {clash[0]}, of which faces are to choose the epoch: take weights that have not, "
                "or set data.valid=null"
            )
    return sorted(known)


def read_faces(
    config: TrainConfig, dataset: Dataset, fabric: lightning_fabric.Fabric, console: Console
) -> tuple[Faces, Faces | None, dict[str, str | None]]:
    """The faces to learn from, on the device; those that choose the epoch, if any do; and the hash of each.

    Raises:
        ConfigError: a batch is more than all faces, or cannot be shared between the processes.
        DataError: faces cannot be read, or the label rule keeps none.
    """
    to_learn, to_choose = divide(dataset, config.data)
    with showing(console) as bar:
        learn, learn_hash = load_faces(config, dataset, to_learn, config.data.label_rule, bar("reading faces"))
    if len(learn.samples) < config.batch or config.batch % fabric.world_size:
        raise ConfigError(
            f"batch: {config.batch} faces a step must be at most the {len(learn.samples)} that there are, and "
            f"a multiple of the {fabric.world_size} processes: --set batch=N"
        )
    if config.model.regions.scheme == "landmark":
        with showing(console) as bar:
            learn = replace(learn, points=find_points(learn, bar("finding landmarks")))
    valid, valid_hash = (None, None) if to_choose is None else load_faces(config, dataset, to_choose, "majority")
    chosen_on = f"{len(valid.samples):,} to validate on" if valid else "none to validate on: the last epoch is taken"
    steps = f"{len(learn.samples) // config.batch:,} steps of {config.batch} an epoch"
    console.print(f"{len(learn.samples):,} faces to learn from in {steps}, {chosen_on}", highlight=False)
    return learn.on(fabric.device), valid, {"train": learn_hash, "valid": valid_hash}


def build_model(config: TrainConfig, console: Console) -> RAN:
    """The network with the weights that it starts from: random ones of the seed, and those of the files in ``config``.

    Raises:
        CheckpointError: such a file cannot be read, or does not fit the network.
    """
    torch.manual_seed(config.seed)
    model = RAN(config.model)
    if config.model.backbone.initial is not None:
        start_from(model.backbone, config.model.backbone.initial, console)
    if config.initial is not None:
        was = go_on_from(model, config.initial)
        for line in differences(was.model_dump(mode="json"), config.model.model_dump(mode="json"), "model"):
            console.print(f"{config.initial}: {line}", highlight=False, soft_wrap=True)
    return model


def refined(
    faces: Faces,
    teachers: Teachers,
    config: TrainConfig,
    progress: Progress = silent,
    batch: int = AT_ONCE,
) -> Float[Tensor, "n 8"]:
    """The targets of faces, mixed with what the teachers say of them as they are."""
    said = list[Tensor]()
    for start in range(0, len(faces.samples), batch):
        part = np.arange(start, min(start + batch, len(faces.samples)))
        said.append(teachers.refine(faces.images(part).to(faces.targets.device).float() / 255))
        progress(start + len(part), len(faces.samples))
    return torch.lerp(faces.targets, torch.cat(said), config.loss.teacher_share)


@dataclass(frozen=True)
class Learner:
    """What learns: the model, and all that moves its weights.

    network: the model as it is called in training, compiled and spread over the processes.
    average: the moving average of its weights, or None.  teachers: those that are asked at each step, or None.
    """

    fabric: lightning_fabric.Fabric
    model: RAN
    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    teachers: Teachers | None

    @property
    def kept(self) -> RAN:
        """The model that is validated and saved: the average, where there is one."""
        return self.model if self.average is None else cast(RAN, self.average.module)


def train_epoch(
    learner: Learner, faces: Faces, config: TrainConfig, epoch: int, show: Callable[[int, Totals], None]
) -> tuple[Totals, float]:
    """Learn the faces once, a step a batch; gives the means over the epoch, and the learning rate of its last step.

    ``epoch`` counts from 1; ``show`` is called with it and the means so far, after each step.

    Raises:
        LossError: the loss is no longer a number.
    """
    fabric, optimizer = learner.fabric, learner.optimizer
    torch.manual_seed(_epoch_seed(config.seed, epoch, fabric.global_rank))
    learner.model.train()
    freeze_statistics(learner.model, config.optimizer)
    totals, steps = Totals(), len(faces.samples) // config.batch
    for step, chosen in enumerate(batches(faces, config, epoch, fabric.global_rank, fabric.world_size)):
        rate = config.optimizer.lr * learning_rate(config.schedule, config.epochs, epoch - 1 + step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        loss, right = training_step(learner.network, learner.teachers, faces, chosen, config, epoch, fabric.device)
        totals.add(loss.item(), int(right.item()), len(chosen))
        if not math.isfinite(totals.last):
            raise LossError(_nan_message(faces, chosen, epoch, step, rate))
        fabric.backward(loss)
        if config.optimizer.clip is not None:
            fabric.clip_gradients(learner.network, optimizer, max_norm=config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        if learner.average is not None:
            learner.average.update_parameters(learner.model)
        show(epoch, totals)
    return totals, rate


def training_step(
    network: nn.Module,
    teachers: Teachers | None,
    faces: Faces,
    chosen: Int[np.ndarray, " b"],
    config: TrainConfig,
    epoch: int,
    device: torch.device,
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Loss of one batch, and how many faces the model gives their (mixed) target's top class.

    ``chosen`` are places in ``faces``; ``epoch`` gives ``random`` regions new crops each time.
    """
    # Occluders are drawn at the size that faces come in, and everything else happens at the network's resolution.
    drawn = draw_over(faces.images(chosen).to(device), config.augment.occlude)
    images = resize(drawn.float() / 255, config.model.resolution)
    images, points = augment(images, config.augment, None if faces.points is None else faces.points[chosen])
    images, targets = mix(images, faces.targets[chosen], config.augment)
    images = images.contiguous(memory_format=torch.channels_last)
    if teachers is not None:
        targets = torch.lerp(targets, teachers(images), config.loss.teacher_share)

    regions = config.model.regions.model_copy(update={"seed": config.model.regions.seed + epoch})
    ids = [faces.samples[i].id for i in chosen]
    boxes, mask = regions_of(regions, ids, None if points is None else points.cpu().numpy())
    present = None if mask is None else torch.from_numpy(mask).to(device)
    out = network(images, torch.from_numpy(boxes).to(device), present)

    weights = None if config.loss.class_weights is None else targets.new_tensor(config.loss.class_weights)
    loss = cross_entropy(out.logits, targets, weights, config.loss.label_smoothing)
    if config.loss.margin is not None:
        loss = loss + region_biased(out.mu, config.loss.margin, present)
    return loss, (out.logits.argmax(dim=1) == targets.argmax(dim=1)).sum()


def validate(model: RAN, faces: Faces) -> dict[str, float]:
    """Accuracy and log loss on a split, by the model that would be saved.

    The log loss is that after temperature scaling, as an export does it: else it would praise sharpness.
    """
    predictor = Trained(model)
    ids = [sample.id for sample in faces.samples]
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(ids), AT_ONCE)]
    probabilities = np.concatenate(
        [predictor(faces.pixels[faces.rows[part]].numpy(), ids[part]).probabilities for part in parts]
    )
    temperature = fit_temperature(probabilities, faces.expressions)
    return {
        "valid_accuracy": float((probabilities.argmax(axis=1) == faces.expressions).mean()),
        "valid_temperature": temperature,
        "valid_log_loss": float(log_losses(apply_temperature(probabilities, temperature), faces.expressions).mean()),
    }


def save_epoch(
    out: Path, learner: Learner, config: TrainConfig, about: Mapping[str, Any], history: Sequence[dict[str, Any]]
) -> None:
    """Write the model, if the last epoch of the history is the best; then what a run resumes from; then its metrics.

    In this order nothing is lost: a run that is stopped before the state does the epoch again, and one that is stopped
    after it brings the metrics in line with it when it resumes.
    """
    said = {**about, "train_label_rule": config.data.label_rule}
    if best_of(history, config.choose_by) is history[-1]:
        settings = config.model_dump(mode="json", exclude={"model"})  # the model tells its own
        save_model(out / BEST, learner.kept, said | {"config": settings})
    write_state(out / LAST, said | {"history": history}, learner.model, learner.average, learner.optimizer)
    append_metrics(out / METRICS, history[-1])


def best_of(history: Sequence[dict[str, Any]], by: Literal["accuracy", "log_loss"]) -> dict[str, Any]:
    """The epoch with the highest validation accuracy, or the lowest log loss; of several, the first.

    Where none was validated, it is the last.
    """
    if "valid_accuracy" not in history[-1]:
        return history[-1]
    if by == "accuracy":
        return max(history, key=lambda past: past["valid_accuracy"])
    return min(history, key=lambda past: past["valid_log_loss"])


def _epoch_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _nan_message(faces: Faces, chosen: Int[np.ndarray, " b"], epoch: int, step: int, rate: float) -> str:
    ids = ", ".join(faces.samples[i].id for i in chosen[:4])
    return (
        f"the loss is no longer a number at epoch {epoch}, step {step} (learning rate {rate:.4g}; {len(chosen)} "
        f"faces: {ids}, ...). Try a smaller optimizer.lr, a longer schedule.warmup, optimizer.clip=1, "
        "or precision=32-true. The checkpoints of earlier epochs are untouched."
    )
