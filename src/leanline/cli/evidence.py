"""The evidence of a finished run, collected once."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from leanline.cli.session import command_line
from leanline.data import ImagingDataset
from leanline.errors import RunError
from leanline.experiments.evidence import Measuring, collect_pruning, collect_training
from leanline.pruning import Stage
from leanline.pruning.stages import DENSE

EVIDENCE = "evidence.json"


def add_training_evidence(
    out: Path, model: nn.Module, dataset: ImagingDataset, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Judge a trained network on the test pictures, unless its folder has that; returns it."""
    if not (out / EVIDENCE).exists():
        collect_training(out, model, dataset, Measuring(), _about(rows))
    return read_evidence(out)


def add_pruning_evidence(
    out: Path,
    dense: nn.Module,
    pruned: nn.Module,
    dataset: ImagingDataset,
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Measure a pruned network against the dense one, unless its folder has that; returns it."""
    if not (out / EVIDENCE).exists():
        collect_pruning(out, dense, pruned, dataset, Measuring(), _about(rows))
    return read_evidence(out)


def row(stage: Stage) -> dict[str, Any]:
    """A stage of pruning as a row of a table."""
    return {
        "stage": stage.index,
        "keep": stage.keep,
        "kept_filters": stage.kept_filters,
        **stage.metrics,
        **{name: value for name, value in stage.measured.items() if not name.startswith(DENSE)},
        "seconds": stage.seconds,
    }


def read_evidence(out: Path) -> dict[str, Any]:
    """What a folder's evidence says.

    Raises:
        RunError: it cannot be read.
    """
    file = out / EVIDENCE
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file} is damaged: {error}; remove it and run the command again"
        ) from error


def _about(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seconds = sum(float(row.get("seconds") or 0) for row in rows)
    return {"command": command_line(), "seconds": seconds}
