"""What the operations of a compact network are to the plane kernels, if they are anything."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional
from torch.utils._pytree import tree_map

from leanline.compaction.pieces import zero_channels
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window

Sides = tuple[int, int, int, int]
"""Pixels at the top, left, bottom and right."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution, transposed or not."""

    layer: nn.Conv2d | nn.ConvTranspose2d
    window: Window


@dataclass(frozen=True, eq=False)
class Affine:
    """A batch norm that follows no convolution: a factor and a shift for each channel."""

    factor: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Pool:
    """The same window on every channel, with equal taps (None: the largest value)."""

    window: Window
    tap: float | None


@dataclass(frozen=True)
class Relu:
    """Negative values become zero."""


@dataclass(frozen=True)
class Sum:
    """Values are added."""


@dataclass(frozen=True)
class Join:
    """Channels one after the other."""


@dataclass(frozen=True)
class Take:
    """Some channels of a value."""

    channels: tuple[int, ...]


@dataclass(frozen=True)
class Zeros:
    """Channels of zeros, of the size of a value."""

    count: int


@dataclass(frozen=True)
class Pad:
    """Padding that a convolution absorbs."""

    sides: Sides
    mode: str


Parsed = Convolution | Affine | Pool | Relu | Sum | Join | Take | Zeros | Pad

aten = torch.ops.aten


def parse(network: fx.GraphModule, node: fx.Node) -> Parsed | None:
    """Read one operation; None where the plane kernels do not do it.

    Args:
        network: with shapes noted by `note_shapes`.
        node: one of its operations.
    """
    if not _is_picture(node) or not all(map(_is_picture, values_read(node))):
        return None
    if node.op == "call_module":
        return _layer(network.get_submodule(str(node.target)))
    if node.op != "call_function":
        return None
    held = any(source.op == "get_attr" for source in node.all_input_nodes)
    if held and node.target is not torch.index_select:
        return None  # a tensor of the network itself has no planes
    reader = _FUNCTIONS.get(node.target)
    return None if reader is None else reader(network, node)


def values_read(node: fx.Node) -> list[fx.Node]:
    """What an operation reads of other operations, in order; one twice where it reads it twice."""
    first = node.args[0] if node.args else None
    given = [*first, *node.args[1:]] if isinstance(first, list | tuple) else list(node.args)
    return [source for source in given if isinstance(source, fx.Node) and source.op != "get_attr"]


def note_shapes(network: fx.GraphModule, arguments: tuple[Any, ...]) -> None:
    """Note the shape of every value at some arguments, on the graph's nodes.

    The arguments and the random state stay as they are.
    """
    copies = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, arguments)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        ShapeProp(network).propagate(*copies)


def shape_of(node: fx.Node) -> torch.Size | None:
    """Shape of a tensor at the example inputs."""
    meta = node.meta.get("tensor_meta")
    return getattr(meta, "shape", None)


def _is_picture(node: fx.Node) -> bool:
    meta, shape = node.meta.get("tensor_meta"), shape_of(node)
    return shape is not None and len(shape) == 4 and meta.dtype == torch.float32  # type: ignore[union-attr]


def _layer(layer: nn.Module) -> Parsed | None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return convolution(layer)
    if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
        assert layer.running_mean is not None
        factor = torch.rsqrt(layer.running_var + layer.eps)
        if layer.affine:
            factor = factor * layer.weight
        shift = -layer.running_mean * factor
        return Affine(factor.detach(), (shift + layer.bias if layer.affine else shift).detach())
    return Relu() if isinstance(layer, nn.ReLU) else None


def convolution(layer: nn.Conv2d | nn.ConvTranspose2d) -> Convolution | None:
    """Read a convolution; None where the plane kernels do not do it."""
    if layer.weight.dtype != torch.float32:
        return None
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        return None
    (rows, columns), (down, right) = layer.kernel_size, layer.padding
    after = (down, right)
    kind = CONVOLVE
    if isinstance(layer, nn.ConvTranspose2d):
        kind = SPREAD
        after = (down - layer.output_padding[0], right - layer.output_padding[1])
    window = Window(
        kind, rows, columns, *_pair(layer.stride), *_pair(layer.dilation), down, right, *after
    )
    return Convolution(layer, window)


def _pair(value: Any) -> tuple[int, int]:
    both = (value, value) if isinstance(value, int) else tuple(value)
    return (both[0], both[-1])


def _all_fixed(*values: Any) -> bool:
    """Whether arguments are numbers, and no sizes that are known at run time only."""
    flat = [v for value in values for v in (value if isinstance(value, list | tuple) else [value])]
    return all(isinstance(v, int | float | bool) or v is None for v in flat)


def _arguments(node: fx.Node, names: Sequence[str], defaults: tuple[Any, ...]) -> list[Any]:
    """The arguments behind the first one, by position or by name."""
    given = [*node.args[1:]]
    return [
        given[i] if i < len(given) else node.kwargs.get(name, default)
        for i, (name, default) in enumerate(zip(names, defaults, strict=True))
    ]


