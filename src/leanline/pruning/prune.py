"""Prune and retrain in stages (Algorithm 1), into a run folder that can be killed and resumed."""

from __future__ import annotations

import contextlib
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from leanline.errors import CheckpointError, ConfigError
from leanline.graph import resolve_ignored
from leanline.masks import apply_channel_masks, apply_masks, get_channel_masks, get_masks
from leanline.masks.slots import find_slots
from leanline.pruning.clean import clean
from leanline.pruning.criteria import Criterion, Lean
from leanline.pruning.schedule import Schedule
from leanline.pruning.select import fitting_count, select
from leanline.pruning.tracing import trace
from leanline.records.progress import bar
from leanline.records.run import RunFolder
from leanline.records.tensors import checksum
from leanline.types import ExampleInputs, PathLike, Scalar

log = logging.getLogger(__name__)

Finetune = Callable[..., Mapping[str, float] | None]
"""Called as ``finetune(model)``, or ``finetune(model, stage)`` if its second positional argument
has no default or is called ``stage``; trains the model in place and may return metrics, which are
numbers by name. With ``state_dict`` and ``load_state_dict`` its state (of tensors) is written with
each stage and restored on resume."""

_MODEL, _FILTERS, _CHANNELS, _FINETUNE = "model.", "filters.", "channels.", "finetune."
_METRIC = "metric."


@runtime_checkable
class Stateful(Protocol):
    """A finetune function with a state of its own, such as an optimiser's moments."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next call depends on."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of `state_dict`."""
        ...


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


def prune(
    model: nn.Module,
    example_inputs: ExampleInputs,
    finetune: Finetune,
    criterion: Criterion | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    out: PathLike | None = None,
    resume: bool = True,
    ignore: Sequence[str | nn.Module] = (),
    about: Mapping[str, Any] | None = None,
) -> Iterator[Stage]:
    """Prune a network in place, stage by stage, with retraining after each.

    A stage selects the filters that stay, counted against the unpruned network, cleans what they
    leave dead, and calls ``finetune``. Each stage runs under its own seed of PyTorch's random
    numbers (derived from ``seed`` and the stage's index; the caller's are restored), so that a run
    that was killed and resumed ends like one that was not, if ``finetune`` depends on nothing
    else.

    Args:
        model: the trained network; changed in place, masks stay on it.
        example_inputs: inputs as the network gets them.
        finetune: retrains and judges the model; see `Finetune`.
        criterion: the rule that says which filters stay; by default `Lean()`.
        schedule: how many stay after each stage; by default down to 10 % in 10 steps.
        seed: of PyTorch's random numbers in the stages.
        out: a run folder for the checkpoints and a row a stage, or None to write nothing.
        resume: whether to go on with a run that ``out`` already holds.
        ignore: modules that are not pruned, by name, pattern or object.
        about: what else describes the run, such as names of model and data; a folder that was
            begun with another description is refused.

    Yields:
        A stage, when it is done; with ``resume``, first those that the folder holds.

    Raises:
        ConfigError: a wrong argument.
        RunError: ``out`` belongs to another run (another network, size of the example, criterion,
            schedule, seed, ignored modules or description) or cannot be written.
        CheckpointError: a checkpoint in ``out`` is damaged.
    """
    criterion, schedule = criterion or Lean(), schedule or Schedule(keep=0.1, steps=10)
    call = _as_two_arguments(finetune)
    ignored = resolve_ignored(model, ignore)  # before a folder is made that says so
    fitting_count(trace(model, example_inputs, ignore), schedule.keep)  # before hours of training
    if out is None:
        run: Any = contextlib.nullcontext()
    else:
        state = {k: v.detach().cpu().contiguous() for k, v in _state_of(model).items()}
        run = RunFolder.open(
            out,
            {
                "command": "prune",
                **(about or {}),
                "criterion": _described(criterion),
                "schedule": asdict(schedule),
                "seed": seed,
                "ignore": sorted(ignored),
                "example_inputs": [
                    list(t.shape) for t in tree_leaves(example_inputs) if isinstance(t, Tensor)
                ],
                "finetune": _described(finetune),
                "initial_weights": checksum(state, {}),
            },
            resume=resume,
        )
    with run as folder:
        done = () if folder is None else _restore(folder, model, finetune)
        yield from done
        with bar("pruning stages", total=schedule.steps) as progress:
            progress.advance(len(done))
            for index in range(len(done) + 1, schedule.steps + 1):
                keep = schedule.keep_at(index)
                begin = time.perf_counter()
                with torch.random.fork_rng(devices=_devices(model)):
                    torch.manual_seed(seed * 1_000_003 + index)
                    masks = select(model, example_inputs, keep, criterion, ignore)
                    apply_masks(model, masks)
                    clean(model, example_inputs, ignore)
                    now = get_masks(model)
                    kept = sum(int(now[name].sum()) for name in masks)
                    metrics = _numbers(call(model, Stage(index, keep, kept)))
                stage = Stage(index, keep, kept, metrics, time.perf_counter() - begin)
                if folder is not None:
                    _record(folder, model, finetune, stage)
                log.info("stage %d: %d filters, %s", index, kept, metrics)
                progress.advance(1, filters=kept)
                yield stage


