"""What `leanline prune` starts from: a train folder, a shipped network, or the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from leanline.cli.folders import best_checksum, data_of, read_run, trained_of
from leanline.cli.weights import load_weights
from leanline.errors import ConfigError
from leanline.experiments.choices import (
    PRETRAINED,
    DataChoice,
    NetworkChoice,
    choose_data,
    choose_network,
    read_settings,
)
from leanline.records.tensors import checksum
from leanline.training import TrainingConfig

_DATA_OF = {"msd50-circle-square": "circle-square"}  # what a shipped network was trained on


@dataclass(frozen=True)
class Asked:
    """The arguments of the command line that say what is pruned on what."""

    source: str | None
    model: str | None
    weights: Path | None
    settings: list[str] | None
    data: str | None
    data_settings: list[str] | None
    seed: int


@dataclass(frozen=True)
class Source:
    """A trained network and its data.

    Attributes:
        network: the network, with its weights.
        choice: how it is made anew.
        data: what it is pruned on.
        origin: where the weights are from, with their checksum, for the record.
        training: settings of the run that trained it, empty if not known.
    """

    network: nn.Module
    choice: NetworkChoice
    data: DataChoice
    origin: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, Any]:
        """What a run folder notes of it."""
        return {
            "model": self.choice.about,
            "data": self.data.about,
            "source": dict(self.origin),
            "input_shape": self.data.input_shape,
        }

    def retraining(
        self, iterations: int, batch_size: int | None, lr: float | None, seed: int
    ) -> TrainingConfig:
        """Settings of retraining; those that are None are those of the training run."""
        given = {"batch_size": batch_size, "lr": lr}
        values: dict[str, Any] = {key: self.training[key] for key in given if key in self.training}
        values |= {key: value for key, value in given.items() if value is not None}
        return TrainingConfig(iterations=iterations, seed=seed, **values)


def open_source(asked: Asked) -> Source:
    """Load the network and open the data that were asked for.

    Raises:
        ConfigError: the arguments do not fit together.
        RunError: the folder is none of `leanline train`.
        CheckpointError: the weights cannot be read, or are of another network.
    """
    if asked.source is None:
        return _own(asked)
    if asked.weights is not None or asked.settings:
        raise ConfigError(
            f"--weights and --set go with --model alone; {asked.source} has its own weights and "
            "settings"
        )
    if asked.source.startswith(PRETRAINED):
        return _shipped(asked, asked.source)
    return _trained(asked, Path(asked.source))


def _trained(asked: Asked, folder: Path) -> Source:
    run = read_run(folder, "train")
    choice, network = trained_of(run, asked.model)
    data = _data(asked) or data_of(run)
    origin = {"from": "train", "folder": run.path.name, "sha256": best_checksum(run)}
    return Source(network, choice, data, origin, dict(run.config.get("training") or {}))


def _shipped(asked: Asked, name: str) -> Source:
    if asked.model is not None:
        raise ConfigError(f"give {name} or --model {asked.model}, not both")
    choice = NetworkChoice(name, {})
    network = choice.make()
    data = _data(asked)
    if data is None:
        data = choose_data(
            _DATA_OF[name.removeprefix(PRETRAINED)],
            read_settings(asked.data_settings, "--set-data"),
        )
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    origin = {"from": "pretrained", "sha256": checksum(state, {})}
    return Source(network, choice, data, origin)


def _own(asked: Asked) -> Source:
    if asked.model is None:
        raise ConfigError(
            "say what to prune: a folder of leanline train, pretrained:msd50-circle-square, or "
            "--model NAME --weights FILE --data ..."
        )
    data = _data(asked)
    if data is None:
        raise ConfigError(
            f"--model {asked.model} needs --data: circle-square, dynamic-ct, camvid:DIR or "
            "folder:DIR"
        )
    settings = read_settings(asked.settings, "--set")
    choice = choose_network(asked.model, settings, data, asked.seed)
    network = choice.make()
    if asked.weights is None:
        if not choice.runs_code:
            raise ConfigError(f"--model {asked.model} needs --weights: it is not trained otherwise")
        origin = {"from": "factory"}
    else:
        digest = load_weights(network, asked.weights)
        origin = {"from": "file", "file": asked.weights.name, "sha256": digest}
    return Source(network, choice, data, origin)


def _data(asked: Asked) -> DataChoice | None:
    """The data of --data, if given."""
    settings = read_settings(asked.data_settings, "--set-data")
    if asked.data is not None:
        return choose_data(asked.data, settings)
    if settings and not (asked.source or "").startswith(PRETRAINED):
        raise ConfigError("--set-data goes with --data")
    return None
