"""Trace a model to a `Program`: follow a copy, lower its calls."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from leanline.errors import ModelError
from leanline.graph.constants import Constants
from leanline.graph.lower import Lowering
from leanline.graph.nodes import module_of, source_line
from leanline.graph.program import Frozen, Operation, Program
from leanline.graph.recorder import record
from leanline.graph.replay import ChangedError, check_trace
from leanline.graph.rules import find
from leanline.graph.tracers import Traced, export
from leanline.masks import baked_copy, get_masks
from leanline.masks.slots import find_slots
from leanline.types import ExampleInputs

_log = logging.getLogger(__name__)

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
    copy = baked_copy(model).eval().requires_grad_(False)
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    devices = sorted(
        {t.device.index or 0 for t in (*copy.parameters(), *tensors) if t.device.type == "cuda"}
    )
    inputs = tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, inputs)
    with torch.random.fork_rng(devices=devices), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        traced, tracer = _follow(copy, inputs)
        program = _program(copy, traced, kept, tracer)
    _check_finite(program)
    return program


def _as_arguments(example_inputs: object) -> tuple[Any, ...]:
    if isinstance(example_inputs, dict):
        raise ModelError(
            "example_inputs is a dictionary: give a tuple of the model's arguments, that is "
            "({...},) for a model that takes one dictionary"
        )
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(inputs)):
        kinds = ", ".join(type(item).__name__ for item in inputs) or "an empty tuple"
        raise ModelError(
            f"example_inputs must be a tensor or a tuple of the model's arguments, not {kinds}"
        )
    if any(not isinstance(item, Tensor) and _is_array(item) for item in tree_leaves(inputs)):
        raise ModelError("example_inputs holds an array: make it a tensor by torch.from_numpy")
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
            traced = tracer(model, inputs)
            if not traced.outputs:
                raise ModelError("it returns no tensor that was computed")
            values = _values(model, traced)
            for _ in range(2 if changed else 1):  # one that changed once may look right once
                check_trace(model, inputs, traced.module, values, traced.outputs)
            return traced, name
        except Exception as error:
            if not said:
                _check_runs(model, inputs)
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
    read = {name for operation in operations for name in operation.parameters.values()}
    computed = {name: value for name, value in lowering.computed.items() if name in read}
    return Program(
        operations=operations,
        module=traced.module,
        tensors=tensors | computed,
        kept=kept,
        tracer=tracer,
        frozen=(*lowering.frozen.values(), *_computed(operations, computed, modules)),
        unreached=_unreached(model, names, read),
        computed=frozenset(computed),
        names=names,
        places=lowering.places(),
        parameters=tuple(name for name, _ in model.named_parameters()),
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


def _unreached(model: nn.Module, names: dict[str, str], read: set[str]) -> tuple[str, ...]:
    """Weights of layers that nothing on the way to an output reads."""
    followed = set(names.values()) & read
    found = []
    slots = find_slots(model)
    for path, module in model.named_modules():
        name = f"{path}.weight" if path else "weight"
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and name in slots:
            name = slots[name].name
            if name not in followed:
                found.append(name)
    return tuple(dict.fromkeys(found))


def _computed(
    operations: tuple[Operation, ...], computed: dict[str, Tensor], modules: frozenset[str]
) -> list[Frozen]:
    """Layers whose weights no mask can be put on."""
    found = []
    for operation in operations:
        if operation.node is not None and operation.parameters.get("weight") in computed:
            found.append(
                Frozen(
                    operation.node.name,
                    operation.kind,
                    module_of(operation.node, modules),
                    source_line(operation.node),
                    "its weight is computed from other parameters",
                )
            )
    return found
