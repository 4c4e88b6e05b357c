"""The work of a sweep: dense networks are trained, cells pruned, and both judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from leanline import pruning, training
from leanline.errors import ConfigError, FolderInUseError, RunError
from leanline.experiments.cells import CHANNELS, FILTERS, WEIGHTS, Cell, Pair, read_json
from leanline.experiments.choices import PRETRAINED, DataChoice, check_fit, choose_criterion
from leanline.masks import get_channel_masks, get_masks
from leanline.pruning.stages import Stage
from leanline.records.atomic import write_text
from leanline.records.configuration import canonical
from leanline.records.tensors import save_tensors
from leanline.runtime import trainable
from leanline.training import Checkpointing, Retrain, Trainer
from leanline.training.fabric import Forward

_PATIENCE = 600.0  # seconds for a worker that is believed dead to leave its folder


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
        _check_metric(pair, network, chosen)
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
    if not cell.not_tested:
        return
    pair = cell.pair
    _, chosen = pair.open()
    found = read_json(cell.test_file) if cell.test_file.exists() else {}
    with limited_threads(pair.config.threads):
        for stage in cell.not_tested:
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
        batch_norm_batches=fitting.batch_norm_batches,
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
    tensors = {f"{FILTERS}{name}": mask for name, mask in get_masks(model).items()}
    tensors |= {f"{CHANNELS}{name}": mask for name, mask in get_channel_masks(model).items()}
    if stage.index in cell.judged:
        tensors |= {f"{WEIGHTS}{name}": value for name, value in model.state_dict().items()}
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


def _check_metric(pair: Pair, network: nn.Module, chosen: DataChoice) -> None:
    """Refuses a metric that these data are not judged by, before hours are spent."""
    metric = pair.data_config.metric
    if metric is None:
        return
    names = _judge(pair, network.to(pair.config.accelerator), chosen, "val", 1)
    if metric not in names:
        raise ConfigError(
            f"data.{pair.data}.metric is {metric!r}, and a network for "
            f"{chosen.dataset.task} is judged by {', '.join(names)}"
        )


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
