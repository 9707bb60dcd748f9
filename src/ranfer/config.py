"""What can be set, as frozen typed models; read from YAML, changed by ``--set key=value``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from ranfer.errors import ConfigError
from ranfer.vocab import Box, LabelRule

S = TypeVar("S", bound="Settings")


Pixels = Annotated[int, Field(gt=0, le=1024)]  # of a side: more would be a mistake


class Settings(BaseModel):
    """Base of all settings: frozen; unknown keys and non-finite numbers are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RegionsConfig(Settings):
    """Which regions a face is cut into; see :mod:`ranfer.regions`."""

    scheme: Literal["none", "fixed5", "fixed7", "random", "landmark", "boxes"] = "fixed5"
    count: PositiveInt = 5  # random
    seed: int = Field(0, ge=0)  # random
    scale: tuple[float, float] = (0.7, 0.95)  # random: least and largest side of a crop
    radii: tuple[float, ...] = (0.25,)  # landmark: fractions of the face's side
    boxes: tuple[Box, ...] = ()  # boxes: the crops themselves, without the face

    @model_validator(mode="after")
    def _consistent(self) -> RegionsConfig:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must rise within (0, 1], got {self.scale}")
        if not self.radii or min(self.radii) <= 0:
            raise ValueError(f"radii must be positive, got {self.radii}")
        if (self.scheme == "boxes") != bool(self.boxes):
            raise ValueError("boxes belong to the scheme 'boxes', and it needs at least one")
        for box in self.boxes:
            if not (0 <= box.left < box.right <= 1 and 0 <= box.top < box.bottom <= 1):
                raise ValueError(
                    "a box is (left, top, right, bottom) in fractions of the face, with left < right and top < bottom; "
                    f"got {tuple(box)}"
                )
        return self


class BackboneConfig(Settings):
    """The network that turns a region into a feature.

    ``name`` is resnet18, resnet34, resnet50, vgg16, compact, or an import path such as ``package.module.function``,
    which is called with ``arguments`` and returns a module from (n, c, s, s) to (n, d) or (n, d, 1, 1).
    """

    name: str = "compact"
    stem: Literal["large", "small"] = "small"  # large halves the image twice before the first stage
    arguments: dict[str, Any] = {}
    initial: Path | None = None  # weights to start from: safetensors, a PyTorch state dict, or an exported ONNX file


Cut = Literal["image", "stem", "stage1", "stage2", "stage3"]  # in the order of a backbone's steps


class ModelConfig(Settings):
    """A Region Attention Network, or with ``attention: none`` its baseline."""

    backbone: BackboneConfig = BackboneConfig()
    size: Pixels = 48  # faces come in this many pixels
    enlarge: Pixels | None = None  # and are enlarged to this many: finer maps, but no more detail
    channels: Literal[1, 3] = 1
    mean: float = 0.5  # of pixels in [0, 1]
    std: float = Field(0.25, gt=0)
    regions: RegionsConfig = RegionsConfig()
    cut: Cut = "image"  # where regions are cut out
    region_size: Pixels | None = None  # pixels of a region there; None: as large as what it is cut from
    attention: Literal["none", "average", "self", "relation"] = "relation"
    normalization: Literal["ratio", "softmax"] = "ratio"  # the equations, or the published code
    dropout: float = Field(0.0, ge=0, lt=1)

    @property
    def resolution(self) -> int:
        """Pixels a side of the faces that the network works on."""
        return self.enlarge or self.size

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.enlarge is not None and self.enlarge <= self.size:
            raise ValueError(f"enlarge must be more than size, which is {self.size}; got {self.enlarge}")
        if (self.attention == "none") != (self.regions.scheme == "none"):
            raise ValueError(
                "attention 'none' and regions.scheme 'none' go together (the baseline sees the face alone); "
                f"got attention {self.attention!r} with scheme {self.regions.scheme!r}"
            )
        return self


class LossConfig(Settings):
    """What training minimises; see :mod:`ranfer.losses`."""

    margin: float | None = Field(None, ge=0)  # of the region-biased loss; None leaves it out
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    # In the order of Expression.
    class_weights: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=8, max_length=8)] | None = None
    teachers: tuple[Path, ...] = ()  # checkpoints whose answers are part of the targets; see :mod:`ranfer.teachers`
    teacher_share: float = Field(0.5, gt=0, le=1)  # how large a part
    teachers_see: Literal["changed", "original"] = "changed"  # faces as the learner does, or once as they are


