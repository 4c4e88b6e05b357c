"""`compact`: the smaller network with the same output."""

from __future__ import annotations

import logging

from torch import nn

from leanline.compaction.any_size import free_sizes
from leanline.compaction.build import build, keep_ignored
from leanline.compaction.plan import plan_compaction
from leanline.compaction.recipe import Recipe
from leanline.compaction.structure import as_arguments
from leanline.compaction.verify import verify
from leanline.graph import trace_program
from leanline.masks import baked_copy
from leanline.types import ExampleInputs

log = logging.getLogger(__name__)


def compact(model: nn.Module, example_inputs: ExampleInputs) -> nn.Module:
    """Build the smaller network whose output equals that of the masked model.

    Channels that are zero, and channels that no output needs, go; so do the rows and columns of
    weights that belong to them, and input channels that no present filter reads. What is not
    understood keeps its channels. The result is called as the model is, and returns the same
    containers. What happens in training only (dropout) is not part of it. A layer that is used
    twice stays one layer where both uses keep the same channels, and becomes two where they do not.

    The result works at every batch, height and width at which the model does, if the model was
    seen to depend on its inputs' sizes in simple ways; it is compared with the model at other sizes
    too. `small.meta["sizes"]` is "any", or says what is fixed to the example's size and why.

    Args:
        model: a network with masks, or with filters that are zero; not changed.
        example_inputs: inputs as the network gets them.

    Returns:
        A `torch.fx.GraphModule` of ordinary layers, in eval mode, which can be trained on, saved
        with `save`, compiled and exported. Parameters that are not trained are not trained there.

    Raises:
        ModelError: the model cannot be traced, or the result deviates by more than 1e-5 of the
            largest output from the model on random inputs.
    """
    arguments = as_arguments(example_inputs)
    program = trace_program(model, example_inputs)
    plan = plan_compaction(program)
    log.debug("compacting\n%s", plan.describe(program))
    plain = baked_copy(model).eval()
    built = build(plain, program, plan, arguments)
    verify(plain, built)
    sized = free_sizes(plain, built)
    small = sized.module
    keep_ignored(model, small)
    small.meta["sizes"] = sized.sizes
    small.meta["recipe"] = Recipe.of(sized, type(model))
    log.info("sizes: %s", sized.sizes)
    return small
