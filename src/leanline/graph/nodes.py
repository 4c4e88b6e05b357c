"""What a traced node says about itself: its operator, arguments, shape, module and source line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.fx import Node

_INPUTS = ("self", "input")
_CASTS = frozenset({"_to_copy", "to", "detach", "alias", "clone", "contiguous", "lift_fresh_copy"})
_LINE = re.compile(r'File "([^"]+)", line (\d+)')


def shape_of(node: Node) -> tuple[int, ...]:
    """Shape of a node's result, of the first where there are several; () if it is no tensor."""
    value = node.meta.get("val")
    if isinstance(value, tuple | list) and value:
        value = value[0]
    return tuple(int(extent) for extent in value.shape) if isinstance(value, Tensor) else ()


def arguments_of(node: Node) -> dict[str, Any]:
    """All arguments of a node by their names in the operator's schema, defaults too."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    found: dict[str, Any] = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(node.args):
            found[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            found[argument.name] = node.kwargs[argument.name]
        elif argument.has_default_value():
            found[argument.name] = argument.default_value
    return found


def plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are no tensors, lists as tuples."""
    return {
        name: tuple(value) if isinstance(value, list | tuple) else value
        for name, value in arguments.items()
        if name not in _INPUTS and not isinstance(value, Node)
    }


def base_name(node: Node) -> str:
    """Name of the operator without namespace, overload and trailing underscore."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return getattr(node.target, "__name__", str(node.target))
    namespace, _, name = str(schema.name).partition("::")
    return name.rstrip("_") if namespace == "aten" else str(schema.name)


def module_of(node: Node, modules: frozenset[str]) -> str:
    """Path of the module whose forward made the call, "" at the top."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(list(stack.values())[-1][0]).split("@")[0] if stack else ""
    for prefix in ("L['self'].", "L['self']"):
        path = path.removeprefix(prefix)
    return path if path in modules else ""


def source_line(node: Node) -> str:
    """File and line of the call in the model's code, as "file.py:12"; "" if not known."""
    lines = _LINE.findall(node.meta.get("stack_trace") or "")
    lines = [(path, line) for path, line in lines if not path.startswith("<")]
    own = [(path, line) for path, line in lines if "/torch/" not in Path(path).as_posix()]
    found = own or lines
    return f"{Path(found[-1][0]).name}:{found[-1][1]}" if found else ""


def uncast(node: Node) -> Node:
    """The node behind copies and casts, which autocast makes of weights."""
    while base_name(node) in _CASTS and isinstance(node.args[0], Node):
        node = node.args[0]
    return node
