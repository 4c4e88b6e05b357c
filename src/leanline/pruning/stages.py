"""Stages of pruning, and how a run folder holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from leanline.errors import CheckpointError, ConfigError
from leanline.masks import apply_channel_masks, apply_masks, get_channel_masks, get_masks
from leanline.masks.slots import find_slots
from leanline.pruning.finetune import Stateful, state_of
from leanline.records.run import RunFolder
from leanline.types import Scalar

_MODEL, _FILTERS, _CHANNELS, _FINETUNE = "model.", "filters.", "channels.", "finetune."
_METRIC = "metric."


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
    """

    index: int
    keep: float
    kept_filters: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: bool = False


def record_stage(run: RunFolder, model: nn.Module, finetune: object, stage: Stage) -> None:
    """Commit a stage: first its checkpoint, then its row; then the checkpoint before it goes."""
    tensors = {f"{_MODEL}{name}": value for name, value in state_of(model).items()}
    tensors |= {f"{_FILTERS}{name}": mask for name, mask in get_masks(model).items()}
    tensors |= {f"{_CHANNELS}{name}": mask for name, mask in get_channel_masks(model).items()}
    if isinstance(finetune, Stateful):
        tensors |= {f"{_FINETUNE}{name}": value for name, value in state_of(finetune).items()}
    run.save_tensors(_checkpoint(stage.index), tensors)
    row: dict[str, Scalar] = {
        "stage": stage.index,
        "keep": stage.keep,
        "kept_filters": stage.kept_filters,
        **{f"{_METRIC}{name}": value for name, value in stage.metrics.items()},
        "seconds": stage.seconds,
    }
    run.append_stage(row)
    run.remove_tensors([_checkpoint(stage.index - 1)])


def restore_stages(run: RunFolder, model: nn.Module, finetune: object) -> tuple[Stage, ...]:
    """Put the model and the finetune function in the state after the last stage of a folder."""
    if not run.stages:
        return ()
    stages = read_stages(run)
    state = load_stage(run, model)
    if isinstance(finetune, Stateful):
        finetune.load_state_dict(state)
    run.remove_tensors([_checkpoint(stages[-1].index - 1)])
    return stages


def read_stages(run: RunFolder) -> tuple[Stage, ...]:
    """The stages that a run folder of `prune` holds."""
    return tuple(
        Stage(
            index=int(row["stage"] or 0),
            keep=float(row["keep"] or 0),
            kept_filters=int(row["kept_filters"] or 0),
            metrics={
                name.removeprefix(_METRIC): float(value)
                for name, value in row.items()
                if name.startswith(_METRIC) and isinstance(value, (int, float))
            },
            seconds=float(row["seconds"] or 0),
            resumed=True,
        )
        for row in run.stages
    )


def load_stage(run: RunFolder, model: nn.Module) -> dict[str, Tensor]:
    """Give a model the masks and weights of the last stage of a run folder.

    Args:
        run: an open or read run folder of `prune`.
        model: the network as it was before pruning, whatever its values; changed in place.

    Returns:
        The state of the finetune function, empty if it had none.

    Raises:
        CheckpointError: there is no stage yet, or its checkpoint is damaged or of another network.
    """
    if not run.stages:
        raise CheckpointError(f"{run.path} holds no pruned network yet: no stage is done")
    tensors, _ = run.load_tensors(_checkpoint(int(run.stages[-1]["stage"] or 0)))

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

    try:
        apply_masks(model, in_order(part(_FILTERS)))
        apply_channel_masks(model, in_order(part(_CHANNELS)))
        model.load_state_dict(part(_MODEL))
    except (ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{run.path} holds another network: {error}") from error
    return part(_FINETUNE)


def _checkpoint(index: int) -> str:
    return f"stage-{index}"
