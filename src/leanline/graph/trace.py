"""Trace a model to a `Program`: export a copy, functionalise, lower."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from leanline.errors import ModelError
from leanline.graph.lower import Lowering, base_name
from leanline.graph.program import Program
from leanline.graph.rules import find
from leanline.masks import baked_copy, get_masks
from leanline.masks.slots import find_slots

_log = logging.getLogger(__name__)

Inputs = Tensor | tuple[Tensor, ...]


def trace_program(model: nn.Module, example_inputs: Inputs) -> Program:
    """Trace a network in eval mode.

    The model is copied first and not touched: training flags, gradients, masks, buffers and random
    state stay as they are. Masks and other parametrisations are baked into the copy.

    Args:
        model: Any module.
        example_inputs: A tensor, or a tuple of tensors, as the model is called with.

    Returns:
        The program, with spatial sizes and batch of the example.

    Raises:
        ModelError: If a weight or another number that channels are ranked by is not finite, if the
            model fails on the example, or if no tracer can follow it.
    """
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if not all(isinstance(item, Tensor) for item in inputs):
        kinds = ", ".join(type(item).__name__ for item in inputs)
        raise ModelError(f"example_inputs must be a tensor or a tuple of tensors, not {kinds}")
    kept = get_masks(model)
    copy = baked_copy(model).eval().requires_grad_(False)
    devices = sorted(
        {t.device.index or 0 for t in (*copy.parameters(), *inputs) if t.device.type == "cuda"}
    )
    inputs = tuple(item.detach() for item in inputs)
    with torch.random.fork_rng(devices=devices), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        exported, tracer = _export(copy, inputs)
    program = _program(copy, exported, kept, tracer)
    _check_finite(program)
    return program


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


def _check_runs(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    try:
        model(*inputs)
    except Exception as error:
        shapes = ", ".join(f"{tuple(item.shape)} {item.dtype}" for item in inputs)
        raise ModelError(
            f"the model fails on example_inputs of {shapes}: "
            f"{type(error).__name__}: {_short(error)}"
        ) from error


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return text if len(text) <= 300 else text[:297] + "..."


def _export(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[ExportedProgram, str]:
    said: list[str] = []
    tracers: Iterable[tuple[str, bool]] = (("torch.export", False), ("torch.export strict", True))
    for name, strict in tracers:
        try:
            exported = torch.export.export(model, inputs, strict=strict)
            return _functional(exported), name
        except Exception as error:
            if not said:
                _check_runs(model, inputs)
            _log.debug("%s failed", name, exc_info=True)
            said.append(f"{name}: {type(error).__name__}: {_short(error)}")
    raise ModelError("the model cannot be traced; " + "; ".join(said))


def _functional(exported: ExportedProgram) -> ExportedProgram:
    """Make in-place operations ones that make new tensors, and composite ones simple ones.

    That takes as long as the export, so it is left out where all operations are known as they are.
    """
    nodes = [node for node in exported.graph.nodes if node.op == "call_function"]
    if all(find(base_name(node)) is not None and not _mutates(node) for node in nodes):
        return exported
    decompose: Callable[..., ExportedProgram] = exported.run_decompositions
    return decompose({})


def _mutates(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _program(
    model: nn.Module, exported: ExportedProgram, kept: dict[str, Tensor], tracer: str
) -> Program:
    signature = exported.graph_signature
    slots = find_slots(model)
    names: dict[str, str] = {
        node: slots[name].name if name in slots else name
        for node, name in signature.inputs_to_parameters.items()
    }
    names.update(signature.inputs_to_buffers)
    names.update(signature.inputs_to_lifted_tensor_constants)
    tensors: dict[str, Tensor] = {
        name: tensor.detach()
        for name, tensor in (
            *model.named_parameters(),
            *model.named_buffers(),
            *((k, v) for k, v in exported.constants.items() if isinstance(v, Tensor)),
        )
    }
    modules = frozenset(path for path, _ in model.named_modules(remove_duplicate=False))
    lowering = Lowering(names, modules, find)
    operations = lowering.run(exported.graph, _outputs(exported))
    frozen = tuple(
        f"{operation.name} ({operation.module})" if operation.module else operation.name
        for operation in operations
        if operation.kind == "opaque"
    )
    return Program(
        operations=operations,
        module=exported.graph_module,
        tensors=tensors,
        kept=kept,
        tracer=tracer,
        frozen=frozen,
        places=lowering.value,
        parameters=tuple(name for name, _ in model.named_parameters()),
    )


def _outputs(exported: ExportedProgram) -> list[Node]:
    node = next(node for node in exported.graph.nodes if node.op == "output")
    arguments = node.args[0]
    assert isinstance(arguments, tuple | list)
    return [
        argument
        for argument, spec in zip(arguments, exported.graph_signature.output_specs, strict=True)
        if spec.kind == OutputKind.USER_OUTPUT and isinstance(argument, Node)
    ]
