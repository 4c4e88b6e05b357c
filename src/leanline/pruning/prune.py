"""Prune and retrain in stages (Algorithm 1), into a run folder that can be killed and resumed."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from leanline.errors import ConfigError
from leanline.graph import resolve_ignored
from leanline.masks import apply_masks, baked_copy
from leanline.pruning.criteria import Criterion, Lean
from leanline.pruning.finetune import Finetune, Shared, described, state_of
from leanline.pruning.goal import Goal
from leanline.pruning.schedule import Schedule
from leanline.pruning.select import fitting_count
from leanline.pruning.stage_work import Task, Work
from leanline.pruning.stages import DENSE, Stage
from leanline.pruning.stop_rules import AtSpeedup
from leanline.pruning.store import Store, judge_dense
from leanline.pruning.tracing import trace
from leanline.records.progress import bar
from leanline.records.run import RunFolder
from leanline.records.tensors import checksum
from leanline.types import ExampleInputs, PathLike

log = logging.getLogger(__name__)


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
    goal: Goal | None = None,
) -> Iterator[Stage]:
    """Prune a network in place, stage by stage, with retraining after each.

    A stage selects the filters that stay, counted against the unpruned network, cleans what they
    leave dead, and calls ``finetune``; a criterion may have a stage of its own instead. Each stage
    runs under its own seed of PyTorch's random numbers (derived from ``seed`` and the stage's
    index; the caller's are restored), so that a run that was killed and resumed ends like one that
    was not, if ``finetune`` depends on nothing else.

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
        goal: when to stop before the schedule ends, and which stage is delivered: once the last
            stage has been yielded, the model is put in the state after that one, which
            ``goal.outcome(stages)`` names.

    Yields:
        A stage, when it is done; with ``resume``, first those that the folder holds.

    Raises:
        ConfigError: a wrong argument; a speed-up as the goal of several processes.
        RunError: ``out`` belongs to another run (another network, size of the example, criterion,
            schedule, seed, ignored modules or description) or cannot be written.
        CheckpointError: a checkpoint in ``out`` is damaged.
    """
    criterion, schedule = criterion or Lean(), schedule or Schedule(keep=0.1, steps=10)
    task = Task(model, example_inputs, criterion, ignore, finetune)
    ignored = resolve_ignored(model, ignore)  # before a folder is made that says so
    fitting_count(trace(model, example_inputs, ignore), schedule.keep)  # before hours of training
    shared: object = finetune
    processes, rank = (shared.processes, shared.rank) if isinstance(shared, Shared) else (1, 0)
    if processes > 1 and goal is not None and any(isinstance(r, AtSpeedup) for r in goal.rules):
        raise ConfigError(
            f"a goal with AtSpeedup and {processes} processes: each would measure another speed, "
            "and they would part; prune to a speed-up in one process"
        )
    run: Any = contextlib.nullcontext()
    if out is not None:
        state = {k: v.detach().cpu().contiguous() for k, v in state_of(model).items()}
        config = {
            "command": "prune",
            **(about or {}),
            "criterion": described(criterion),
            "schedule": asdict(schedule),
            "seed": seed,
            "ignore": sorted(ignored),
            "example_inputs": [
                list(t.shape) for t in tree_leaves(example_inputs) if isinstance(t, Tensor)
            ],
            "finetune": described(finetune),
            **({} if goal is None else {"goal": described(goal)}),
            "initial_weights": checksum(state, {}),
        }
        if rank:
            run = RunFolder.follow(out, config)
        else:
            run = RunFolder.open(out, config, resume=resume)
    with run as folder:
        store = Store(model, finetune, folder, goal)
        measure = _measuring(task, goal, store)
        store.begin()
        yield from tuple(store.stages)
        with bar("pruning stages", total=schedule.steps) as progress:
            progress.advance(len(store.stages))
            while len(store.stages) < schedule.steps and not store.outcome.finished:
                index = len(store.stages) + 1
                begin = time.perf_counter()
                with torch.random.fork_rng(devices=_devices(model)):
                    torch.manual_seed(seed * 1_000_003 + index)
                    stage = Work(task, index, schedule.keep_at(index)).run()
                    stage = replace(stage, measured=measure())
                stage = replace(stage, seconds=time.perf_counter() - begin)
                store.commit(stage)
                log.info("stage %d: %d filters, %s", index, stage.kept_filters, stage.metrics)
                progress.advance(1, filters=stage.kept_filters)
                yield stage
        store.deliver()


def _measuring(task: Task, goal: Goal | None, store: Store) -> Callable[[], dict[str, float]]:
    """What a goal measures of the network as it is now; call this before the first stage."""
    if goal is None:
        return dict
    apply_masks(task.model, _full_masks(task))  # from now on its parameters have fixed names
    dense = baked_copy(task.model)
    if store.stages:
        before = {k: v for k, v in store.stages[0].measured.items() if k.startswith(DENSE)}
    else:
        before = judge_dense(task.model, task.finetune, goal)
    return lambda: before | goal.measure(dense, task.model, task.example_inputs)


def _full_masks(task: Task) -> dict[str, Tensor]:
    graph = trace(task.model, task.example_inputs, task.ignore)
    return {block.name: torch.ones(block.shape, dtype=torch.bool) for block in graph.filters}


def _devices(model: nn.Module) -> list[int]:
    """The CUDA devices of a model."""
    places = {p.device for p in model.parameters() if p.device.type == "cuda"}
    return sorted(place.index or 0 for place in places)
