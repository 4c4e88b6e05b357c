"""Table 4.1: which operators are in a network, its parameters, and the edges of its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from leanline import models, pruning
from leanline.experiments.config import ExperimentConfig
from leanline.graph import trace_program
from leanline.graph.program import Operation

SIZE = 64
"""Height and width of the picture that networks are traced with; the counts do not depend on it."""

THESIS: dict[str, tuple[bool, bool, bool, bool, bool, float, float]] = {
    "msd": (False, False, True, False, False, 4.57e4, 5.05e3),
    "fcn-resnet50": (True, False, True, True, True, 3.29e7, 1.44e7),
    "unet4": (False, True, False, True, True, 1.48e7, 1.84e6),
}
"""Table 4.1 as printed: strided, transposed, dilated, pooling, batch norm, parameters, edges."""


@dataclass(frozen=True)
class NetworkFacts:
    """A row of Table 4.1.

    Attributes:
        name: the network's name in the experiment.
        model: what it is made from.
        strided: whether it has strided convolutions (other than transposed ones).
        transposed: transposed convolutions.
        dilated: dilated convolutions.
        pooling: pooling.
        batch_norm: batch normalisation.
        parameters: numbers in parameters.
        filters: prunable filters, the edges that the thesis counts.
        edges: all edges of the pruning graph, with the unprunable ones.
    """

    name: str
    model: str
    strided: bool
    transposed: bool
    dilated: bool
    pooling: bool
    batch_norm: bool
    parameters: int
    filters: int
    edges: int


def network_facts(config: ExperimentConfig) -> tuple[NetworkFacts, ...]:
    """Trace every network of an experiment, untrained, and count."""
    return tuple(_facts(name, config) for name in config.networks)


def _facts(name: str, config: ExperimentConfig) -> NetworkFacts:
    wanted = config.networks[name]
    settings: dict[str, Any] = dict(wanted.settings)
    channels = int(settings.pop("in_channels", 1))
    network = models.make(
        wanted.model, channels, settings.pop("out_channels", 2), **settings
    ).eval()
    example = torch.zeros(1, channels, SIZE, SIZE)
    graph = pruning.trace(network, example, wanted.ignore)
    steps = trace_program(network, example).operations
    convolutions = [step for step in steps if step.kind == "convolution"]
    return NetworkFacts(
        name,
        wanted.model,
        any(
            _above_one(step, "stride") and not step.settings.get("transposed", False)
            for step in convolutions
        ),
        any(step.settings.get("transposed", False) for step in convolutions),
        any(_above_one(step, "dilation") for step in convolutions),
        any(step.kind == "pool" for step in steps),
        any(step.kind == "batch_norm" for step in steps),
        sum(parameter.numel() for parameter in network.parameters()),
        graph.num_filters,
        graph.num_edges,
    )


def _above_one(step: Operation, setting: str) -> bool:
    values: Sequence[int] = step.settings.get(setting, (1,))
    return max(values) > 1
