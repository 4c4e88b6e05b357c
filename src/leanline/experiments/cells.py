"""One cell of a sweep: a network, pruned on a data set by a rule, with a seed."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leanline import pruning, training
from leanline.errors import CheckpointError, ConfigError, FolderInUseError, RunError
from leanline.experiments.choices import (
    PRETRAINED,
    DataChoice,
    NetworkChoice,
    check_fit,
    choose_criterion,
    choose_data,
    choose_network,
)
from leanline.experiments.config import DataConfig, ExperimentConfig, NetworkConfig
from leanline.masks import apply_channel_masks, apply_masks, get_channel_masks, get_masks
from leanline.pruning.stages import Stage, read_stages
from leanline.records.atomic import write_text
from leanline.records.configuration import canonical
from leanline.records.run import CONFIG, RunFolder
from leanline.records.tensors import load_tensors, save_tensors
from leanline.runtime import trainable
from leanline.training import Checkpointing, Retrain, Trainer, load_best
from leanline.training.fabric import Forward

_PATIENCE = 600.0  # seconds for a worker that is believed dead to leave its folder
_FILTERS, _CHANNELS, _WEIGHTS = "filters.", "channels.", "weights."


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

    def stage_at(self, fraction: float) -> int:
        """The stage that keeps the fraction that is nearest, on a log scale."""
        fractions = self.network_config.schedule.fractions()
        far = [abs(math.log(each / fraction)) for each in fractions]
        return 1 + min(range(len(far)), key=far.__getitem__)

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

    def network_at(self, stage: int, dense: nn.Module) -> nn.Module:
        """Give a dense network the masks of a stage, and its weights where they were kept."""
        tensors, _ = load_tensors(self.masks_file(stage))

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        apply_masks(dense, part(_FILTERS))
        apply_channel_masks(dense, part(_CHANNELS))
        weights = part(_WEIGHTS)
        if weights:
            try:
                dense.load_state_dict(weights)
            except RuntimeError as error:
                raise CheckpointError(f"{self.masks_file(stage)}: {error}") from error
        return dense.eval()


def train_dense(pair: Pair) -> None:
    """Train the dense network of a pair, unless it is a trained one, and judge it on val."""
    if pair.dense_file.exists():
        return
    choice, chosen = pair.open()
    config, begin = pair.config, time.perf_counter()
    _require(config.accelerator)
    with limited_threads(config.threads):
        network = choice.make()
        check_fit(network, choice.name, chosen)
        if not choice.name.startswith(PRETRAINED):
            fitting = pair.network_config.training
            if fitting is None:
                raise RunError(f"networks.{pair.network} needs a table training: it is not trained")
            pictures = len(chosen.dataset.split("train"))
            settings = fitting.training(pair.network_config.seed, pictures, config.accelerator)
            about = {"model": choice.about, "data": chosen.about, "input_shape": chosen.input_shape}
            network.to(config.accelerator)
            checkpointing = Checkpointing(fitting.every, pair.data_config.val_pictures)
            _patiently(
                lambda: training.train(
                    network,
                    chosen.dataset,
                    pair.folder / "dense",
                    settings,
                    checkpointing,
                    about,
                    _forward(pair, chosen.example()),
                )
            )
        pair.folder.mkdir(parents=True, exist_ok=True)
        metrics = _judge(pair, network, chosen, "val", pair.data_config.val_pictures)
        example = chosen.example().to(config.accelerator)
        found = {"metrics": metrics, "seconds": time.perf_counter() - begin}
        write_text(pair.dense_file, canonical({**found, **_sizes(network, example)}) + "\n")


def prune_cell(cell: Cell) -> None:
    """Prune and retrain a cell's network, or go on with it; keep what each stage selected."""
    with limited_threads(cell.pair.config.threads):
        _patiently(lambda: _prune(cell))


def judge_cell(cell: Cell) -> None:
    """Judge the chosen stages of a cell on test pictures, once."""
    if cell.test_file.exists():
        return
    pair = cell.pair
    _, chosen = pair.open()
    found = {}
    with limited_threads(pair.config.threads):
        for stage in cell.judged:
            model = cell.network_at(stage, pair.dense()).to(pair.config.accelerator)
            pictures = pair.data_config.test_pictures
            found[str(stage)] = _judge(pair, model, chosen, "test", pictures)
    write_text(cell.test_file, canonical(found) + "\n")


