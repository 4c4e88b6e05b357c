"""Networks and data sets as users name them, and as a run folder's configuration records them."""

import inspect
import shlex
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leanline import data, models, pruning, runtime
from leanline.data import ImagingDataset
from leanline.data.dataset import SPLITS
from leanline.errors import ConfigError, ModelError
from leanline.models.registry import NAMED
from leanline.records.settings import coerce
from leanline.training.fabric import Forward, as_it_is

PRETRAINED = "pretrained:"
_NOT_THE_PICTURES = ("cache", "memory")  # settings of a data set that change no picture


@dataclass(frozen=True)
class DataChoice:
    """A data set and how a run folder names it.

    Attributes:
        dataset: the data set.
        about: its name (with an absolute path), settings as given, task, and pictures in each
            split.
        input_shape: batch of one, channels, height, width of a training picture.
    """

    dataset: ImagingDataset
    about: Mapping[str, Any]
    input_shape: tuple[int, ...]

    def example(self) -> Tensor:
        """A training picture, as a batch of one."""
        return self.dataset.split("train")[0][0][None]


@dataclass(frozen=True)
class NetworkChoice:
    """A network by name, as it is before training.

    Attributes:
        name: a name of ours ("msd"), "package.module:factory" or "pretrained:NAME".
        settings: what its factory is called with.
        seed: of the values that a factory draws from PyTorch's global generator.
    """

    name: str
    settings: Mapping[str, Any]
    seed: int = 0

    @property
    def about(self) -> dict[str, Any]:
        """How a run folder names it."""
        return {"name": self.name, "settings": dict(self.settings)}

    @property
    def runs_code(self) -> bool:
        """Whether making it runs a module of the user's."""
        return ":" in self.name and not self.name.startswith(PRETRAINED)

    @property
    def allowing(self) -> str:
        """What later commands on its run folder need, with a space before it; mostly nothing."""
        return f" --model {shlex.quote(self.name)}" if self.runs_code else ""

    @property
    def python(self) -> str:
        """Python that makes it, for people to copy."""
        if self.name.startswith(PRETRAINED):
            return f"leanline.models.pretrained({self.name.removeprefix(PRETRAINED)!r})"
        given = (f"{key}={value!r}" for key, value in self.settings.items() if value is not None)
        return f"leanline.models.make({', '.join([repr(self.name), *given])})"

    def make(self) -> nn.Module:
        """Make the network, from the seed alone.

        Raises:
            ConfigError: an unknown name or setting.
        """
        if self.name.startswith(PRETRAINED):
            return models.pretrained(self.name.removeprefix(PRETRAINED))
        settings = dict(self.settings)
        channels = (settings.pop("in_channels", 1), settings.pop("out_channels", None))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return models.make(self.name, *channels, **settings)


def read_settings(pairs: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read NAME=VALUE pairs.

    Raises:
        ConfigError: one is not of that form, or a name stands twice.
    """
    settings: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (name and equals):
            raise ConfigError(f"{option} {pair}: write {option} NAME=VALUE")
        if name in settings:
            raise ConfigError(f"{option} {pair}: {name} is given twice")
        settings[name] = value
    return settings


def changing_pictures(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a data set without those that change no picture, such as a cache."""
    return {key: value for key, value in settings.items() if key not in _NOT_THE_PICTURES}


def full_name(name: str) -> str:
    """The name of a data set with the whole path of its folder, if it has one."""
    kind, colon, place = name.partition(":")
    return f"{kind}:{Path(place).expanduser().absolute()}" if colon and place else name


def choose_data(name: str, settings: Mapping[str, Any]) -> DataChoice:
    """Open a data set.

    Raises:
        ConfigError: an unknown name or setting, or no training picture.
        DataError: a folder that cannot be used.
    """
    name = full_name(name)
    dataset = data.make(name, **settings)
    lengths = {split: len(dataset.split(split)) for split in SPLITS}
    for split in SPLITS:
        if not lengths[split]:
            raise ConfigError(f"data set {name!r} has no pictures in split {split!r}; give some")
    about = {
        "name": name,
        "settings": changing_pictures(settings),
        "task": dataset.task,
        "in_channels": dataset.in_channels,
        "out_channels": dataset.out_channels,
        "pictures": lengths,
    }
    shape = tuple(dataset.split("train")[0][0].shape)
    return DataChoice(dataset, about, (1, *shape))


def choose_network(
    name: str, settings: Mapping[str, Any], chosen: DataChoice, seed: int = 0
) -> NetworkChoice:
    """A network for a data set; its channels come from the data unless settings say otherwise."""
    channels = {key: chosen.about[key] for key in ("in_channels", "out_channels")}
    given: dict[str, Any] = {**channels, **settings}
    return NetworkChoice(name, given if ":" in name else _resolved(name, given, seed), seed)


def _resolved(name: str, settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """All settings of one of our own networks, with the defaults, as plain values."""
    if name not in NAMED:
        return dict(settings)  # `make` says what there is
    parameters = inspect.signature(NAMED[name]).parameters
    hints = typing.get_type_hints(NAMED[name])
    given = {"seed": seed, **settings} if "seed" in parameters else dict(settings)
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    return defaults | {
        key: coerce(value, hints[key], f"model {name!r}: {key}={value}") if key in hints else value
        for key, value in given.items()
    }


def choose_criterion(name: str, pairs: Sequence[str] | None, seed: int) -> pruning.Criterion:
    """A pruning rule; one that is drawn at random has the run's seed unless settings say otherwise.

    Raises:
        ConfigError: an unknown name or setting.
    """
    settings = read_settings(pairs, "--set-criterion")
    drawn = "seed" in inspect.signature(pruning.CRITERIA[name]).parameters
    return pruning.make_criterion(name, **(({"seed": seed} if drawn else {}) | settings))


def check_fit(network: nn.Module, name: str, chosen: DataChoice) -> None:
    """Run a network on a picture and see whether the answer has the shape of a target.

    Raises:
        ModelError: it does not run, or does not fit the data.
    """
    example = chosen.example()
    shown = " x ".join(str(n) for n in example.shape[1:])
    was_training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(example)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"model {name!r} does not run on pictures of {shown}: {error}") from error
    finally:
        network.train(was_training)
    wanted = (1, chosen.about["out_channels"], *example.shape[2:])
    have = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if have != wanted:
        what = "classes" if chosen.about["task"] == "segmentation" else "channels"
        raise ModelError(
            f"model {name!r} answers a picture of {shown} with {have}; the data set has "
            f"{wanted[1]} {what}, so {wanted} is needed (batch x {what} x height x width)"
        )


def forward_on_kernels(chosen: DataChoice, accelerator: str = "cpu") -> Forward:
    """Runs a network in training on the sparse kernels, where that is measured to be faster."""
    if accelerator != "cpu":
        return as_it_is
    example = chosen.example()
    return lambda network: runtime.fastest_training(network, example)
