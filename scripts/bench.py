"""Measure training, inference and the data path in one run, on the CPU, with random weights and random faces.

    python scripts/bench.py --seconds 20 --compile --onnx model.onnx --out bench.json

A training step and an inference call of ours stand against the plain form: regions in a loop, each with its own slice,
its own ``interpolate`` and its own call of the backbone, float32, channels first. Other forms: ours, as it is;
compiled; ONNX, a file of ours on ONNX Runtime. They take turns within a round, and so does a product of two large
matrices: ratios and shares are taken within rounds, so that drift of the machine cancels, and given as median and
quartiles. GFLOP are those of the plain form's convolutions and products, for all forms alike: what another form
computes beyond that earns it nothing. In training the forms differ in one thing: the plain one normalises each region's
batch by itself.

The data path alone takes its turns, too: random order, bytes to floats, augmentation and mixing, without the network.
Nothing is asserted about time; that the forms give the same logits is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

from ranfer.augment import augment, draw_over, mix
from ranfer.checkpoint import Trained
from ranfer.config import ModelConfig, RegionsConfig, TrainConfig, parse, read_yaml
from ranfer.crop import crop, resize
from ranfer.errors import RanferError
from ranfer.files import write_text
from ranfer.model import RAN, Output
from ranfer.optimizer import build_optimizer
from ranfer.provenance import revision
from ranfer.regions import fixed_regions
from ranfer.runtime import OnnxModel
from ranfer.session import open_session
from ranfer.train import training_step
from ranfer.training_faces import Faces, batches
from ranfer.vocab import Box, Expression, Location, Sample

CONFIGS = Path(__file__).parent.parent / "configs"
NAMES = ("baseline", "ran-image", "ran-stem")
FACES = 28_558  # as many as FERPlus has for training: the random order must miss the caches as it does there
MATRIX = 2048
LEAST_ROUNDS = 5
INFERENCE_BATCHES = (1, 64)
CPU = torch.device("cpu")

Form = Callable[[], Any]


class Plain(RAN):
    """The plain form of the network: regions one after the other; boxes must lie on whole pixels."""

    def forward(self, images: Tensor, boxes: Tensor | None = None, mask: Tensor | None = None) -> Output:
        boxes = self.boxes if boxes is None else boxes
        assert boxes is not None
        steps = self.backbone.steps
        maps = (images.contiguous() - self.config.mean) / self.config.std
        for step in steps[: self.cut]:
            maps = step(maps)
        features = []
        for box in boxes[0]:
            region = maps if self.config.regions.scheme == "none" else self.region(maps, box)
            for step in steps[self.cut :]:
                region = step(region)
            features.append(region)
        representation, mu, nu, weight = self.attention(torch.stack(features, dim=1), mask)
        return Output(self.fc(self.dropout(representation)), representation, mu, nu, weight)

    def region(self, maps: Tensor, box: Tensor) -> Tensor:
        left, top, right, bottom = (box * maps.shape[-1]).round().int().tolist()
        size = self.config.region_size or maps.shape[-1]
        return interpolate(maps[..., top:bottom, left:right], size=(size, size), mode="bilinear", antialias=True)


class PlainWithOurCrops(Plain):
    """The plain form with the pixels of our crops, for the check: there the two forms must agree to rounding."""

    def region(self, maps: Tensor, box: Tensor) -> Tensor:
        return crop(maps, box[None, None], self.config.region_size or maps.shape[-1])[:, 0]


def on_whole_pixels(config: ModelConfig) -> ModelConfig:
    """The model with its boxes moved to whole pixels of what they are cut from: a slice knows no others."""
    shared = fixed_regions(config.regions)
    if config.regions.scheme == "none" or shared is None:
        return config
    model = RAN(config).eval()
    maps = torch.zeros(1, config.channels, config.resolution, config.resolution)
    for step in model.backbone.steps[: model.cut]:
        maps = step(maps)
    side = maps.shape[-1]
    boxes = tuple(Box(*(round(float(edge) * side) / side for edge in box)) for box in shared[1:])
    return config.model_copy(update={"regions": RegionsConfig(scheme="boxes", boxes=boxes)})


def compile_in_place(model: RAN) -> RAN:
    """The network compiled as ``compile: true`` in the settings does it."""
    torch.compiler.reset()  # the compiler counts versions of forward over all networks, and gives up after eight
    model.compile(dynamic=False)
    return model


def make(kind: type[RAN], config: ModelConfig, layout: torch.memory_format = torch.contiguous_format) -> RAN:
    """A network with random weights, the same for each kind."""
    torch.manual_seed(0)
    model = kind(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # a fresh block is its shortcut alone, and would hide what it computes
            nn.init.uniform_(module.weight, 0.5, 1.0)
    model.to(memory_format=layout)  # type: ignore[call-overload]  # torch's annotations lack this form
    return model


@torch.inference_mode()
def check(config: ModelConfig) -> float:
    """Assert that the plain form computes what ours does; the largest difference of a logit as they are timed.

    A slice does not see the pixels beyond its edge, which our crops blend in as Pillow's ``resize(box=...)`` does. So
    the crops are compared within their outermost row, and the networks on the same crops.
    """
    ours, plain, same_crops = (make(kind, config).eval() for kind in (RAN, Plain, PlainWithOurCrops))
    images = torch.rand(8, config.channels, config.resolution, config.resolution)
    expected = ours(images)
    torch.testing.assert_close(tuple(same_crops(images)), tuple(expected), rtol=1e-4, atol=1e-6)
    if config.regions.scheme != "none":
        assert isinstance(plain, Plain) and isinstance(same_crops, Plain) and ours.boxes is not None
        maps = images
        for step in ours.backbone.steps[: ours.cut]:
            maps = step(maps)
        for box in ours.boxes[0]:
            sliced, cropped = (model.region(maps, box)[..., 1:-1, 1:-1] for model in (plain, same_crops))
            torch.testing.assert_close(sliced, cropped, rtol=1e-4, atol=1e-4)
    return float((plain(images).logits - expected.logits).abs().max())


def interleave(forms: Mapping[str, Form], seconds: float) -> dict[str, np.ndarray]:
    """Seconds of each form in each round; two rounds warm up."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    end = 0.0
    for number in count(-2):
        if number == 0:
            end = time.perf_counter() + seconds
        if number >= LEAST_ROUNDS and time.perf_counter() >= end:
            break
        for name, form in forms.items():
            started = time.perf_counter()
            form()
            if number >= 0:
                times[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in times.items()}


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return {"median": median, "q1": low, "q3": high}


