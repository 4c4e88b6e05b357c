"""Follow a model through its forward pass: `torch.export`, and where that fails a recorder."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import GraphModule, Node

from leanline.errors import ModelError
from leanline.graph.nodes import base_name
from leanline.graph.operations import IDENTITY, RESHAPES
from leanline.graph.program import Frozen
from leanline.graph.rules import find


@dataclass(frozen=True, eq=False)
class Traced:
    """A graph of ATen calls without side effects.

    Attributes:
        module: The graph.
        names: Placeholder nodes of parameters, buffers and constants, by name, to their names in
            the model.
        tensors: What the names stand for, parameters and buffers of the model left out.
        numbers: Placeholder nodes of inputs that are no tensors, by name, to their values.
        outputs: The nodes of the model's outputs, in order.
        decisions: Where the model looked at numbers to decide what to compute, if it was followed
            beyond such places.
    """

    module: GraphModule
    names: dict[str, str]
    tensors: dict[str, Tensor]
    numbers: dict[str, Any]
    outputs: list[Node]
    decisions: tuple[Frozen, ...] = ()


def export(model: nn.Module, inputs: tuple[Any, ...], strict: bool) -> Traced:
    """Trace by `torch.export`."""
    with _quiet():
        exported = torch.export.export(model, inputs, strict=strict)
        _check_writes(exported)
        exported = _functional(exported)
    for node in exported.graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            raise ModelError(f"it holds a graph of its own ({node.target})")
    signature = exported.graph_signature
    names: dict[str, str] = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    constants = {k: v for k, v in exported.constants.items() if isinstance(v, Tensor)}
    numbers = {
        node.name: node.meta.get("val")
        for node in exported.graph.nodes
        if node.op == "placeholder"
        and node.name not in names
        and not isinstance(node.meta.get("val"), Tensor)
    }
    return Traced(exported.graph_module, names, constants, numbers, _outputs(exported))


def _check_writes(exported: ExportedProgram) -> None:
    """Refuse what would take the process down: a tensor whose memory is exchanged."""
    for node in exported.graph.nodes:
        if node.op == "call_function" and base_name(node) in ("set", "set_data"):
            raise ModelError("the model assigns to the data of a parameter in its forward pass")
    if any(isinstance(value, FakeTensor) for value in exported.constants.values()):
        raise ModelError("the model keeps a tensor of its own from one call to the next")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from printing graphs and warnings when it fails: others try after it."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _functional(exported: ExportedProgram) -> ExportedProgram:
    """Make in-place operations ones that make new tensors, and composite ones simple ones.

    PyTorch's way takes as long as the export, so it is left out where all operations are known and
    a write in place changes a tensor that nobody else reads.
    """
    nodes = [node for node in exported.graph.nodes if node.op == "call_function"]
    place = {node: number for number, node in enumerate(exported.graph.nodes)}
    if all(find(base_name(node)) is not None for node in nodes):
        plain: dict[Node, Any] = {}
        for node in filter(_mutates, nodes):
            plain[node] = _plain(node, place, plain)
        if None not in plain.values():
            for node, target in plain.items():
                node.target = target
            return exported
    decompose: Callable[..., ExportedProgram] = exported.run_decompositions
    return decompose({})


def _mutates(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _plain(node: Node, place: Mapping[Node, int], done: Mapping[Node, Any]) -> Any:
    """The same call without a write, where that makes no difference; else None.

    Args:
        node: A call that writes.
        place: Order of the nodes.
        done: Earlier calls that write, and those that take their places.
    """
    schema = getattr(node.target, "_schema", None)
    name, written = base_name(node), node.args[0] if node.args else None
    packet = getattr(torch.ops.aten, name, None)
    plain = getattr(packet, getattr(node.target, "_overloadname", ""), None)
    if plain is None or schema is None or not isinstance(written, Node) or name == "copy":
        return None
    one = [argument.is_write for argument in schema.arguments] == [True] + [False] * (
        len(schema.arguments) - 1
    )
    fresh = done.get(written) is not None or not _shares(written)
    own = written.op == "call_function" and fresh
    alone = all(
        user is node or (place[user] < place[node] and not _shares(user)) for user in written.users
    )
    return plain if one and own and alone else None


def _shares(node: Node) -> bool:
    """Whether the result may lie in the memory of an argument."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or any(value.alias_info is not None for value in schema.returns):
        return True
    return base_name(node) in _MAYBE_VIEWS


# Views or copies, which their schemas do not say.
_MAYBE_VIEWS = RESHAPES | IDENTITY | {"chunk", "split", "tensor_split", "t", "numpy_T"}


def _outputs(exported: ExportedProgram) -> list[Node]:
    node = next(node for node in exported.graph.nodes if node.op == "output")
    arguments = node.args[0]
    assert isinstance(arguments, tuple | list)
    return [
        argument
        for argument, spec in zip(arguments, exported.graph_signature.output_specs, strict=True)
        if spec.kind == OutputKind.USER_OUTPUT and isinstance(argument, Node)
    ]
