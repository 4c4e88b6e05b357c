"""What liveness says of a network, held against what the network computes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from leanline.graph import Program, find_live, trace_program
from leanline.graph.filters import by_group, from_group
from leanline.graph.replay import Replay
from leanline.masks import apply_channel_masks, apply_masks
from leanline.pruning import clean


def leaves(value: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def outputs_of(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """What a model gives; it may write into its inputs and draw random numbers."""
    torch.manual_seed(0)
    with torch.no_grad():
        return leaves(model(*copy.deepcopy(inputs)))


class _Recording(Replay):
    """A run of a trace that keeps the value of every node."""

    def __init__(self, program: Program, inputs: list[Tensor]) -> None:
        names = program.names
        nodes = [node for node in program.module.graph.nodes if node.op == "placeholder"]
        values = {
            node.name: program.tensors[names[node.name]] if node.name in names else node.meta["val"]
            for node in nodes
            if node.name in names or not isinstance(node.meta["val"], Tensor)
        }
        super().__init__(program.module, values, inputs)
        self.results: dict[Any, Any] = {}
        self.run(*([None] * len(nodes)), enable_io_processing=False)

    def run_node(self, n: torch.fx.Node) -> Any:
        self.results[n] = super().run_node(n)
        return self.results[n]


def check_zeros(model: nn.Module, inputs: tuple[Any, ...]) -> int:
    """After `clean`, channels that are not fed are exactly zero. Returns how many there are."""
    program = trace_program(model, inputs)
    live = find_live(program)
    tensors = leaves(copy.deepcopy(inputs))
    recording = _Recording(program, tensors)
    checked = 0
    for node, place in program.places.items():
        value = recording.results[node]
        if not isinstance(place, int) or not isinstance(value, Tensor):
            continue
        operation = program.operations[place]
        dead = torch.from_numpy(~live.fed[place])
        if value.ndim < 2:
            value = value.reshape(1, 1, -1)
            assert len(operation.shape) < 2
        axis = operation.axis if value.ndim == len(operation.shape) else 1
        if bool(dead.any()):
            found = value.movedim(axis, 0)[dead]
            assert not bool(found.any()), f"{operation.kind} {operation.name}: not zero"
            checked += int(dead.sum())
    return checked


def check_reach(model: nn.Module, inputs: tuple[Any, ...], masks: dict[str, Tensor]) -> int:
    """Filters that `clean` drops because no output reads them change no output."""
    cleaned, other = copy.deepcopy(model), copy.deepcopy(model)
    apply_masks(cleaned, masks)
    apply_masks(other, masks)
    program = trace_program(other, inputs)
    live = find_live(program)
    clean(cleaned, inputs)
    rooted: dict[str, np.ndarray] = {}
    biases: dict[str, np.ndarray] = {}
    for operation in program.operations:
        own = operation.parameters
        if operation.kind == "convolution" and own["weight"] in masks:
            name = own["weight"]
            grouped = by_group(operation, masks[name].numpy())
            source = live.rooted[operation.inputs[0]].reshape(grouped.shape[0], 1, grouped.shape[2])
            flags = from_group(operation, grouped & source)
            rooted[name] = rooted.get(name, np.zeros_like(flags)) | flags
        for role in ("bias", "weight"):
            if role in own and own[role] in program.fixed:
                continue
            if role in own and operation.kind in ("convolution", "batch_norm", "norm"):
                if operation.kind == "convolution" and role == "weight":
                    continue
                alive = live.rooted[operation.index]
                biases[own[role]] = biases.get(own[role], np.zeros_like(alive)) | alive
    dropped = sum(int(flags.sum()) for flags in rooted.values()) - sum(
        int(live.filters[name].sum()) for name in rooted
    )
    apply_masks(other, {name: torch.from_numpy(flags) for name, flags in rooted.items()})
    apply_channel_masks(other, {name: torch.from_numpy(flags) for name, flags in biases.items()})
    with torch.no_grad():
        expected, found = outputs_of(cleaned, inputs), outputs_of(other, inputs)
        for want, have in zip(expected, found, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-5)
    return dropped
