"""Does the compact network compute what the model does? If not, where does it begin to deviate?"""

from __future__ import annotations

import contextlib
import copy
import logging
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from leanline.compaction.build import Built
from leanline.compaction.draft import Refs
from leanline.compaction.structure import run, tensors_of
from leanline.errors import ModelError
from leanline.graph.agreement import deviation, draw_like
from leanline.graph.nodes import source_line
from leanline.graph.program import Operation, Program
from leanline.graph.replay import Replay

log = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest deviation that is accepted, relative to the largest output."""
TOLERANCE_DOUBLE = 1e-9
"""The same in float64."""
TIES = 1e-3
"""Largest share of integers (classes) that may differ, because rounding decides a tie."""


def verify(model: nn.Module, built: Built) -> None:
    """Compare on random inputs, shaped as those of the trace.

    Args:
        model: in eval mode, without masks or other parametrisations.
        built: its compact network.

    Raises:
        ModelError: they deviate; names the first operation that does.
    """
    inputs = draw_like(built.arguments)
    index, error = compare(model, built.module, inputs)
    if error > TOLERANCE:
        first = first_deviation(built, inputs)
        place = f" {first}" if first else " no operation before it does"
        raise ModelError(
            f"the compact network deviates from the model by {error:.2e} of the largest value in "
            f"output {index} (allowed {TOLERANCE:.0e});{place}; please report this"
        )


def compare(model: nn.Module, small: nn.Module, inputs: tuple[Any, ...]) -> tuple[int, float]:
    """The output that deviates most, and by how much of its largest value.

    A deep or badly scaled network may differ by rounding alone: there is no deviation where there
    is none in float64.
    """
    index, error = worst(run(model, inputs), run(small, inputs))
    if error <= TOLERANCE:
        return index, error
    exact = tree_map(
        lambda x: x.double() if isinstance(x, Tensor) and x.is_floating_point() else x, inputs
    )
    with contextlib.suppress(Exception):  # a model that insists on its dtype
        double = copy.deepcopy(model).double(), copy.deepcopy(small).double()
        _, fine = worst(*(run(network, exact) for network in double))
        if fine <= TOLERANCE_DOUBLE:
            log.info("rounding makes a difference of %.1e in output %d", error, index)
            return index, 0.0
    return index, error


def worst(expected: object, found: object) -> tuple[int, float]:
    """The tensor of two containers that deviates most, and by how much."""
    wanted, have = tensors_of(expected), tensors_of(found)
    if len(wanted) != len(have) or _rest(expected) != _rest(found):
        return 0, float("inf")
    errors = []
    for want, got in zip(wanted, have, strict=True):
        error = deviation(want, got)
        # classes may differ at ties
        tied = want.shape == got.shape and not want.is_floating_point() and error <= TIES
        errors.append(0.0 if tied else error)
    index = max(range(len(errors)), key=errors.__getitem__, default=0)
    return index, errors[index] if errors else 0.0


def _rest(value: object) -> list[object]:
    """Numbers and texts among the outputs."""
    kinds = bool | int | float | str | None
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, kinds) and leaf == leaf]


class _Watched(Replay):
    """A run of a trace that keeps the value of every node."""

    def __init__(self, program: Program, inputs: list[Tensor]) -> None:
        values = {
            node.name: program.tensors[program.names[node.name]]
            if node.name in program.names
            else node.meta.get("val")
            for node in program.module.graph.nodes
            if node.op == "placeholder"
            and (node.name in program.names or not isinstance(node.meta.get("val"), Tensor))
        }
        super().__init__(program.module, values, inputs)
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.results[n] = super().run_node(n)
        return self.results[n]


class _WatchedSmall(fx.Interpreter):
    """A run of a compact network that keeps the value of every node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.results[n.name] = super().run_node(n)
        return self.results[n.name]


def first_deviation(built: Built, inputs: tuple[Any, ...]) -> str:
    """The first operation whose live channels are not those of the model, in words.

    Args:
        built: a compact network whose output deviates.
        inputs: on which it does.

    Returns:
        The operation, its module and line; "" if none deviates.
    """
    program, draft = built.program, built.draft
    devices = sorted({t.device.index or 0 for t in tensors_of(inputs) if t.device.type == "cuda"})
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        dense = _Watched(program, [t.clone() for t in tensors_of(inputs)])
        blank = [None] * sum(node.op == "placeholder" for node in program.module.graph.nodes)
        torch.manual_seed(0)
        dense.run(*blank, enable_io_processing=False)
        small = _WatchedSmall(built.module)
        torch.manual_seed(0)
        copies = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, inputs)
        with contextlib.suppress(Exception):  # what came before it failed is there
            small.run(*copies, enable_io_processing=False)
    for node, place in program.places.items():
        if not isinstance(place, int) or program.operations[place].kind == "output":
            continue
        operation = program.operations[place]
        want, refs = dense.results.get(node), draft.values.get(place)
        if not isinstance(want, Tensor) or refs is None or operation.node is not node:
            continue
        error = _error(operation, want, refs, small.results)
        if error > TOLERANCE:
            where = ", ".join(part for part in (operation.module, source_line(node)) if part)
            return (
                f"the first operation that does is {operation.name!r} ({operation.kind}"
                f"{', ' + where if where else ''}), by {error:.2e}"
            )
    return ""


def _error(operation: Operation, want: Tensor, refs: Refs, results: dict[str, Any]) -> float:
    """How much the live channels of an operation deviate, of its largest value."""
    scale = float(torch.where(want.isfinite(), want.abs().double(), 0.0).max()) if len(refs) else 0
    largest = 0.0
    for channel, reference in enumerate(refs):
        have = None if reference is None else results.get(reference[0].name)
        if reference is None or not isinstance(have, Tensor) or not want.is_floating_point():
            continue
        if want.ndim < 2:
            part, other = want, have
        else:
            part = want.select(operation.axis, channel)
            if have.ndim != want.ndim or reference[1] >= have.shape[operation.axis]:
                return float("inf")
            other = have.select(operation.axis, reference[1])
        if part.shape != other.shape:
            return float("inf")
        same = (part == other) | (part.isnan() & other.isnan())
        gap = torch.where(same, 0.0, (part - other).abs().double())
        gap = gap.nan_to_num(nan=torch.inf, posinf=torch.inf)
        largest = max(largest, float(gap.max()) if gap.numel() else 0.0)
    return largest / scale if scale else float("inf") if largest else 0.0
