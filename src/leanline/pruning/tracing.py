"""From a model to its pruning graph."""

from __future__ import annotations

from torch import nn

from leanline.graph import Ignore, PruningGraph, resolve_ignored, trace_program
from leanline.pruning.weigh import weigh
from leanline.types import ExampleInputs


def trace(
    model: nn.Module,
    example_inputs: ExampleInputs,
    ignore: Ignore = (),
    reduce: bool = True,
) -> PruningGraph:
    """Trace a network and build its pruning graph (section 4.4.1).

    Args:
        model: Any convolutional network; not touched.
        example_inputs: A tensor or a tuple of tensors, as the model is called with. Operator norms
            are those of pictures of this size.
        ignore: Module names, patterns or modules whose convolutions are not pruned.
        reduce: Fold batch norms and activations into the convolutions (appendix A.1.2). The full
            graph selects the same filters, more slowly.

    Returns:
        The graph; `graph.report` says how the model was traced and which operations froze channels.

    Raises:
        ModelError: If the model cannot be traced or nothing in it can be pruned.
        ConfigError: If an entry of `ignore` matches nothing.
    """
    ignored = resolve_ignored(model, ignore)
    return PruningGraph.build(trace_program(model, example_inputs), weigh, ignored, reduce)
