"""What a network of free sizes need not do at one size: pad by nothing, resize to itself."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_map

from leanline.compaction.free_sizes import pad_if_needed, resize_if_needed

log = logging.getLogger(__name__)

_MAYBE = (pad_if_needed, resize_if_needed)

Fits = Callable[[tuple[Any, ...]], bool]


def specialise(network: fx.GraphModule, inputs: tuple[Any, ...]) -> tuple[fx.GraphModule, Fits]:
    """Leave out what does nothing at the size of the inputs.

    Args:
        network: as `compact` makes it; not changed, its layers are shared.
        inputs: of the size in question.

    Returns:
        The network without these operations, and whether inputs of another size do without them
        too; only then it computes the right thing for them. Finding out costs one pass without
        numbers.
    """
    nodes = [node for node in network.graph.nodes if node.target in _MAYBE]
    idle = _idle(network, inputs) if nodes else frozenset()
    special = fx.GraphModule(network, copy.deepcopy(network.graph))
    special.meta.update(network.meta)
    for node in list(special.graph.nodes):
        if node.name in idle:
            node.replace_all_uses_with(node.args[1])
            special.graph.erase_node(node)
    special.graph.eliminate_dead_code()
    special.recompile()
    if not idle:
        return special.eval(), always
    return special.eval(), _Outline(network, idle)


def always(inputs: tuple[Any, ...]) -> bool:
    """The answer of a network that does the same at every size."""
    return True


class _Outline:
    """A network without numbers, which knows what it has to do at a size.

    Args:
        network: the network.
        idle: names of operations that are to do nothing.
    """

    def __init__(self, network: fx.GraphModule, idle: frozenset[str]) -> None:
        self._network = copy.deepcopy(network).to("meta")
        self._idle = idle

    def __call__(self, inputs: tuple[Any, ...]) -> bool:
        bare = tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, inputs)
        try:
            return self._idle <= _idle(self._network, bare)
        except Exception as problem:  # an operation that asks for numbers
            log.info("no outline at another size: %s", problem)
            return False


class _Watcher(fx.Interpreter):
    """Runs a network and notes which operations return what they were given."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.idle: set[str] = set()

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.target in _MAYBE and result is self.env[n.args[1]]:  # type: ignore[index]
            self.idle.add(n.name)
        return result


def _idle(network: fx.GraphModule, inputs: tuple[Any, ...]) -> frozenset[str]:
    watcher = _Watcher(network)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        watcher.run(*inputs)
    return frozenset(watcher.idle)
