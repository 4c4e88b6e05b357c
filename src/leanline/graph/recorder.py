"""Record the ATen calls of one forward pass, for models that `torch.export` cannot follow.

What the model decides by looking at numbers (an `if` on a mean, an `.item()`) is recorded as it was
decided for the example inputs.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.weak import WeakTensorKeyDictionary

from leanline.errors import ModelError
from leanline.graph.program import Frozen
from leanline.graph.tracers import Traced

# Packages whose lines are not the model's: those between a model and the recorder.
_BETWEEN = ("torch", "leanline", "jaxtyping", "beartype")


def record(model: nn.Module, inputs: tuple[Any, ...]) -> Traced:
    """Run a model once and note what it computes, and from what.

    Args:
        model: Any module, in eval mode; parameters are found by identity.
        inputs: What it is called with.
    """
    known = {
        **{id(tensor): name for name, tensor in model.named_buffers()},
        **{id(tensor): name for name, tensor in model.named_parameters()},
    }
    recorder = _Recorder(known)
    leaves, structure = tree_flatten(inputs)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    for position, tensor in enumerate(tensors):
        recorder.input(position, tensor)

    def forward(*given: Tensor) -> list[Any]:
        pieces = iter(given)
        own = [next(pieces) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        found = model(*tree_unflatten(own, structure))
        return [leaf for leaf in tree_flatten(found)[0] if isinstance(leaf, Tensor)]

    places = {name: value.data_ptr() for name, value in model.named_parameters()}
    with recorder.modules(model), recorder:
        results = torch.func.functionalize(forward, remove="mutations_and_views")(*tensors)
    for name, value in model.named_parameters():
        if value.data_ptr() != places[name]:
            raise ModelError(f"the model assigns to {name}.data in its forward pass")
    outputs = [recorder.node(result) for result in results]
    recorder.graph.output(tuple(outputs))
    module = GraphModule(nn.Module(), recorder.graph)
    decisions = tuple(recorder.decisions)
    return Traced(module, recorder.names, recorder.constants, {}, outputs, decisions)


def _inner(tensor: Tensor) -> Tensor:
    """The tensor behind the wrapper that turns writes into new values."""
    functorch = torch._C._functorch
    level = functorch.maybe_get_level(tensor)
    value = functorch.get_unwrapped(tensor) if level != -1 else tensor
    return torch._from_functional_tensor(value) if torch._is_functional_tensor(value) else value


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of PyTorch's own class
    def __init__(self, known: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = Graph()
        self.names: dict[str, str] = {}
        self.constants: dict[str, Tensor] = {}
        self._known = known
        self._nodes = WeakTensorKeyDictionary()
        self._path: list[str] = []
        self.decisions: list[Frozen] = []

    def input(self, position: int, tensor: Tensor) -> None:
        """Note an input of the model."""
        node = self.graph.placeholder(f"input_{position}")
        self._note(node, tensor)

    @contextmanager
    def modules(self, model: nn.Module) -> Iterator[None]:
        """Follow which module is running."""
        paths = {module: path for path, module in model.named_modules()}

        def enter(module: nn.Module, _: Any) -> None:
            self._path.append(paths[module])

        def leave(*_: Any) -> None:
            self._path.pop()

        with ExitStack() as hooks:
            for module in paths:
                hooks.callback(module.register_forward_pre_hook(enter).remove)
                hooks.callback(module.register_forward_hook(leave).remove)
            yield

    def node(self, tensor: Tensor) -> Node:
        """The node that computes a tensor; one that nobody computed is a constant."""
        inner = _inner(tensor)
        if inner not in self._nodes:
            name = self._known.get(id(inner))
            if name is None:
                name = f"recorded_constant_{len(self.constants)}"
                self.constants[name] = inner.detach()
            node = self.graph.placeholder(name.replace(".", "_"))
            self.names[node.name] = name
            self._note(node, inner)
        found = self._nodes[inner]
        assert isinstance(found, Node)
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def replace(value: Any) -> Any:
            return self.node(value) if isinstance(value, Tensor) else value

        given, named = tree_map(replace, args), tree_map(replace, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, Tensor | tuple | list):
            if func is torch.ops.aten._local_scalar_dense.default:
                self._decided()
            return result
        node = self.graph.call_function(_without_copy(func), given, named)
        node.meta["stack_trace"] = _caller()
        node.meta["nn_module_stack"] = {"": (self._path[-1] if self._path else "", "")}
        self._note(node, result)
        if not isinstance(result, Tensor):
            for position, part in enumerate(result):
                if isinstance(part, Tensor):
                    self._note(self.graph.call_function(operator.getitem, (node, position)), part)
        return result

    def _decided(self) -> None:
        lines = re.findall(r'File "([^"]+)", line (\d+)', _caller())
        source = f"{Path(lines[-1][0]).name}:{lines[-1][1]}" if lines else ""
        module = self._path[-1] if self._path else ""
        reason = "the model decides by a number; the trace holds what it decided for the example"
        found = Frozen("item", "item", module, source, reason)
        if found not in self.decisions:
            self.decisions.append(found)

    def _note(self, node: Node, result: Any) -> None:
        node.meta["val"] = tree_map(
            lambda value: (
                torch.empty(value.shape, dtype=value.dtype, device="meta")
                if isinstance(value, Tensor)
                else value
            ),
            result,
        )
        if isinstance(result, Tensor):
            self._nodes[result] = node


def _without_copy(func: Any) -> Any:
    """The plain movement behind one that copies, as functionalisation writes them."""
    namespace, _, name = func._schema.name.partition("::")
    packet = getattr(torch.ops.aten, name.removesuffix("_copy"), None)
    if namespace != "aten" or name in ("_to_copy", "lift_fresh_copy") or packet is None:
        return func
    return getattr(packet, func._overloadname, func)


def _caller() -> str:
    """The line of the model's code that is running, written as in a traceback."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _BETWEEN:
            code = frame.f_code
            return f'File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}'
        frame = frame.f_back
    return ""