class DataConfig(Settings):
    """Which faces are learnt and which choose the best epoch: never the test split, unless set explicitly."""

    source: str = ""  # FORMAT:PATH
    train: str = "train"  # several splits are joined by +, as in train+valid
    valid: str | None = "valid"  # None: no epoch is chosen, and the last is taken
    held_out: float = Field(0.0, ge=0, lt=1)  # this share of the training faces chooses the epoch, instead of ``valid``
    fold: int = Field(0, ge=0)  # which such share, from 0: runs over all 1 / held_out of them cross-validate
    choose_on_test: bool = False  # let ``valid: test`` choose it; every report of the model will say so
    label_rule: LabelRule = "distribution"  # of the training targets
    balanced: bool = False  # draw training faces so that every expression comes equally often

    @field_validator("balanced", mode="before")
    @classmethod
    def _only_training(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lower() not in ("true", "false"):
            raise ValueError(
                "only training faces are ever balanced, and nothing that is evaluated: expected true or false"
            )
        return value

    @property
    def dataset(self) -> str:
        """``source``, or a ConfigError where it is not set."""
        if not self.source:
            raise ConfigError("data.source is not set: --set data.source=FORMAT:PATH")
        return self.source

    @property
    def learnt(self) -> tuple[str, ...]:
        """The splits that are learnt."""
        return tuple(self.train.split("+"))

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if "test" in self.learnt:
            raise ValueError("data.train must not include the test split")
        if len(set(self.learnt)) < len(self.learnt):
            raise ValueError(f"a split is listed twice in {self.train!r}")
        if self.fold:
            folds = 1 / self.held_out if self.held_out else 0.0
            if abs(folds - round(folds)) > 0.01:  # 0.333 is meant as a third
                raise ValueError(
                    f"fold {self.fold}: 1 / held_out must be a whole number; held_out is {self.held_out:g}"
                )
            if self.fold >= round(folds):
                raise ValueError(
                    f"fold {self.fold}: held_out {self.held_out:g} has only {round(folds)} folds, counted from 0"
                )
        if self.held_out:
            if self.choose_on_test:
                raise ValueError("held_out and choose_on_test both say what chooses the epoch")
        elif self.valid in self.learnt:
            raise ValueError(
                f"the split {self.valid!r} cannot be both learnt and used to choose the best epoch; "
                "valid=null takes the last epoch"
            )
        elif (self.valid == "test") != self.choose_on_test:
            raise ValueError(
                "choosing the epoch on the test split inflates its accuracy: set held_out, such as 0.1, to let a part "
                "of the training faces choose it; or both valid to 'test' and choose_on_test to true, which every "
                "report will say"
            )
        return self


class AugmentConfig(Settings):
    """Random changes of training faces; see :mod:`ranfer.augment`."""

    flip: float = Field(0.5, ge=0, le=1)  # probability
    rotate: float = Field(10.0, ge=0, le=180)  # degrees, either way
    scale: float = Field(0.1, ge=0, lt=1)  # fraction, either way
    shift: float = Field(0.06, ge=0, lt=1)  # fraction of the side, either way
    light: float = Field(0.2, ge=0, lt=1)  # fraction of contrast and of brightness, either way
    occlude: float = Field(0.0, ge=0, le=1)  # probability of a thing drawn over the face
    erase: float = Field(0.25, ge=0, le=1)  # probability
    erase_side: tuple[float, float] = (0.15, 0.5)  # fractions of the side
    mixup: float = Field(0.0, ge=0)  # parameter of the Beta distribution; 0 leaves it out
    cutmix: float = Field(0.0, ge=0)

    @field_validator("erase_side")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] <= value[1] <= 1:
            raise ValueError("the sides must rise within [0, 1]")
        return value


