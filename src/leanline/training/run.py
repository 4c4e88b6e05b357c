"""A training run in a run folder, which can be killed and resumed."""

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from leanline.data.dataset import ImagingDataset
from leanline.errors import CheckpointError, ConfigError
from leanline.records.progress import bar
from leanline.records.run import RunFolder
from leanline.records.tensors import checksum
from leanline.training.config import TrainingConfig
from leanline.training.fabric import Forward, as_it_is
from leanline.training.loop import Trainer
from leanline.types import PathLike, Scalar

_MODEL, _TRAINER = "model.", "trainer."


@dataclass(frozen=True)
class Checkpointing:
    """How often a training run is judged and written down.

    Attributes:
        every: steps between two evaluations on the validation set, each with a checkpoint.
        pictures: judge on the first so many validation pictures; None takes all.
    """

    every: int = 200
    pictures: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every={self.every}: must be at least 1")


def train(
    model: nn.Module,
    dataset: ImagingDataset,
    out: PathLike,
    config: TrainingConfig | None = None,
    checkpointing: Checkpointing | None = None,
    about: Mapping[str, Any] | None = None,
    forward: Forward = as_it_is,
    resume: bool = True,
) -> tuple[dict[str, Scalar], ...]:
    """Trains a model into a run folder; afterwards it has the weights that were best on val.

    A run that was killed at any moment and is called again with the same arguments ends with the
    same weights, bit for bit, as one that was not.

    Args:
        model: the untrained model; trained in place.
        dataset: pictures and task.
        out: the run folder, made or gone on with.
        config: see `TrainingConfig`; `config.iterations` is the length of the run.
        checkpointing: when to evaluate and save.
        about: what else describes the run, such as the names of model and data; a folder that was
            begun with another description is refused.
        forward: see `Trainer`.
        resume: whether a folder that holds a part of the run may be gone on with.

    Returns:
        One row per evaluation: step, train_loss, the metrics as "val_...", best (whether it had
        the lowest validation loss so far), seconds.

    Raises:
        ConfigError: more than one device is asked for.
        RunError: the folder belongs to another configuration or model, or cannot be written.
        CheckpointError: a checkpoint in it is damaged.
    """
    config, checkpointing = config or TrainingConfig(), checkpointing or Checkpointing()
    if config.devices > 1:
        raise ConfigError(
            f"devices={config.devices}: a run folder is written by one process; train on one "
            "device, or without a folder by Trainer(...).fit()"
        )
    weights = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    description = {
        "command": "train",
        **(about or {}),
        "training": dataclasses.asdict(config),
        "checkpointing": dataclasses.asdict(checkpointing),
        "initial_weights": checksum(weights, {}),
    }
    with RunFolder.open(out, description, resume=resume) as run:
        trainer = Trainer(model, dataset, config, forward)
        if run.stages:
            tensors, _ = run.load_tensors(_last(run.stages[-1]))
            _load(model, _part(tensors, _MODEL), str(run.path))
            trainer.load_state_dict(_part(tensors, _TRAINER))
            _tidy(run)
        with bar("training run", total=config.iterations) as report:
            report.advance(trainer.step)
            while trainer.step < config.iterations:
                before = trainer.step
                _one_interval(run, trainer, checkpointing)
                report.advance(trainer.step - before, val_loss=_number(run.stages[-1], "val_loss"))
        load_best(run, model)
        return run.stages


def load_best(run: RunFolder, model: nn.Module) -> None:
    """Gives a model the weights of a training run that were best on the validation set.

    Args:
        run: an open or read run folder of `train`.
        model: a network of the same kind, changed in place.

    Raises:
        CheckpointError: the run has no weights yet, or they are damaged or of another network.
    """
    best = [row for row in run.stages if row.get("best")]
    if not best:
        raise CheckpointError(f"{run.path} holds no trained weights yet")
    tensors, _ = run.load_tensors(_best(best[-1]))
    _load(model, tensors, str(run.path))


def _one_interval(run: RunFolder, trainer: Trainer, checkpointing: Checkpointing) -> None:
    """Trains up to the next checkpoint, and commits it."""
    begin, rows = time.perf_counter(), run.stages
    left = trainer.config.iterations - trainer.step
    to_mark = checkpointing.every - trainer.step % checkpointing.every
    loss = trainer.fit(iterations=min(left, to_mark))
    metrics = trainer.evaluate("val", checkpointing.pictures)
    lowest = min((_number(row, "val_loss") for row in rows), default=math.inf)
    row: dict[str, Scalar] = {
        "step": trainer.step,
        "train_loss": loss,
        **{f"val_{name}": value for name, value in metrics.items()},
        "best": not rows or metrics["loss"] < lowest,
        "seconds": time.perf_counter() - begin,
    }
    weights = trainer.model.state_dict()
    state = {f"{_MODEL}{name}": value for name, value in weights.items()}
    state |= {f"{_TRAINER}{name}": value for name, value in trainer.state_dict().items()}
    run.save_tensors(_last(row), state)
    if row["best"]:
        run.save_tensors(_best(row), weights)
    run.append_stage(row)
    _tidy(run)


def _tidy(run: RunFolder) -> None:
    """Removes the states before the last row and the weights that are no longer the best."""
    run.remove_tensors(_last(row) for row in run.stages[:-1])
    run.remove_tensors([_best(row) for row in run.stages if row["best"]][:-1])


def _load(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {where} are of another network: {error}") from error


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _last(row: Mapping[str, Scalar]) -> str:
    return f"step-{row['step']}"


def _best(row: Mapping[str, Scalar]) -> str:
    return f"best-{row['step']}"


def _number(row: Mapping[str, Scalar], column: str) -> float:
    value = row[column]
    return float(value) if isinstance(value, (int, float)) else math.nan