def _devices(model: nn.Module) -> list[int]:
    """The CUDA devices of a model."""
    places = {p.device for p in model.parameters() if p.device.type == "cuda"}
    return sorted(place.index or 0 for place in places)


def _record(run: RunFolder, model: nn.Module, finetune: object, stage: Stage) -> None:
    """Commit a stage: first its checkpoint, then its row; then the checkpoint before it goes."""
    tensors = {f"{_MODEL}{name}": value for name, value in _state_of(model).items()}
    tensors |= {f"{_FILTERS}{name}": mask for name, mask in get_masks(model).items()}
    tensors |= {f"{_CHANNELS}{name}": mask for name, mask in get_channel_masks(model).items()}
    if isinstance(finetune, Stateful):
        tensors |= {f"{_FINETUNE}{name}": value for name, value in _state_of(finetune).items()}
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


def _restore(run: RunFolder, model: nn.Module, finetune: object) -> tuple[Stage, ...]:
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


def _numbers(metrics: Any) -> dict[str, float]:
    """What a finetune function returned, checked."""
    try:
        return {} if metrics is None else {str(k): float(v) for k, v in metrics.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"finetune returned {metrics!r}: it must return numbers by name, such as "
            "{'accuracy': 0.9}, or None"
        ) from error


def _state_of(thing: Stateful | nn.Module) -> dict[str, Tensor]:
    """The state of a model or a finetune function, checked."""
    state: dict[str, Tensor] = thing.state_dict()
    owner = "model" if isinstance(thing, nn.Module) else "finetune"
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"{owner}.state_dict() holds {name!r} of type {type(value).__name__}: for a run "
                "folder it must hold tensors by name"
            )
    return state


def _as_two_arguments(finetune: Finetune) -> Finetune:
    """Call a function of one argument, the model, as one of two."""
    try:
        parameters = inspect.signature(finetune).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return lambda model, _: finetune(model)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return finetune
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) > 1:
        second = positional[1]
        if second.default is second.empty or second.name == "stage":
            return finetune
    return lambda model, _: finetune(model)


def _described(thing: object) -> Any:
    """How a run folder's configuration names a criterion or a finetune function.

    A thing may describe itself by an attribute `description`; a function is known by its name.
    """
    if is_dataclass(thing) and not isinstance(thing, type):
        return {"name": type(thing).__name__, **asdict(thing)}
    given = getattr(thing, "description", None)
    if isinstance(given, Mapping):
        return {"name": type(thing).__name__, **given}
    return getattr(thing, "__qualname__", type(thing).__name__)