def judge_dense(pair: Pair) -> None:
    """Judge the dense network on test pictures, once."""
    if pair.test_file.exists():
        return
    _, chosen = pair.open()
    with limited_threads(pair.config.threads):
        model = pair.dense().to(pair.config.accelerator)
        found = _judge(pair, model, chosen, "test", pair.data_config.test_pictures)
    write_text(pair.test_file, canonical(found) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """A file that this package wrote.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error


def _prune(cell: Cell) -> None:
    pair = cell.pair
    choice, chosen = pair.open()
    network_config, config = pair.network_config, pair.config
    _require(config.accelerator)
    pictures = len(chosen.dataset.split("train"))
    fitting = network_config.retraining
    retrain = Retrain(
        chosen.dataset,
        fitting.training(cell.seed, pictures, config.accelerator),
        pictures=pair.data_config.val_pictures,
        forward=_forward(pair, chosen.example()),
        growth=fitting.growth,
    )
    model = pair.dense().to(config.accelerator)
    example = chosen.example().to(config.accelerator)
    for stage in pruning.prune(
        model,
        example,
        retrain,
        choose_criterion(cell.criterion, None, cell.seed),
        network_config.schedule,
        cell.seed,
        cell.folder,
        ignore=network_config.ignore,
        about={"model": choice.about, "data": chosen.about, "input_shape": chosen.input_shape},
    ):
        _keep(cell, stage, model, example)


def _keep(cell: Cell, stage: Stage, model: nn.Module, example: Tensor) -> None:
    """Write down what a stage left, while the model is in its state.

    A run that is resumed comes by all stages that are done with the model in the state of the last
    one: only of that one can anything be missing.
    """
    if cell.sizes_file(stage.index).exists():
        return
    cell.sizes_file(stage.index).parent.mkdir(exist_ok=True)
    tensors = {f"{_FILTERS}{name}": mask for name, mask in get_masks(model).items()}
    tensors |= {f"{_CHANNELS}{name}": mask for name, mask in get_channel_masks(model).items()}
    if stage.index in cell.judged:
        tensors |= {f"{_WEIGHTS}{name}": value for name, value in model.state_dict().items()}
    save_tensors(cell.masks_file(stage.index), tensors)
    write_text(cell.sizes_file(stage.index), canonical(_sizes(model, example)) + "\n")


def _sizes(model: nn.Module, example: Tensor) -> dict[str, list[int]]:
    found = pruning.sizes(model, example)
    amounts = {
        "filters": found.filters,
        "channels": found.channels,
        "parameters": found.parameters,
        "macs": found.macs,
    }
    return {name: [amount.before, amount.after] for name, amount in amounts.items()}


def _judge(
    pair: Pair, model: nn.Module, chosen: DataChoice, split: str, pictures: int | None
) -> dict[str, float]:
    settings = pair.network_config.retraining.training(0, 1, pair.config.accelerator)
    forward = _forward(pair, chosen.dataset.split(split)[0][0][None])
    return Trainer(model, chosen.dataset, settings, forward).evaluate(split, pictures)


def _forward(pair: Pair, example: Tensor) -> Forward:
    """Runs a network in training on the sparse kernels, where they can run it."""
    there = example.to(pair.config.accelerator)
    return lambda network: trainable(network, there, pair.config.threads)


def _require(accelerator: str) -> None:
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "accelerator is 'cuda', and there is no GPU here: --set accelerator=cpu, which takes "
            "long for large networks"
        )


def opened(wanted: DataConfig) -> DataChoice:
    """A data set, kept for the next cell of this process, with the pictures in its memory."""
    return _opened(wanted.name, canonical(wanted.settings))


@functools.lru_cache(maxsize=2)
def _opened(name: str, settings: str) -> DataChoice:
    return choose_data(name, json.loads(settings))


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """So many threads of PyTorch, until the context ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _patiently(call: Callable[[], object]) -> None:
    """Call again while a worker that is believed dead still holds the folder."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            call()
            return
        except FolderInUseError:
            if time.monotonic() > end:
                raise
            time.sleep(1.0)
