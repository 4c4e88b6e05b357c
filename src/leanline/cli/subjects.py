"""A network to look at: of a run folder, one that ships with leanline, or one by name."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from leanline.cli.folders import input_shape_of, pruned_of, read_run, trained_of
from leanline.cli.shapes import sized
from leanline.cli.weights import load_weights
from leanline.errors import ConfigError
from leanline.experiments.choices import PRETRAINED, NetworkChoice, read_settings
from leanline.models.registry import NAMED

_SIZE = 128


@dataclass(frozen=True)
class AskedNetwork:
    """The arguments of the command line that say which network is looked at.

    Attributes:
        model: a run folder, or a network's name.
        confirmed: the user's own code that a folder may run.
        weights: file of weights, for a network by name.
        settings: its settings as NAME=VALUE.
        channels: of a picture.
        classes: or channels of the output.
        size: "HEIGHTxWIDTH".
    """

    model: str
    confirmed: str | None
    weights: Path | None
    settings: list[str] | None
    channels: int | None
    classes: int | None
    size: str | None


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode.

    Attributes:
        network: the network, with the masks of its folder.
        origin: where its values are from, in a few words.
        shape: of a batch of one of its pictures.
    """

    network: nn.Module
    origin: str
    shape: tuple[int, ...]


def open_network(asked: AskedNetwork) -> Subject:
    """Make or load the network that was asked for.

    Raises:
        ConfigError: there is no such network, or the arguments do not fit together.
        RunError: the folder is none of `leanline train` or `leanline prune`.
        CheckpointError: the weights cannot be read, or are of another network.
    """
    name = asked.model
    by_name = name in NAMED or (":" in name and not Path(name).exists())
    if name.startswith(PRETRAINED) or not (by_name or _means_folder(name)):
        _refuse(asked, "weights", "settings", "channels", "classes", "confirmed")
        network = NetworkChoice(name, {}).make()  # says which names there are
        shape = (1, int(getattr(network, "in_channels", 1)), _SIZE, _SIZE)
        return Subject(network.eval(), "trained", sized(shape, asked.size))
    return _named(asked) if by_name else _of_folder(asked)


def _means_folder(name: str) -> bool:
    return Path(name).exists() or "/" in name or name in (".", "..")


def _named(asked: AskedNetwork) -> Subject:
    _refuse(asked, "confirmed")
    channels = 1 if asked.channels is None else asked.channels
    given = {"in_channels": channels, "out_channels": asked.classes or 2}
    settings = read_settings(asked.settings, "--set")
    for key, option in (("in_channels", "--channels"), ("out_channels", "--classes")):
        if key in settings:
            raise ConfigError(f"--set {key}={settings[key]}: give {option} {settings[key]}")
    network = NetworkChoice(asked.model, given | settings).make()
    origin = "initial values"
    if asked.weights is not None:
        load_weights(network, asked.weights)
        origin = asked.weights.name
    wanted = asked.channels or int(getattr(network, "in_channels", channels))
    return Subject(network.eval(), origin, sized((1, wanted, _SIZE, _SIZE), asked.size))


def _of_folder(asked: AskedNetwork) -> Subject:
    _refuse(asked, "weights", "settings", "channels", "classes")
    run = read_run(Path(asked.model), "train", "prune")
    shape = sized(input_shape_of(run), asked.size)
    if run.config.get("command") == "train":
        return Subject(trained_of(run, asked.confirmed)[1].eval(), "trained", shape)
    stage = run.stages[-1]["stage"] if run.stages else 0
    return Subject(pruned_of(run, asked.confirmed)[1], f"pruned, stage {stage}", shape)


def _refuse(asked: AskedNetwork, *names: str) -> None:
    """Say which arguments are for other networks."""
    options = {"settings": "--set", "confirmed": "--model"}
    for name in names:
        if getattr(asked, name) not in (None, []):
            raise ConfigError(
                f"{options.get(name, '--' + name)} does not go with {asked.model}: "
                + (
                    "it is for run folders"
                    if name == "confirmed"
                    else "it is for a network that is made by its name"
                )
            )
