"""Run folders that a command starts from: what they say, and the networks that they hold."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from leanline.errors import ConfigError, RunError
from leanline.experiments.choices import PRETRAINED, DataChoice, NetworkChoice, choose_data
from leanline.models.pretrained import NAMES
from leanline.pruning import load_stage
from leanline.records.run import CONFIG, RunFolder
from leanline.training import load_best

log = logging.getLogger(__name__)

_INSTEAD = {
    "prune": "leanline prune",
    "train": "leanline train",
    "demo": "leanline demo",
    "experiment": "leanline experiment",
    "tune-bench": "leanline tune-bench",
}


def read_run(folder: Path, *commands: str) -> RunFolder:
    """Look at a run folder of one of the given commands.

    Raises:
        RunError: there is none, or it is of another command; the message says what would be right.
    """
    if not folder.exists():
        raise RunError(f"there is no folder {folder}")
    if not (folder / CONFIG).exists():
        raise RunError(f"{folder} is no run folder: leanline train, prune and demo make them")
    run = RunFolder.read(folder)
    command = str(run.config.get("command"))
    if command not in commands:
        wanted = " or ".join(_INSTEAD[name] for name in commands)
        inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        hint = f"; it holds the runs {', '.join(inside)}: give one of them" if inside else ""
        raise RunError(f"{folder} was made by leanline {command}, not by {wanted}{hint}")
    return run


def network_of(run: RunFolder, confirmed: str | None) -> NetworkChoice:
    """The network that a run folder names.

    Args:
        run: the folder.
        confirmed: the name of the user's own code that may be run to make it. The folder alone
            never makes leanline run code: it may have come from somebody else.

    Raises:
        ConfigError: the folder names code that was not confirmed.
        RunError: it does not say which network it is of.
    """
    model: Any = run.config.get("model")
    if model in NAMES:
        model = {"name": PRETRAINED + model, "settings": {}}
    try:
        choice = NetworkChoice(str(model["name"]), dict(model["settings"]))
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"{run.path} does not say of which network it is, for it was not made by the command "
            "line; use leanline.pruning.load_stage in Python"
        ) from None
    if confirmed is not None and confirmed != choice.name:
        raise ConfigError(f"--model {confirmed}: {run.path} is of model {choice.name}")
    if choice.runs_code and confirmed is None:
        raise ConfigError(
            f"{run.path} is of a network that is made by the code {choice.name}. If you trust "
            f"that code, add --model {choice.name}"
        )
    return choice


def data_of(run: RunFolder) -> DataChoice:
    """The data set that a run folder names.

    Raises:
        RunError: it names none.
    """
    data: Any = run.config.get("data")
    if not (isinstance(data, Mapping) and "name" in data):
        raise RunError(f"{run.path} does not say which data it used; give --data")
    return choose_data(str(data["name"]), dict(data.get("settings") or {}))


def input_shape_of(run: RunFolder) -> tuple[int, ...]:
    """Batch of one, channels, height and width of the pictures that a run was made on.

    Raises:
        RunError: the folder does not say.
    """
    shape: Any = run.config.get("input_shape") or _timed_shape(run)
    valid = isinstance(shape, list) and len(shape) == 4
    if not valid or not all(isinstance(n, int) and n > 0 for n in shape):
        raise RunError(f"{run.path} does not say how large its pictures are")
    return tuple(shape)


def pruned_of(run: RunFolder, confirmed: str | None) -> tuple[nn.Module, nn.Module]:
    """The dense network, with its initial values, and the pruned one that the run delivers.

    Raises:
        CheckpointError: no stage is done, or its checkpoint is damaged or of another network.
    """
    choice = network_of(run, confirmed)
    dense, pruned = choice.make(), choice.make()
    load_stage(run, pruned)
    if not run.stages[-1].get("finished"):  # by its goal
        _warn_unfinished(run, run.stages[-1]["stage"], ("schedule", "steps"))
    return dense.eval(), pruned.eval()


def trained_of(run: RunFolder, confirmed: str | None) -> tuple[NetworkChoice, nn.Module]:
    """The network of a train folder, with its best weights."""
    choice = network_of(run, confirmed)
    network = choice.make()
    load_best(run, network)
    _warn_unfinished(run, run.stages[-1]["step"], ("training", "iterations"))
    return choice, network


def best_checksum(run: RunFolder) -> str:
    """The checksum of a training run's best weights, of the file that `load_best` reads."""
    best = [row for row in run.stages if row.get("best")][-1]
    return str(best[f"sha256.best-{best['step']}"])


def _warn_unfinished(run: RunFolder, done: object, length: tuple[str, str]) -> None:
    part, name = length
    wanted = dict(run.config.get(part) or {}).get(name)
    if wanted is not None and done != wanted:
        log.warning(
            "%s is not finished (%s of %s %s): what it holds so far is taken",
            run.path,
            done,
            wanted,
            name,
        )


def _timed_shape(run: RunFolder) -> Any:
    try:
        evidence = json.loads((run.path / "evidence.json").read_text(encoding="utf-8"))
        return evidence["timing"]["shape"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