class OptimizerConfig(Settings):
    """How weights move."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)  # sgd, with Nesterov's step
    weight_decay: float = Field(5e-4, ge=0)  # of matrices and kernels; biases and normalisation are left alone
    clip: float | None = Field(None, gt=0)  # largest norm of the gradient
    lr_scale: dict[str, Annotated[float, Field(ge=0)]] = {}  # by the longest prefix of a weight's name; 0 freezes it


class ScheduleConfig(Settings):
    """The learning rate over the run."""

    name: Literal["cosine", "step"] = "cosine"
    part: float = Field(1.0, gt=0, le=1)  # of the schedule that is run: 0.75 stops after three quarters
    warmup: float = Field(1.0, ge=0)  # epochs of linear rise
    steps: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.3, 0.5, 0.8)  # step: parts of the epochs, then it falls
    factor: float = Field(0.1, gt=0, le=1)  # step: to this part


class TrainConfig(Settings):
    """One training run."""

    model: ModelConfig = ModelConfig()
    initial: Path | None = None  # a whole model to start from; model.backbone has one for the backbone alone
    loss: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    epochs: PositiveInt = 30
    batch: PositiveInt = 128  # faces a step, over all devices
    ema: float | None = Field(0.998, ge=0, lt=1)  # decay of the averaged weights; None keeps the last ones
    choose_by: Literal["accuracy", "log_loss"] = "accuracy"  # the figure on validation faces that chooses the epoch
    seed: int = Field(0, ge=0, lt=2**63)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False

    @property
    def start(self) -> Path | None:
        """The file whose weights the run starts from, for the whole model or its backbone."""
        return self.initial or self.model.backbone.initial

    @property
    def taught_by(self) -> tuple[Path, ...]:
        """The files whose knowledge the run takes over: the start and the teachers."""
        return (*filter(None, (self.start,)), *self.loss.teachers)

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.loss.margin is not None and self.model.attention not in ("self", "relation"):
            raise ValueError(f"loss.margin needs self- or relation-attention, got {self.model.attention!r}")
        if self.initial is not None and self.model.backbone.initial is not None:
            raise ValueError("initial and model.backbone.initial both say what to start from")
        return self


class RowConfig(Settings):
    """A row of a table of runs: what it changes, and how long it is trained."""

    changes: tuple[str, ...] = ()  # as after --set
    compute_of: str | None = None  # train for as many epochs as cost what this row costs; None: for those of the base
    starts_from: str | None = None  # an earlier row, from whose best weights with the same seed each run goes on


class ExperimentConfig(Settings):
    """A table of runs that differ in a few settings, each with several seeds; see :mod:`ranfer.experiment`."""

    base: Path  # settings of a training run
    changes: tuple[str, ...] = ()  # of all rows
    rows: dict[Annotated[str, Field(pattern=r"^\w[\w.+-]*$")], RowConfig]  # names are folders, too
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0, 1, 2), min_length=1)
    references: tuple[str, ...] = Field(min_length=1)  # rows that all others are compared with
    split: str | None = None  # to evaluate on; None: data.valid
    subsets: dict[str, Path] = {}  # lists of faces to evaluate separately
    occlusion_faces: int = Field(400, ge=0)  # faces of the split to draw things over; 0: none

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        for name in (*self.references, *(row.compute_of for row in self.rows.values() if row.compute_of is not None)):
            if name not in self.rows:
                raise ValueError(f"no row is called {name!r}; there are {', '.join(self.rows)}")
        if any(self.rows[row.compute_of].compute_of for row in self.rows.values() if row.compute_of is not None):
            raise ValueError("compute_of names a row that is itself trained by compute")
        earlier = list[str]()
        for name, row in self.rows.items():
            if row.starts_from not in (None, *earlier):
                raise ValueError(f"row {name} starts from {row.starts_from!r}, which is no earlier row")
            earlier.append(name)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"a seed is listed twice: {self.seeds}")
        return self


# Of a value in the form of a date or number that is not a valid one.
_YAML_VALUES = (ValueError, KeyError, AttributeError)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a dictionary.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, *_YAML_VALUES) as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected settings as 'key: value' lines, got {type(values).__name__}")
    return values


def override(values: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """``values`` with each change ``outer.inner=value`` made, the value read as YAML.

    Raises:
        ConfigError: a change is not of this form, its value is not YAML, or ``outer`` is set to a plain value.
    """
    result = dict(values)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {change}: expected key=value, as in --set optimizer.lr=0.1")
        *outer, last = key.split(".")
        level = result
        for name in outer:
            inner = level.get(name)
            if not isinstance(inner, dict | None):
                raise ConfigError(f"--set {change}: {name} is {inner!r} and has no settings of its own")
            level[name] = dict(inner or {})
            level = level[name]
        try:
            level[last] = yaml.safe_load(text)
        except (yaml.YAMLError, *_YAML_VALUES) as error:
            raise ConfigError(f"--set {change}: the value is not YAML") from error
    return result


def parse(kind: type[S], values: dict[str, Any], where: str) -> S:
    """Settings of a kind from plain values; every wrong or unknown key is named in one ConfigError."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            # The values of a whole group would not help.
            got = "" if isinstance(e["input"], dict) else f" (got {e['input']!r})"
            told = e["msg"].removeprefix("Value error, ")  # which pydantic puts before our own
            if e["type"] == "extra_forbidden":
                told = f"no such setting{_there_are(kind, e['loc'][:-1])}"
            lines.append(f"  {'.'.join(map(str, e['loc'])) or 'settings'}: {told}{got}")
        raise ConfigError("\n".join([f"{where}: {len(lines)} wrong setting(s)", *lines])) from None


def _there_are(kind: type[Settings], outer: Sequence[int | str]) -> str:
    """The settings of a group, for a message; nothing for one that is in a list or in a table's rows."""
    for name in outer:
        inner = kind.model_fields[str(name)].annotation
        if not (isinstance(inner, type) and issubclass(inner, Settings)):
            return ""
        kind = inner
    return f"; there are {', '.join(kind.model_fields)}"
