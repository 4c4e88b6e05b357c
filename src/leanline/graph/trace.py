"""Trace a model to a `Program`: follow a copy, lower its calls."""

from __future__ import annotations

import logging
import random
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils._pytree import tree_flatten, tree_leaves

from leanline.errors import ModelError
from leanline.graph.constants import Constants
from leanline.graph.fixed import find_fixed, frozen_weights
from leanline.graph.lower import Lowering
from leanline.graph.program import Program
from leanline.graph.recorder import record
from leanline.graph.replay import ChangedError, check_trace, fresh
from leanline.graph.rules import find
from leanline.graph.tracers import Traced, export
from leanline.masks import baked_copy, get_masks
from leanline.masks.slots import find_slots
from leanline.types import ExampleInputs

_log = logging.getLogger(__name__)

# The exporter changes things that all threads share.
_LOCK = threading.RLock()

_TRACERS: tuple[tuple[str, Callable[[nn.Module, tuple[Any, ...]], Traced]], ...] = (
    ("torch.export", partial(export, strict=False)),
    ("torch.export strict", partial(export, strict=True)),
    ("recorder", record),
)


def trace_program(model: nn.Module, example_inputs: ExampleInputs) -> Program:
    """Trace a network in eval mode.

    The model is copied first and not touched: training flags, gradients, masks, buffers and random
    state stay as they are. Masks and other parametrisations are baked into the copy.

    Args:
        model: Any module.
        example_inputs: A tensor, or a tuple of what the model is called with; an argument may be a
            dictionary or a list of tensors.

    Returns:
        The program, with spatial sizes and batch of the example.

    Raises:
        ModelError: If a weight or another number that channels are ranked by is not finite, if the
            model fails on the example, or if no tracer can follow it.
    """
    inputs = _as_arguments(example_inputs)
    kept = get_masks(model)
    copy = _copy(model)
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    devices = sorted(
        {t.device.index or 0 for t in (*copy.parameters(), *tensors) if t.device.type == "cuda"}
    )
    with (
        _LOCK,
        _own_random_numbers(),
        torch.random.fork_rng(devices=devices),
        torch.no_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        traced, tracer = _follow_once((id(model), _kind(copy, inputs)), copy, inputs)
        program = _program(copy, traced, kept, tracer)
    _check_finite(program)
    return program


_followed: ContextVar[dict[object, tuple[Traced, str]] | None] = ContextVar(
    "followed", default=None
)


@contextmanager
def following_once() -> Iterator[None]:
    """Inside, a network is followed once for inputs of one kind, whatever its numbers become.

    For work on networks whose code nobody changes meanwhile. Programs are made anew at each call;
    those of one network share their graph.
    """
    token = _followed.set({})
    try:
        yield
    finally:
        _followed.reset(token)


def _kind(model: nn.Module, inputs: tuple[Any, ...]) -> object:
    """What a trace depends on, as far as can be seen."""
    leaves, structure = tree_flatten(inputs)
    tensors = (*model.named_parameters(), *model.named_buffers())
    return (
        tuple((path, type(module)) for path, module in model.named_modules()),
        tuple((name, _form(tensor)) for name, tensor in tensors),
        structure,
        tuple(_form(leaf) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves),
    )


def _form(tensor: Tensor) -> object:
    return tensor.shape, tensor.dtype, tensor.device, tensor.stride()


def _follow_once(key: object, model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Traced, str]:
    memory = _followed.get()
    if memory is None:
        return _follow(model, inputs)
    if key not in memory:
        traced, tracer = _follow(model, inputs)
        if traced.tensors or traced.decisions:  # may become others
            return traced, tracer
        memory[key] = traced, tracer
    return memory[key]


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Leave the random states of Python and NumPy as they were."""
    state, numbers = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numbers)


def _copy(model: nn.Module) -> nn.Module:
    try:
        return baked_copy(model).eval().requires_grad_(False)
    except Exception as error:
        raise ModelError(
            f"the model cannot be copied ({type(error).__name__}: {_short(error)}): it must work "
            "with copy.deepcopy, without scripted parts, locks or open files"
        ) from error


def _as_arguments(example_inputs: object) -> tuple[Any, ...]:
    if isinstance(example_inputs, dict | list):
        kind = "dictionary" if isinstance(example_inputs, dict) else "list"
        raise ModelError(
            f"example_inputs is a {kind}: give a tuple of the model's arguments, such as "
            "(images,), or ({...},) for a model that takes one dictionary"
        )
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if any(not isinstance(item, Tensor) and _is_array(item) for item in tree_leaves(inputs)):
        raise ModelError("example_inputs holds an array: make it a tensor by torch.from_numpy")
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(inputs)):
        kinds = ", ".join(type(item).__name__ for item in inputs) or "an empty tuple"
        raise ModelError(
            f"example_inputs must be a tensor or a tuple of the model's arguments, not {kinds}"
        )
    return inputs


def _is_array(item: object) -> bool:
    return hasattr(item, "__array__")


def _check_finite(program: Program) -> None:
    """Refuse NaN where norms are taken; a mask of minus infinities elsewhere is no harm."""
    read = {
        name
        for operation in program.operations
        if operation.kind != "opaque"
        for name in operation.parameters.values()
    }
    bad = [name for name in sorted(read) if not bool(torch.isfinite(program.tensors[name]).all())]
    negative = [
        operation.parameters["running_var"]
        for operation in program.operations
        if operation.kind == "batch_norm"
        and bool((program.tensors[operation.parameters["running_var"]] < 0).any())
    ]
    if negative:
        raise ModelError(f"the model has negative variances in {', '.join(negative[:3])}")
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise ModelError(
            f"the model has NaN or infinite values in {', '.join(bad[:3])}{more}: "
            "only finite weights can be ranked"
        )


def _check_runs(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    try:
        model(*inputs)
    except Exception as error:
        tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
        shapes = ", ".join(f"{tuple(item.shape)} {item.dtype}" for item in tensors)
        raise ModelError(
            f"the model fails on example_inputs of {shapes}: "
            f"{type(error).__name__}: {_short(error)}"
        ) from error


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return text if len(text) <= 300 else text[:297] + "..."


def _follow(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Traced, str]:
    said: list[str] = []
    changed: list[ChangedError] = []
    for name, tracer in _TRACERS:
        try:
            traced = tracer(model, fresh(inputs))
            if not traced.outputs:
                raise ModelError("it returns no tensor that was computed")
            values = _values(model, traced)
            for _ in range(2 if changed else 1):  # one that changed once may look right once
                check_trace(model, inputs, traced.module, values, traced.outputs)
            return traced, name
        except Exception as error:
            if not said:
                _check_runs(model, fresh(inputs))
            _log.debug("%s failed", name, exc_info=True)
            said.append(f"{name}: {type(error).__name__}: {_short(error)}")
            changed += [error] if isinstance(error, ChangedError) else []
    if changed and len(changed) == len(said):
        raise changed[0]
    raise ModelError("the model cannot be traced; " + "; ".join(said))


def _program(model: nn.Module, traced: Traced, kept: dict[str, Tensor], tracer: str) -> Program:
    slots = find_slots(model)
    names = {
        node: slots[name].name if name in slots else name for node, name in traced.names.items()
    }
    tensors = _tensors(model, traced)
    learned = {node for node, name in names.items() if name not in traced.tensors}
    constants = Constants(traced.module, _values(model, traced), learned)
    modules = frozenset(path for path, _ in model.named_modules(remove_duplicate=False))
    lowering = Lowering(names, constants, modules, find)
    operations = lowering.run(traced.module.graph, traced.outputs)
    if all(operation.kind != "output" for operation in operations):
        raise ModelError(
            f"no output depends on the inputs, as far as {tracer} could follow the model: does it "
            "leave PyTorch on the way, or return numbers instead of tensors?"
        )
    parameters = tuple(name for name, _ in model.named_parameters())
    read = {name for operation in operations for name in operation.parameters.values()}
    computed = {name: value for name, value in lowering.computed.items() if name in read}
    fixed = find_fixed(traced.module, operations, names, parameters) | frozenset(computed)
    return Program(
        operations=operations,
        module=traced.module,
        tensors=tensors | computed,
        kept=kept,
        tracer=tracer,
        frozen=(
            *traced.decisions,
            *lowering.frozen.values(),
            *frozen_weights(operations, fixed, computed, modules),
        ),
        unreached=_unreached(model, names, traced.outputs),
        fixed=fixed,
        names=names,
        places=lowering.places(),
        parameters=parameters,
    )


def _tensors(model: nn.Module, traced: Traced) -> dict[str, Tensor]:
    everything = (*model.named_parameters(), *model.named_buffers(), *traced.tensors.items())
    return {name: tensor.detach() for name, tensor in everything}


def _values(model: nn.Module, traced: Traced) -> dict[str, Any]:
    """What placeholder nodes stand for, but those of the inputs that are tensors."""
    every = dict(
        [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ]
    )
    every |= traced.tensors
    return traced.numbers | {node: every[name].detach() for node, name in traced.names.items()}


def _unreached(model: nn.Module, names: dict[str, str], outputs: Sequence[Node]) -> tuple[str, ...]:
    """Weights of layers that no output depends on."""
    waiting, seen = list(outputs), set(outputs)
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    reached = {names[node.name] for node in seen if node.name in names}
    slots = find_slots(model)
    found: dict[str, None] = {}
    for path, module in model.named_modules():
        slot = slots.get(f"{path}.weight" if path else "weight")
        layer = isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
        if layer and slot is not None and slot.name not in reached:
            found[slot.name] = None
    return tuple(found)
