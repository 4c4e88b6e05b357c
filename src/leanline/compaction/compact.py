"""`compact`: the smaller network with the same output."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from leanline.compaction.plan import CompactPlan, plan_compaction
from leanline.compaction.recipe import Recipe
from leanline.compaction.rewrite import Rewriter
from leanline.errors import ModelError
from leanline.graph import trace_program
from leanline.graph.program import Program
from leanline.masks import baked_copy

log = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest deviation that is accepted, relative to the largest output."""


def compact(model: nn.Module, example_inputs: Tensor | tuple[Tensor, ...]) -> nn.Module:
    """Build the smaller network whose output equals that of the masked model.

    Channels that are zero, and channels that no output needs, go; so do the rows and columns of
    weights that belong to them, and input channels that no present filter reads. What is not
    understood keeps its channels. Several outputs come back as a tuple, in the model's order.

    Args:
        model: a network with masks, or with filters that are zero; not changed.
        example_inputs: inputs as the network gets them. Layers work at any size; calls with a
            fixed shape in the model (a reshape to numbers, say) keep it.

    Returns:
        A `torch.fx.GraphModule` of ordinary layers, in eval mode, which can be trained on, saved
        with `save`, compiled and exported.

    Raises:
        ModelError: the model cannot be traced, or the result deviates by more than 1e-5 of the
            largest output from the model on random inputs.
    """
    program = trace_program(model, example_inputs)
    plan = plan_compaction(program)
    log.debug("compacting\n%s", plan.describe(program))
    small = build(program, plan)
    small.meta["recipe"] = Recipe.of(program, plan, type(model), example_inputs)
    _verify(baked_copy(model).eval(), small, example_inputs)
    ignored = getattr(model, "leanline_ignore", None)
    if ignored is not None:
        small.leanline_ignore = tuple(name for name in ignored if _has(small, name))
    return small


def build(program: Program, plan: CompactPlan) -> torch.fx.GraphModule:
    """Execute a plan; nothing is checked."""
    return Rewriter(program, plan).run().eval()


def _has(model: nn.Module, path: str) -> bool:
    return path in {name for name, _ in model.named_modules()}


def _verify(
    model: nn.Module, small: nn.Module, example_inputs: Tensor | tuple[Tensor, ...]
) -> None:
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    generator = torch.Generator().manual_seed(0)
    drawn = tuple(
        torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device)
        if t.is_floating_point()
        else t
        for t in inputs
    )
    with torch.no_grad(), torch.random.fork_rng():
        expected, got = _tensors(model(*drawn)), _tensors(small(*drawn))
    for index, (want, have) in enumerate(zip(expected, got, strict=True)):
        scale = float(want.abs().max())
        error = float((want - have).abs().max())
        if not error <= TOLERANCE * max(scale, torch.finfo(want.dtype).tiny):
            raise ModelError(
                f"the compact network deviates from the model by {error:.2e} in output {index} "
                f"(largest value {scale:.2e}, allowed {TOLERANCE:.0e} of it); please report this"
            )


def _tensors(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output
    assert hasattr(values, "__iter__"), f"an output of type {type(output).__name__}"
    return [tensor for value in values for tensor in _tensors(value)]
