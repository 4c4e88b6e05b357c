"""A plan carried out on one trace of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx, nn
from torch.fx.graph_module import _USER_PRESERVED_ATTRIBUTES_KEY

from leanline.compaction.draft import Draft
from leanline.compaction.holes import DifferentError
from leanline.compaction.plan import CompactPlan
from leanline.compaction.rewrite import Rewriter
from leanline.compaction.structure import run
from leanline.graph.program import Program


@dataclass(frozen=True, eq=False)
class Built:
    """A compact network, made from a trace at one size.

    Attributes:
        arguments: what the network was traced with.
        program: the trace.
        plan: what stays of it.
        draft: says which node of the compact network computes which channels.
        module: the compact network, in eval mode.
        expected: what the model returned for the arguments.
    """

    arguments: tuple[Any, ...]
    program: Program
    plan: CompactPlan
    draft: Draft
    module: fx.GraphModule
    expected: Any


def build(
    model: nn.Module, program: Program, plan: CompactPlan, arguments: tuple[Any, ...]
) -> Built:
    """Execute a plan; nothing is checked.

    Args:
        model: what was traced, in eval mode, without masks or other parametrisations; says which
            tensors are parameters, whether they are trained, which parts are ignored, and what is
            returned.
        program: its trace.
        plan: what stays.
        arguments: what it was traced with.

    Raises:
        ModelError: outputs that do not depend on the inputs, or odd containers in the arguments.
    """
    trained = {
        name: value.requires_grad for name, value in model.named_parameters(remove_duplicate=False)
    }
    expected = run(model, arguments)
    rewriter = Rewriter(program, plan, trained)
    small = rewriter.run(arguments, expected).eval()
    return Built(arguments, program, plan, rewriter.draft, small, expected)


def keep_ignored(model: nn.Module, small: fx.GraphModule) -> None:
    """Note on a compact network which parts of the model are not to be pruned."""
    ignored = getattr(model, "leanline_ignore", None)
    if ignored is not None:
        paths = {path for path, _ in small.named_modules()}
        kept = tuple(path for path in ignored if path in paths)
        small.leanline_ignore = kept  # type: ignore[assignment]
        # what a deep copy of a GraphModule keeps besides its layers
        small.meta[_USER_PRESERVED_ATTRIBUTES_KEY] = {"leanline_ignore": kept}


def plan_again(built: Built, program: Program) -> CompactPlan:
    """The same plan for a trace of the same network at another size.

    Raises:
        DifferentError: the traces are not those of one network, or what loses channels has
            another number of them at the other size.
    """
    ours, theirs = built.program.operations, program.operations
    if len(ours) != len(theirs):
        raise DifferentError(f"it has {len(ours)} operations at one and {len(theirs)} at another")
    live, reads = [], {}
    for one, other, kept in zip(ours, theirs, built.plan.live, strict=True):
        if (one.kind, one.inputs, one.axis) != (other.kind, other.inputs, other.axis):
            raise DifferentError(f"{one.name} is {one.kind} at one and {other.kind} at another")
        live.append(_again(kept, other.channels, one.name))
    for index, read in built.plan.reads.items():
        source = theirs[theirs[index].inputs[0]]
        reads[index] = _again(read, source.channels, source.name)
    return CompactPlan(tuple(live), reads)


def _again(kept: np.ndarray, channels: int, name: str) -> np.ndarray:
    if kept.size == channels:
        return kept
    if kept.all():
        return np.ones(channels, bool)
    raise DifferentError(f"{name} has {kept.size} channels at one and {channels} at another size")
