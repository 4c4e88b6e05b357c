"""The configuration of an experiment: what is trained, pruned, judged and shown.

It is read from a TOML file, in which the tables ``[small]`` and ``[full]`` say what a scale has
different from the rest; see docs/how-to/experiments.md.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leanline.errors import ConfigError
from leanline.pruning import Schedule
from leanline.records.settings import coerce, nearest
from leanline.training import TrainingConfig
from leanline.training.retrain import BATCH_NORM_BATCHES

PARTS = ("curves", "speed", "structure", "pictures", "networks")
"""What an experiment may show: Figure 4.3, Figure 4.4, Figure A2, Figure A1, Table 4.1."""


@dataclass(frozen=True)
class Fitting:
    """Training of the dense network, or retraining after each stage of pruning.

    Attributes:
        iterations: steps of Adam; or else
        epochs: passes over the training pictures.
        growth: of retraining: a stage that keeps a fraction k takes k ** -growth times as many.
        batch_size: pictures a step.
        lr: step size.
        lr_schedule: "constant" or "cosine".
        every: of training: steps between two evaluations.
        batch_norm_batches: of retraining: see `leanline.training.Retrain`.
    """

    iterations: int | None = None
    epochs: float | None = None
    growth: float = 0.0
    batch_size: int = 5
    lr: float = 1e-3
    lr_schedule: str = "constant"
    every: int = 200
    batch_norm_batches: int = BATCH_NORM_BATCHES

    def __post_init__(self) -> None:
        if (self.iterations is None) == (self.epochs is None):
            raise ConfigError(
                f"iterations={self.iterations}, epochs={self.epochs}: give one of them"
            )
        if self.epochs is not None and not self.epochs >= 0:
            raise ConfigError(f"epochs={self.epochs}: must not be negative")
        if self.every < 1:
            raise ConfigError(f"every={self.every}: must be at least 1")
        if not 0 <= self.growth <= 1:
            raise ConfigError(f"growth={self.growth}: must be between 0 and 1")
        if self.batch_norm_batches < 0:
            raise ConfigError(f"batch_norm_batches={self.batch_norm_batches}: must not be negative")
        self.training(seed=0, pictures=1)

    def training(self, seed: int, pictures: int, accelerator: str = "cpu") -> TrainingConfig:
        """The settings of the training loop, for a split of so many pictures."""
        steps = self.iterations
        if steps is None:
            steps = math.ceil((self.epochs or 0.0) * pictures / self.batch_size)
        return TrainingConfig(
            iterations=steps,
            batch_size=self.batch_size,
            lr=self.lr,
            lr_schedule=self.lr_schedule,
            seed=seed,
            accelerator=accelerator,
        )


@dataclass(frozen=True)
class NetworkConfig:
    """A network that is pruned.

    Attributes:
        model: "msd", "unet4", "fcn-resnet50", "pretrained:NAME" or "package.module:factory".
        schedule: stages of pruning.
        retraining: after each stage.
        training: of the dense network; a pretrained one needs none.
        settings: of the network.
        seed: of its initial values and of the order of the pictures in training.
        ignore: modules that are not pruned.
        criteria: the rules for this network alone; by default those of the experiment.
    """

    model: str
    schedule: Schedule = field(default_factory=lambda: Schedule(keep=0.1, steps=10))
    retraining: Fitting = field(default_factory=lambda: Fitting(iterations=150))
    training: Fitting | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    ignore: tuple[str, ...] = ()
    criteria: tuple[str, ...] | None = None


@dataclass(frozen=True)
class DataConfig:
    """A data set.

    Attributes:
        name: "circle-square", "folder:DIR", ...
        settings: of the data set.
        metric: what results are compared by; by default accuracy, or PSNR for denoising.
        val_pictures: judge each stage on the first so many pictures; None takes all.
        test_pictures: and the chosen stages, at the very end, on so many test pictures.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    metric: str | None = None
    val_pictures: int | None = None
    test_pictures: int | None = None


