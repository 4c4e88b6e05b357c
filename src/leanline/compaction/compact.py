"""`compact`: the smaller network with the same output."""

from __future__ import annotations

import contextlib
import copy
import logging

import torch
from torch import Tensor, nn
from torch.fx.graph_module import _USER_PRESERVED_ATTRIBUTES_KEY
from torch.utils._pytree import tree_leaves

from leanline.compaction.plan import CompactPlan, plan_compaction
from leanline.compaction.recipe import Recipe
from leanline.compaction.rewrite import Rewriter
from leanline.errors import ModelError
from leanline.graph import trace_program
from leanline.graph.agreement import deviation, draw_like
from leanline.graph.program import Program
from leanline.masks import baked_copy
from leanline.types import ExampleInputs

log = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest deviation that is accepted, relative to the largest output."""
TOLERANCE_DOUBLE = 1e-9
"""The same in float64."""
TIES = 1e-3
"""Largest share of integers (classes) that may differ, because rounding decides a tie."""


def compact(model: nn.Module, example_inputs: ExampleInputs) -> nn.Module:
    """Build the smaller network whose output equals that of the masked model.

    Channels that are zero, and channels that no output needs, go; so do the rows and columns of
    weights that belong to them, and input channels that no present filter reads. What is not
    understood keeps its channels. Several outputs come back as a tuple, in the model's order. What
    happens in training only (dropout) is not part of the result. A layer that is used twice stays
    one layer where both uses keep the same channels, and becomes two where they do not.

    Args:
        model: a network with masks, or with filters that are zero; not changed.
        example_inputs: inputs as the network gets them. Layers work at any size; calls with a
            fixed shape in the model (a reshape to numbers, say) keep it, and so do sizes that the
            model reads from a picture (`size=x.shape[2:]`): compact at the size that is used.

    Returns:
        A `torch.fx.GraphModule` of ordinary layers, in eval mode, which can be trained on, saved
        with `save`, compiled and exported.

    Raises:
        ModelError: the model cannot be traced, or the result deviates by more than 1e-5 of the
            largest output from the model on random inputs.
    """
    given = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if not all(isinstance(item, Tensor) for item in given):
        kinds = ", ".join(type(item).__name__ for item in given)
        raise ModelError(f"compact needs a network that is called with tensors, not {kinds}")
    program = trace_program(model, example_inputs)
    plan = plan_compaction(program)
    log.debug("compacting\n%s", plan.describe(program))
    plain = baked_copy(model).eval()
    small = build(plain, program, plan)
    small.meta["recipe"] = Recipe.of(program, plan, type(model), example_inputs)
    _verify(plain, small, example_inputs)
    return small


def build(model: nn.Module, program: Program, plan: CompactPlan) -> torch.fx.GraphModule:
    """Execute a plan; nothing is checked.

    Args:
        model: what was traced, without masks or other parametrisations; says which tensors are
            parameters, whether they are trained, and which parts are ignored.
        program: its trace.
        plan: what stays.
    """
    small = Rewriter(program, plan, _trained(model)).run().eval()
    ignored = getattr(model, "leanline_ignore", None)
    if ignored is not None:
        paths = {path for path, _ in small.named_modules()}
        kept = tuple(path for path in ignored if path in paths)
        small.leanline_ignore = kept  # type: ignore[assignment]
        # what a deep copy of a GraphModule keeps besides its layers
        small.meta[_USER_PRESERVED_ATTRIBUTES_KEY] = {"leanline_ignore": kept}
    return small


def _trained(model: nn.Module) -> dict[str, bool]:
    """Parameters by name, and whether they are trained."""
    return {
        name: value.requires_grad for name, value in model.named_parameters(remove_duplicate=False)
    }


def _verify(model: nn.Module, small: nn.Module, example_inputs: ExampleInputs) -> None:
    inputs = draw_like(example_inputs)
    index, error = _worst(model, small, inputs)
    if error <= TOLERANCE:
        return
    # A deep or badly scaled network may differ by rounding alone. Then it does not in float64.
    exact = tuple(t.double() if t.is_floating_point() else t for t in inputs)
    with contextlib.suppress(Exception):  # a model that insists on its dtype
        _, fine = _worst(model.double(), copy.deepcopy(small).double(), exact)
        if fine <= TOLERANCE_DOUBLE:
            log.info("rounding makes a difference of %.1e in output %d", error, index)
            return
    raise ModelError(
        f"the compact network deviates from the model by {error:.2e} of the largest value in "
        f"output {index} (allowed {TOLERANCE:.0e}); please report this"
    )


def _worst(model: nn.Module, small: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[int, float]:
    """The output that deviates most, and by how much."""
    outputs = []
    for network in (model, small):
        devices = sorted({t.device.index or 0 for t in inputs if t.device.type == "cuda"})
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            outputs.append(_tensors(network(*(tensor.clone() for tensor in inputs))))
    expected, got = outputs
    if len(expected) != len(got):
        raise ModelError(
            f"the model returns {len(expected)} tensors, but {len(got)} were found in its graph: "
            "an output that does not depend on the input cannot be kept"
        )
    errors = [deviation(want, have) for want, have in zip(expected, got, strict=True)]
    # classes may differ at ties
    errors = [
        0.0 if not want.is_floating_point() and error <= TIES else error
        for want, error in zip(expected, errors, strict=True)
    ]
    worst = max(range(len(errors)), key=errors.__getitem__, default=0)
    return worst, errors[worst] if errors else 0.0


def _tensors(output: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
