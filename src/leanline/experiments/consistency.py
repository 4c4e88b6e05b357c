"""Whether what a folder holds was made with the settings that are asked for now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from leanline.errors import RunError
from leanline.experiments.cells import Cell, Pair
from leanline.experiments.choices import changing_pictures, full_name
from leanline.experiments.config import DataConfig, NetworkConfig
from leanline.experiments.sweep import Sweep
from leanline.records.configuration import describe_difference, plain
from leanline.records.run import CONFIG, RunFolder
from leanline.training import Checkpointing


def check_settings(sweep: Sweep) -> None:
    """Refuse networks that were trained or pruned with other settings than those of a sweep.

    A run that goes on compares all of its settings itself; runs that are done are taken as they
    are, and here it is seen to that they are what is asked for.

    Raises:
        RunError: The message names the run and what differs.
    """
    for pair in sweep.pairs:
        recorded = _recorded(pair.folder / "dense")
        if recorded:
            _compare(pair.folder / "dense", recorded, _trained(pair, recorded))
    for cell in sweep.cells:
        recorded = _recorded(cell.folder)
        if recorded:
            _compare(cell.folder, recorded, _pruned(cell, recorded))


def _trained(pair: Pair, recorded: Mapping[str, Any]) -> dict[str, Any]:
    network, data = pair.network_config, pair.data_config
    found = _made_from(network, data, recorded)
    if network.training is not None:
        pictures = int(recorded["data"]["pictures"]["train"])
        accelerator = pair.config.accelerator
        found["training"] = asdict(network.training.training(network.seed, pictures, accelerator))
        found["checkpointing"] = asdict(Checkpointing(network.training.every, data.val_pictures))
    return found


def _pruned(cell: Cell, recorded: Mapping[str, Any]) -> dict[str, Any]:
    network, data = cell.pair.network_config, cell.pair.data_config
    pictures = int(recorded["data"]["pictures"]["train"])
    fitting, accelerator = network.retraining, cell.pair.config.accelerator
    return _made_from(network, data, recorded) | {
        "schedule": asdict(network.schedule),
        "finetune": {
            "training": asdict(fitting.training(cell.seed, pictures, accelerator)),
            "growth": fitting.growth,
            "batch_norm_batches": fitting.batch_norm_batches,
            "pictures": data.val_pictures,
        },
    }


def _made_from(
    network: NetworkConfig, data: DataConfig, recorded: Mapping[str, Any]
) -> dict[str, Any]:
    given = changing_pictures(data.settings)
    names = recorded["data"]["settings"].keys() | given.keys()
    return {
        "model": {"name": network.model, "settings": dict(network.settings)},
        "data": {
            "name": full_name(data.name),
            "settings": {name: given.get(name) for name in names},
        },
    }


def _recorded(folder: Path) -> dict[str, Any]:
    return RunFolder.read(folder).config if (folder / CONFIG).exists() else {}


def _compare(folder: Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differences = describe_difference(_like(recorded, wanted), plain(wanted))
    if differences:
        raise RunError(
            f"{folder} was made with other settings: {'; '.join(differences)}. Choose another "
            "folder, or the settings of that run"
        )


def _like(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The part of what is recorded that is compared."""
    return {
        key: _like(recorded[key], value) if isinstance(value, Mapping) else recorded[key]
        for key, value in wanted.items()
        if key in recorded
    }
