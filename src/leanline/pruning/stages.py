"""Stages of pruning, and how a run folder holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from leanline.errors import CheckpointError, ConfigError
from leanline.masks import (
    Mask,
    apply_channel_masks,
    apply_masks,
    get_channel_masks,
    get_masks,
    lift_masks,
)
from leanline.masks.slots import find_slots
from leanline.pruning.finetune import Stateful, state_of
from leanline.records.run import RunFolder
from leanline.types import Scalar

_MODEL, _FILTERS, _CHANNELS, _FINETUNE = "model.", "filters.", "channels.", "finetune."
_METRIC, _MEASURED = "metric.", "measured."

DENSE = "dense."
"""What the names of the unpruned network's metrics begin with, among what was measured."""

DELIVER, FINISHED, REASON = "deliver", "finished", "reason"
"""Columns of a run with a goal: the stage to deliver so far, whether that is final, and why."""


@dataclass(frozen=True)
class Stage:
    """One prune-and-retrain step.

    Attributes:
        index: 1 for the first.
        keep: fraction of the unpruned network's filters that was asked for.
        kept_filters: filters that are alive after cleaning.
        metrics: what the finetune function returned.
        seconds: how long it took, selection and retraining.
        resumed: read from the run folder, not run now.
        measured: what a goal measured: "speedup", and metrics of the unpruned network under
            "dense.".
    """

    index: int
    keep: float
    kept_filters: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: bool = False
    measured: Mapping[str, float] = field(default_factory=dict)


def state_after(model: nn.Module, finetune: object) -> dict[str, Tensor]:
    """Everything that the next stage depends on, as tensors by name; they are the model's own."""
    tensors = {f"{_MODEL}{name}": value for name, value in state_of(model).items()}
    tensors |= {f"{_FILTERS}{name}": mask for name, mask in get_masks(model).items()}
    tensors |= {f"{_CHANNELS}{name}": mask for name, mask in get_channel_masks(model).items()}
    if isinstance(finetune, Stateful):
        tensors |= {f"{_FINETUNE}{name}": value for name, value in state_of(finetune).items()}
    return tensors


def load_state(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a model the masks and weights of `state_after`; returns the state of finetune.

    Masks of leanline that the model has are replaced.

    Raises:
        ConfigError, RuntimeError: The state is of another network.
    """

    def part(prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }

    def in_order(masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """As in the model, so that its parameters come in the order in which the run had them."""
        places = {name: place for place, name in enumerate(find_slots(model))}
        return dict(sorted(masks.items(), key=lambda item: places.get(item[0], 0)))

    lift_masks(model)
    apply_masks(model, in_order(part(_FILTERS)))
    apply_channel_masks(model, in_order(part(_CHANNELS)))
    values = part(_MODEL)
    for path, module in model.named_modules():
        saved = values.get(f"{path}.mask") if isinstance(module, Mask) else None
        if saved is not None:  # a mask of single entries, from torch.nn.utils.prune, is larger
            module.mask = saved.to(module.mask.device).clone()
    model.load_state_dict(values)
    return part(_FINETUNE)


def row_of(stage: Stage) -> dict[str, Scalar]:
    """A stage as a row of a run folder."""
    return {
        "stage": stage.index,
        "keep": stage.keep,
        "kept_filters": stage.kept_filters,
        **{f"{_METRIC}{name}": value for name, value in stage.metrics.items()},
        **{f"{_MEASURED}{name}": value for name, value in stage.measured.items()},
        "seconds": stage.seconds,
    }


def read_stages(run: RunFolder) -> tuple[Stage, ...]:
    """The stages that a run folder of `prune` holds."""
    return tuple(
        Stage(
            index=int(row["stage"] or 0),
            keep=float(row["keep"] or 0),
            kept_filters=int(row["kept_filters"] or 0),
            metrics=_numbers(row, _METRIC),
            seconds=float(row["seconds"] or 0),
            resumed=True,
            measured=_numbers(row, _MEASURED),
        )
        for row in run.stages
    )


def delivered(run: RunFolder) -> int:
    """The stage that a run folder delivers: by its goal, or the last one.

    Raises:
        CheckpointError: There is no stage yet.
    """
    if not run.stages:
        raise CheckpointError(f"{run.path} holds no pruned network yet: no stage is done")
    last = run.stages[-1]
    return int(last.get(DELIVER, last["stage"]) or 0)


def load_stage(run: RunFolder, model: nn.Module, index: int | None = None) -> dict[str, Tensor]:
    """Give a model the masks and weights of a stage of a run folder.

    Args:
        run: an open or read run folder of `prune`.
        model: the network as it was before pruning, whatever its values; changed in place.
        index: the stage, of those whose checkpoint is kept; by default the one that the run
            delivers: by its goal, or the last one.

    Returns:
        The state of the finetune function, empty if it had none.

    Raises:
        CheckpointError: there is no stage yet, or its checkpoint is damaged or of another network.
    """
    tensors, _ = run.load_tensors(checkpoint(delivered(run) if index is None else index))
    try:
        return load_state(model, tensors)
    except (ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{run.path} holds another network: {error}") from error


def checkpoint(index: int) -> str:
    """Name of a stage's checkpoint."""
    return f"stage-{index}"


def _numbers(row: Mapping[str, Scalar], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): float(value)
        for name, value in row.items()
        if name.startswith(prefix) and isinstance(value, (int, float))
    }
