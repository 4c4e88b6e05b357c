"""Carries out a partition: a network whose regions are modules of plane kernels."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from leanline.compaction.pieces import free_name
from leanline.runtime.partition import Partition
from leanline.runtime.region import PlaneRegion, build_program


def execute(
    network: fx.GraphModule, plan: Partition, shapes: dict[str, int], threads: int
) -> fx.GraphModule:
    """Return a network with the same layers in which each region is one module.

    Args:
        network: what was partitioned; its layers outside the regions are shared.
        plan: the partition.
        shapes: by the name of a convolution's node, the shape of tiles that suits it.
        threads: number of threads of the regions.
    """
    parts: dict[str, Any] = {}
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}

    def copy(stage: int) -> None:
        for node in network.graph.nodes:
            if plan.stages.get(node) == stage:
                made[node] = graph.node_copy(node, made.__getitem__)

    copy(0)
    for index, region in enumerate(plan.regions):
        program, numbers, outputs = build_program(region, plan.padding, shapes)
        name = free_name(network, f"planes_{index + 1}")
        parts[name] = PlaneRegion(program, numbers, outputs, threads).to(device)
        call = graph.call_module(name, tuple(made[node] for node in region.inputs))
        for i, node in enumerate(region.outputs):
            several = len(region.outputs) > 1
            made[node] = graph.call_function(operator.getitem, (call, i)) if several else call
        copy(index + 1)
    for node in graph.nodes:
        path = str(node.target)
        if node.op in ("call_module", "get_attr") and path not in parts:
            parts[path] = operator.attrgetter(path)(network)
    result = fx.GraphModule(parts, graph)
    result.graph._codegen = network.graph._codegen
    result.recompile()
    result.graph.lint()
    return result.eval()