def matrix_product() -> Form:
    one, other = torch.rand(2, MATRIX, MATRIX)
    return lambda: one @ other


def count_flop(form: Form) -> int:
    with FlopCounterMode(display=False) as counter:
        form()
    return int(counter.get_total_flops())


def training(model: RAN, faces: Faces, config: TrainConfig) -> Form:
    """A training step: augmentation, forward, loss, backward, optimiser."""
    optimizer = build_optimizer(model.train(), config.optimizer)
    chosen = endless_batches(faces, config)

    def step() -> None:
        loss, _ = training_step(model, None, faces, next(chosen), config, 1, CPU)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def data_path(faces: Faces, config: TrainConfig) -> Form:
    """What a training step does before the network."""
    chosen = endless_batches(faces, config)

    def batch() -> None:
        indices = next(chosen)
        images = resize(draw_over(faces.images(indices), config.augment.occlude).float() / 255, config.model.resolution)
        mix(augment(images, config.augment)[0], faces.targets[indices], config.augment)

    return batch


def endless_batches(faces: Faces, config: TrainConfig) -> Iterator[np.ndarray]:
    return chain.from_iterable(batches(faces, config, epoch, 0, 1) for epoch in count(1))


def random_faces(config: ModelConfig) -> Faces:
    generator = torch.Generator().manual_seed(0)
    shape = (FACES, config.size, config.size, config.channels)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    columns = torch.randint(0, len(Expression), (FACES,), generator=generator)
    samples = [Sample(str(i), "train", Location(Path("none")), (1,) * 10) for i in range(FACES)]
    targets = torch.eye(len(Expression))[columns]
    return Faces(samples, pixels, np.arange(FACES), targets, columns.numpy())