def _mean(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
    names: tuple[str, ...] = ("kernel_size", "stride", "padding", "ceil_mode")
    names += ("count_include_pad", "divisor_override")
    size, step, around, ceil, counts, divisor = _arguments(
        node, names, (None, None, 0, False, True, None)
    )
    if not _all_fixed(size, step, around) or ceil or divisor is not None:
        return None
    (rows, columns), (down, right) = _pair(size), _pair(around)
    if (down or right) and not counts:
        return None
    steps = _pair(step) if step else (rows, columns)
    window = Window(CONVOLVE, rows, columns, *steps, 1, 1, down, right, down, right)
    return Pool(window, 1.0 / (rows * columns))


def _largest(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    size, step, around, gap, ceil = _arguments(node, names, (None, None, 0, 1, False))
    if not _all_fixed(size, step, around, gap) or ceil:
        return None
    (rows, columns), (down, right) = _pair(size), _pair(around)
    source = node.args[0]
    if (down or right) and not (isinstance(source, fx.Node) and _is_relu(source)):
        return None  # what lies around a plane is zero, not minus infinity
    steps = _pair(step) if step else (rows, columns)
    window = Window(LARGEST, rows, columns, *steps, *_pair(gap), down, right, down, right)
    return Pool(window, None)


def _is_relu(node: fx.Node) -> bool:
    return node.op == "call_function" and _FUNCTIONS.get(node.target) is _relu


def _nearest(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
    source = node.args[0]
    size, factors = _arguments(node, ("output_size", "scale_factors"), (None, None))
    if size is not None or not _all_fixed(factors) or not isinstance(source, fx.Node):
        return None
    down, right = (int(factor) for factor in factors)
    if (down, right) != tuple(factors) or min(down, right) < 1:
        return None
    return Pool(Window(SPREAD, down, right, down, right), 1.0)


def _relu(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
    return Relu()


def _sum(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
    terms = node.args
    alike = len(terms) == 2 and all(isinstance(term, fx.Node) for term in terms)
    if not alike or node.kwargs.get("alpha", 1) != 1:
        return None
    shapes = {shape_of(term) for term in terms if isinstance(term, fx.Node)}
    return Sum() if shapes == {shape_of(node)} else None


def _join(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return Join() if axis in (1, -3) else None


def _narrow(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
    axis, start, length = node.args[1:]
    if axis != 1 or not isinstance(start, int) or not isinstance(length, int):
        return None
    return Take(tuple(range(start, start + length)))


def _select(network: fx.GraphModule, node: fx.Node) -> Parsed | None:
    axis, index = node.args[1:]
    if axis != 1 or not isinstance(index, fx.Node) or index.op != "get_attr":
        return None
    channels = operator.attrgetter(str(index.target))(network)
    return Take(tuple(channels.tolist()))


def _zeros(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
    count = node.args[1]
    return Zeros(count) if isinstance(count, int) else None


def _pad(mode: str | None) -> Callable[[fx.GraphModule, fx.Node], Parsed | None]:
    def read(_: fx.GraphModule, node: fx.Node) -> Parsed | None:
        amounts, *rest = node.args[1:]
        given = mode
        if mode is None:  # the general call: its mode, then its value
            given = str(rest[0] if rest else node.kwargs.get("mode", "constant"))
            rest = list(rest[1:]) or [node.kwargs.get("value")]
        names = {"constant": "zeros", "reflect": "reflect", "replicate": "replicate"}
        if not _all_fixed(amounts) or given not in names or (given == "constant" and any(rest)):
            return None
        assert isinstance(amounts, list | tuple)
        left, right, top, bottom = (*amounts, 0, 0, 0, 0)[:4]
        sides = (top, left, bottom, right)
        if len(amounts) > 4 or min(sides) < 0 or not all(isinstance(n, int) for n in sides):
            return None
        return Pad(sides, names[given])

    return read


_FUNCTIONS: dict[Any, Callable[[fx.GraphModule, fx.Node], Parsed | None]] = {
    aten.avg_pool2d.default: _mean,
    aten.max_pool2d.default: _largest,
    aten.upsample_nearest2d.vec: _nearest,
    aten.relu.default: _relu,
    functional.relu: _relu,
    torch.relu: _relu,
    operator.add: _sum,
    aten.add.Tensor: _sum,
    torch.cat: _join,
    aten.cat.default: _join,
    torch.narrow: _narrow,
    torch.index_select: _select,
    zero_channels: _zeros,
    aten.pad.default: _pad(None),
    functional.pad: _pad(None),
    aten.constant_pad_nd.default: _pad("constant"),
    aten.reflection_pad2d.default: _pad("reflect"),
    aten.replication_pad2d.default: _pad("replicate"),
}
