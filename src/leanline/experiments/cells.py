"""The cells of a sweep, a network pruned on a data set by a rule with a seed, and their folders."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from leanline.errors import CheckpointError, RunError
from leanline.experiments.choices import (
    PRETRAINED,
    DataChoice,
    NetworkChoice,
    choose_data,
    choose_network,
)
from leanline.experiments.config import DataConfig, ExperimentConfig, NetworkConfig
from leanline.masks import apply_channel_masks, apply_masks
from leanline.pruning.stages import Stage, read_stages
from leanline.records.configuration import canonical
from leanline.records.run import CONFIG, RunFolder
from leanline.records.tensors import load_tensors
from leanline.training import load_best

FILTERS, CHANNELS, WEIGHTS = "filters.", "channels.", "weights."
"""What the names of tensors in the file of a stage begin with."""


@dataclass(frozen=True)
class Pair:
    """A network and a data set of an experiment, with a folder of their own.

    Attributes:
        root: the experiment's folder.
        config: the experiment.
        network: name of the network.
        data: name of the data set.
    """

    root: Path
    config: ExperimentConfig
    network: str
    data: str

    @property
    def key(self) -> str:
        """Its name, unlike that of any other pair."""
        return f"{self.network}@{self.data}"

    @property
    def folder(self) -> Path:
        """Where everything about it is."""
        return self.root / "runs" / self.key

    @property
    def network_config(self) -> NetworkConfig:
        """How the network is made, trained and pruned."""
        return self.config.networks[self.network]

    @property
    def data_config(self) -> DataConfig:
        """How the data set is made and judged on."""
        return self.config.data[self.data]

    def open(self) -> tuple[NetworkChoice, DataChoice]:
        """The network by its settings, and the data."""
        chosen, network = opened(self.data_config), self.network_config
        if network.model.startswith(PRETRAINED):
            return NetworkChoice(network.model, {}), chosen
        choice = choose_network(network.model, dict(network.settings), chosen, network.seed)
        return choice, chosen

    def dense(self) -> nn.Module:
        """The network before pruning, trained."""
        choice, _ = self.open()
        network = choice.make()
        if not choice.name.startswith(PRETRAINED):
            load_best(RunFolder.read(self.folder / "dense"), network)
        return network

    def stage_at(self, fraction: float, among: Sequence[int] = ()) -> int:
        """The stage, of all or of some, that keeps the nearest fraction on a log scale."""
        schedule = self.network_config.schedule
        stages = among or range(1, schedule.steps + 1)
        return min(stages, key=lambda stage: abs(math.log(schedule.keep_at(stage) / fraction)))

    @property
    def dense_file(self) -> Path:
        """What was found out about the dense network."""
        return self.folder / "dense.json"

    @property
    def test_file(self) -> Path:
        """Its metrics on test pictures."""
        return self.folder / "test.json"


@dataclass(frozen=True)
class Cell:
    """A pair, a rule and a seed."""

    pair: Pair
    criterion: str
    seed: int

    @property
    def key(self) -> str:
        """Its name, unlike that of any other cell."""
        return f"{self.pair.key} {self.criterion} {self.seed}"

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.pair.folder / self.criterion / f"seed-{self.seed}"

    @property
    def judged(self) -> tuple[int, ...]:
        """The stages that are judged on test pictures: those nearest to the chosen fractions."""
        schedule = self.pair.network_config.schedule
        wanted = [f for f in self.pair.config.judged_at if f >= 0.9 * schedule.keep]
        return tuple(sorted({self.pair.stage_at(each) for each in wanted} | {schedule.steps}))

    @property
    def test_file(self) -> Path:
        """Metrics on test pictures of the stages that are judged."""
        return self.folder / "test.json"

    def sizes_file(self, stage: int) -> Path:
        """What is left of the network after a stage."""
        return self.folder / "stages" / f"{stage}.json"

    def masks_file(self, stage: int) -> Path:
        """The masks after a stage; of a stage that is judged, the weights too."""
        return self.folder / "stages" / f"{stage}.safetensors"

    def stages(self) -> tuple[Stage, ...]:
        """The stages that are done, with what is known of their sizes."""
        if not (self.folder / CONFIG).exists():
            return ()
        return read_stages(RunFolder.read(self.folder))

    def sizes(self, stage: int) -> dict[str, Any]:
        """What is left of the network after a stage.

        Raises:
            RunError: it is not known, or the file is damaged.
        """
        return read_json(self.sizes_file(stage))

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        last = self.pair.network_config.schedule.steps
        return self.sizes_file(last).exists() and len(self.stages()) == last

    @property
    def not_tested(self) -> tuple[int, ...]:
        """The stages that are still to be judged on test pictures."""
        tested = read_json(self.test_file) if self.test_file.exists() else {}
        return tuple(stage for stage in self.judged if str(stage) not in tested)

    def masked_at(self, stage: int, dense: nn.Module) -> nn.Module:
        """Give a dense network the masks of a stage; it keeps its own weights."""
        tensors, _ = load_tensors(self.masks_file(stage))
        apply_masks(dense, _part(tensors, FILTERS))
        apply_channel_masks(dense, _part(tensors, CHANNELS))
        return dense.eval()

    def network_at(self, stage: int, dense: nn.Module) -> nn.Module:
        """Give a dense network the masks and the weights of a stage that is judged.

        Raises:
            RunError: its weights were not kept.
        """
        weights = _part(load_tensors(self.masks_file(stage))[0], WEIGHTS)
        if not weights:
            raise RunError(
                f"{self.masks_file(stage)} has no weights: when stage {stage} was done, judged_at "
                "did not name it; it can be judged by an experiment in another folder"
            )
        masked = self.masked_at(stage, dense)
        try:
            masked.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{self.masks_file(stage)}: {error}") from error
        return masked


def read_json(file: Path) -> dict[str, Any]:
    """A file that this package wrote.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def opened(wanted: DataConfig) -> DataChoice:
    """A data set, kept for the next cell of this process, with the pictures in its memory."""
    return _opened(wanted.name, canonical(wanted.settings))


@functools.lru_cache(maxsize=2)
def _opened(name: str, settings: str) -> DataChoice:
    return choose_data(name, json.loads(settings))