def measure_training(
    name: str, config: TrainConfig, seconds: float, compiled: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of a training step, and of the data path against it."""
    faces = random_faces(config.model)
    plain = training(make(Plain, config.model), faces, config)
    forms = {
        "plain": plain,
        "ours": training(make(RAN, config.model, torch.channels_last), faces, config),
    }
    if compiled:
        model = compile_in_place(make(RAN, config.model, torch.channels_last))
        forms["compiled"] = training(model, faces, config)
    flop = count_flop(plain)
    times = interleave({**forms, "data path": data_path(faces, config), "matrix": matrix_product()}, seconds)
    row = {"model": name, "work": "training", "batch": config.batch, **describe(times, list(forms), flop)}
    data = {
        "model": name,
        "images_per_second": quartiles(config.batch / times["data path"]),
        "training_consumes": {form: quartiles(config.batch / times[form]) for form in forms},
        "factor": {form: quartiles(times[form] / times["data path"]) for form in forms},
    }
    return row, data


def measure_inference(
    name: str, config: ModelConfig, batch: int, seconds: float, compiled: bool, onnx: OnnxModel | None = None
) -> dict[str, Any]:
    """The row of an inference call: bytes in, probabilities and region weights out."""
    faces = np.random.default_rng(0).integers(0, 256, (batch, config.size, config.size, 3), dtype=np.uint8)
    ids = [str(i) for i in range(batch)]
    models = {"plain": make(Plain, config), "ours": make(RAN, config)}
    if compiled:
        models["compiled"] = compile_in_place(make(RAN, config))
    forms: dict[str, Form] = {form: partial(Trained(model), faces, ids) for form, model in models.items()}
    if onnx is not None:
        forms["ONNX"] = partial(onnx, faces, ids)
    flop = count_flop(forms["plain"])
    times = interleave({**forms, "matrix": matrix_product()}, seconds)
    return {"model": name, "work": "inference", "batch": batch, **describe(times, list(forms), flop)}


def describe(times: Mapping[str, np.ndarray], forms: list[str], flop: int) -> dict[str, Any]:
    matrix = 2 * MATRIX**3 / times["matrix"]
    return {
        "rounds": len(matrix),
        "gflop": flop / 1e9,
        "matrix_gflop_per_second": quartiles(matrix / 1e9),
        "forms": {
            form: {
                "seconds": quartiles(times[form]),
                "times_faster_than_plain": quartiles(times["plain"] / times[form]),
                "gflop_per_second": quartiles(flop / times[form] / 1e9),
                "share_of_matrix_rate": quartiles(flop / times[form] / matrix),
            }
            for form in forms
        },
    }


def show(report: Mapping[str, Any], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "work, batch", "form"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ms", "x plain", "quartiles", "GFLOP/s", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report["measurements"]:
        for form, said in row["forms"].items():
            first = form == "plain"
            ratio = said["times_faster_than_plain"]
            table.add_row(
                row["model"] if first else "",
                f"{row['work']} {row['batch']}" if first else "",
                form,
                f"{1000 * said['seconds']['median']:.1f}",
                "" if first else f"{ratio['median']:.2f}",
                "" if first else f"{ratio['q1']:.2f}-{ratio['q3']:.2f}",
                f"{said['gflop_per_second']['median']:.1f}",
                f"{said['share_of_matrix_rate']['median']:.0%}",
            )
    console.print(table)
    for data in report["data_path"]:
        form, factor = min(data["factor"].items(), key=lambda item: item[1]["median"])  # the fastest asks for most
        console.print(
            f"data path alone, {data['model']}: {data['images_per_second']['median']:,.0f} images/s, "
            f"training ({form}) consumes {data['training_consumes'][form]['median']:,.0f}: "
            f"factor {factor['median']:.1f} ({factor['q1']:.1f} to {factor['q3']:.1f})"
        )
    rates = [row["matrix_gflop_per_second"]["median"] for row in report["measurements"]]
    machine = report["machine"]
    console.print(
        f"{machine['threads']} threads, torch {machine['torch']}, {machine['processor']}; share is of a float32 "
        f"product of {MATRIX} x {MATRIX}, {min(rates):.1f} to {max(rates):.1f} GFLOP/s; "
        f"peak memory {report['peak_memory_mb']:,.0f} MB"
    )


def processor() -> str:
    """The processor's name; only Linux's own list of processors tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def peak_memory() -> float:
    """Megabytes (10^6) of this process at its largest."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes there, KiB elsewhere


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures here, not to standard output")
    parser.add_argument("--seconds", type=float, default=20.0, help=f"a measurement; at least {LEAST_ROUNDS} rounds")
    parser.add_argument("--compile", action="store_true", help="measure the compiled model, too")
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="measure this file of ours on ONNX Runtime, too")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    progress = Console(stderr=True, highlight=False)

    compiled = options.compile and bool(shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++"))
    if options.compile and not compiled:
        progress.print("no C++ compiler here: the compiled model is left out")
    onnx = None
    if options.onnx is not None:
        try:
            onnx = OnnxModel(options.onnx, open_session(options.onnx, torch.get_num_threads()))
        except RanferError as error:
            sys.exit(str(error))

    differences: dict[str, float] = {}
    measurements, data_paths = [], []
    for name in NAMES:
        path = CONFIGS / f"{name}.yaml"
        config = parse(TrainConfig, read_yaml(path), str(path))
        config = config.model_copy(update={"model": on_whole_pixels(config.model)})
        differences[name] = check(config.model)
        progress.print(f"{name}: training step")
        row, data = measure_training(name, config, options.seconds, compiled)
        measurements.append(row)
        data_paths.append(data)
        for batch in INFERENCE_BATCHES:
            progress.print(f"{name}: inference, batch {batch}")
            measurements.append(measure_inference(name, config.model, batch, options.seconds, compiled))
    if onnx is not None:
        settings = {**onnx.description["model"], "backbone": {**onnx.description["model"]["backbone"], "initial": None}}
        model = on_whole_pixels(parse(ModelConfig, settings, str(options.onnx)))
        differences[options.onnx.name] = check(model)
        for batch in INFERENCE_BATCHES:
            progress.print(f"{options.onnx.name}: inference, batch {batch}")
            measurements.append(measure_inference(options.onnx.name, model, batch, options.seconds, False, onnx))

    report = {
        "machine": {
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "ranfer": revision(),
        },
        "measurements": measurements,
        "data_path": data_paths,
        "largest_difference_of_logits": differences,
        "peak_memory_mb": peak_memory(),
    }
    show(report, console)
    if options.out is None:
        print(json.dumps(report))
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.out, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