@dataclass(frozen=True)
class Measuring:
    """What is timed, when everything is pruned, and how.

    Attributes:
        seconds: for each stage of each network, over all rules and seeds together.
        threads: of the networks that are timed.
        seeds: time the runs of the first so many seeds.
        every: time every so many stages, and the last.
        batches: batch sizes of Figure 4.4.
        batch_seconds: for each of those.
    """

    seconds: float = 2.0
    threads: int = 1
    seeds: int = 1
    every: int = 1
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    batch_seconds: float = 10.0

    def __post_init__(self) -> None:
        least = {"seconds": 0, "threads": 1, "seeds": 0, "every": 1, "batch_seconds": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least {bound}")
        if not self.batches or min(self.batches) < 1:
            raise ConfigError(f"batches={self.batches}: give batch sizes of at least 1")


@dataclass(frozen=True)
class ExperimentConfig:
    """An experiment at one scale.

    Attributes:
        title: what it shows, in a line.
        thesis: figure or table that it repeats.
        parts: what is shown, of `PARTS`.
        networks: networks by name.
        data: data sets by name; every network is trained and pruned on each.
        criteria: rules by name.
        seeds: of retraining; every rule sees the same order of pictures for a seed.
        judged_at: fractions of the filters at which results are compared, on test pictures.
        reference: the rule that the others are compared with.
        measuring: what is timed.
        accelerator: "cpu" or "cuda", of training and timing.
        threads: of training, in each worker.
        sample: pictures of each data set that are shown.
    """

    title: str
    networks: Mapping[str, NetworkConfig] = field(default_factory=dict)
    data: Mapping[str, DataConfig] = field(default_factory=dict)
    thesis: str = ""
    parts: tuple[str, ...] = ("curves",)
    criteria: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    judged_at: tuple[float, ...] = ()
    reference: str = "lean"
    measuring: Measuring = field(default_factory=Measuring)
    accelerator: str = "cpu"
    threads: int = 1
    sample: int = 3

    def __post_init__(self) -> None:
        for part in self.parts:
            _known(part, PARTS, "parts")
        for name, values in (("seeds", self.seeds), ("criteria", self.criteria)):
            if len(set(values)) != len(values):
                raise ConfigError(f"{name}={values}: each may stand there once")
        _known(self.accelerator, ("cpu", "cuda"), "accelerator")
        if self.threads < 1 or self.sample < 1:
            raise ConfigError(f"threads={self.threads}, sample={self.sample}: give at least 1")
        if any(seed < 0 for seed in self.seeds):
            raise ConfigError(f"seeds={self.seeds}: must not be negative")
        if any(not 0 < fraction <= 1 for fraction in self.judged_at):
            raise ConfigError(f"judged_at={self.judged_at}: fractions above 0 and at most 1")
        for name in [*self.networks, *self.data]:
            if not name or name.strip(".") != name or set(name) & set("/\\@"):
                raise ConfigError(f"{name!r} is no name for a network or data set: it names files")

    def criteria_of(self, network: str) -> tuple[str, ...]:
        """The rules that a network is pruned by."""
        own = self.networks[network].criteria
        return self.criteria if own is None else own


def parse(document: Mapping[str, Any]) -> ExperimentConfig:
    """Check a configuration, of one scale, and make it typed.

    ``schedule``, ``training`` and ``retraining`` at the top are the defaults of all networks.

    Raises:
        ConfigError: an unknown key (the nearest is named), a missing one, a wrong value.
    """
    values = dict(document)
    shared: dict[str, Any] = {}
    for key in ("schedule", "training", "retraining"):
        if key in values:
            shared[key] = values.pop(key)
    networks = values.get("networks", {})
    if isinstance(networks, Mapping):
        values["networks"] = {
            name: merged(shared, table) if isinstance(table, Mapping) else table
            for name, table in networks.items()
        }
    config = _build(ExperimentConfig, values, "")
    assert isinstance(config, ExperimentConfig)
    return config


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with those of `over` in place of those of `base`.

    Of two keys that exclude one another (`iterations` and `epochs`), that of `over` stays.
    """
    result = dict(base)
    for name, other in (("iterations", "epochs"), ("epochs", "iterations")):
        if name in over and other not in over:
            result.pop(other, None)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _build(kind: type, values: Any, place: str) -> Any:
    """A dataclass from a table, with its tables in turn."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place or 'the configuration'}: must be a table, not {values!r}")
    fields = {each.name: each for each in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    inside = f"{place}." if place else ""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(
                f"{inside}{key}: there is no such key{nearest(key, list(fields))}; "
                f"{place or 'an experiment'} has {', '.join(fields)}"
            )
        where = f"{inside}{key}"
        hint, own = hints[key], _dataclass_in(hints[key])
        if typing.get_origin(hint) is not None and typing.get_origin(hint) is Mapping:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: must be a table, not {value!r}")
            found[key] = {
                name: _build(own, item, f"{where}.{name}") if own else item
                for name, item in value.items()
            }
        elif own is not None:
            found[key] = _build(own, value, where)
        else:
            found[key] = coerce(value, hint, where)
    for name, each in fields.items():
        required = each.default is dataclasses.MISSING
        if name not in found and required and each.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{place or 'the configuration'} needs {inside}{name}")
    try:
        return kind(**found)
    except ConfigError as error:
        raise ConfigError(f"{inside}{error}") from None


def _dataclass_in(hint: Any) -> Any:
    """The dataclass that a hint holds: itself, in a union with None, or as a mapping's value."""
    for option in (hint, *typing.get_args(hint)):
        if dataclasses.is_dataclass(option):
            return option
    return None


def _known(name: str, known: tuple[str, ...], where: str) -> None:
    if name not in known:
        raise ConfigError(
            f"{where}: there is no {name!r}{nearest(name, known)}; there are {', '.join(known)}"
        )
