"""Run a traced graph again, to see that it computes what the model does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._pytree import tree_leaves, tree_map

from leanline.errors import ModelError

_DEVIATION = 1e-3  # of the largest value: far above rounding, far below another network


def fresh(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Inputs with tensors of their own, which a model may write into."""
    copied = tree_map(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, inputs)
    assert isinstance(copied, tuple)
    return copied


class ChangedError(ModelError):
    """A model computes something else than its trace."""


class Replay(Interpreter):
    """Runs a traced graph.

    Args:
        module: The graph.
        values: Placeholder nodes, by name, to parameters, buffers, constants and numbers.
        inputs: The tensors among the model's inputs, in order.
    """

    def __init__(
        self, module: GraphModule, values: Mapping[str, Any], inputs: Sequence[Tensor]
    ) -> None:
        super().__init__(module)
        self._values = values
        self._inputs: Iterator[Tensor] = iter(inputs)

    def run_node(self, n: Node) -> Any:
        """Compute one node."""
        if n.op == "placeholder":
            return self._values[n.name] if n.name in self._values else next(self._inputs)
        if n.op == "output":
            return [self.env.get(argument) for argument in tree_leaves(n.args)]
        return super().run_node(n)


def check_trace(
    model: nn.Module,
    inputs: tuple[Any, ...],
    module: GraphModule,
    values: Mapping[str, Any],
    outputs: Sequence[Node],
) -> None:
    """Compare a trace with the model on the example inputs; both may use the random state.

    Raises:
        ChangedError: If they differ.
    """
    tensors = [leaf for leaf in tree_leaves(fresh(inputs)) if isinstance(leaf, Tensor)]
    torch.manual_seed(0)
    results = tree_leaves(model(*fresh(inputs)))
    expected = [leaf for leaf in results if isinstance(leaf, Tensor)]
    torch.manual_seed(0)
    replay = Replay(module, values, tensors)
    blank = [None] * sum(node.op == "placeholder" for node in module.graph.nodes)
    given = replay.run(*blank, enable_io_processing=False)
    node = next(node for node in module.graph.nodes if node.op == "output")
    found = dict(zip(tree_leaves(node.args), given, strict=True))
    got = [found[node] for node in outputs if isinstance(found.get(node), Tensor)]
    if len(got) != len(expected):
        return  # some outputs are constants
    for number, (want, have) in enumerate(zip(expected, got, strict=True)):
        if want.shape != have.shape or not _close(want, have):
            raise ChangedError(
                f"output {number} of the model is another one than when it was traced: the model "
                "changes from call to call, or keeps a state outside of its buffers"
            )


def _close(want: Tensor, have: Tensor) -> bool:
    if want.numel() == 0 or not want.is_floating_point():
        return True
    want, have = want.double(), have.double()
    known = torch.isfinite(want)
    if not bool(known.any()):
        return True
    scale = float(want[known].abs().max())
    difference = (want - have)[known].abs()
    return bool(torch.isfinite(difference).all()) and float(difference.max()) <= max(
        _DEVIATION * scale, 1e-12
    )
