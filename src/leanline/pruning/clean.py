"""Make everything that is not alive exactly zero."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from leanline.graph import (
    Ignore,
    Liveness,
    Program,
    find_live,
    find_untouched,
    resolve_ignored,
    trace_program,
)
from leanline.graph.pruning_graph import is_ignored
from leanline.masks import apply_channel_masks, apply_masks, get_channel_masks
from leanline.types import ExampleInputs


@dataclass(frozen=True)
class CleanReport:
    """What `clean` found dead.

    Attributes:
        filters: Weight name to the number of filters that died now.
        channels: Name of a bias, or of a batch norm's weight or bias, to the channels that it now
            holds at zero and did not before.
        live_filters: Number of filters that are alive in the weights that may be pruned.
    """

    filters: Mapping[str, int]
    channels: Mapping[str, tuple[int, ...]]
    live_filters: int

    @property
    def total(self) -> int:
        """Number of filters that died now."""
        return sum(self.filters.values())

    def __str__(self) -> str:
        """One line for people."""
        silenced = sum(len(channels) for channels in self.channels.values())
        return (
            f"{self.total} filters died in {len(self.filters)} layers, "
            f"{self.live_filters} are alive; {silenced} biases and shifts of dead channels "
            "are now 0"
        )


def clean(model: nn.Module, example_inputs: ExampleInputs, ignore: Ignore = ()) -> CleanReport:
    """Hold at zero, in place, all that is on no path from an input to an output (section 4.4.2).

    Filters into or out of dead channels are masked, and so are the biases and the batch-norm
    weights and biases of dead channels. A channel is dead if nothing feeds it, if no output depends
    on it, or if the batch norm behind it has a running variance below 1e-40. A second call changes
    nothing. Ignored convolutions are left alone: those named in `ignore` or by `leanline_ignore`,
    and, in a model with masks, those without one.

    Args:
        model: The network, usually with masks.
        example_inputs: A tensor or a tuple of tensors, as the model is called with.
        ignore: Module names, patterns or modules to leave alone.

    Returns:
        What died.

    Raises:
        ModelError: If the model cannot be traced.
        ConfigError: If an entry of `ignore` matches nothing.
    """
    ignored = resolve_ignored(model, ignore)
    program = trace_program(model, example_inputs)
    untouched = unprunable(program, ignored)
    live = find_live(program, untouched=untouched)
    masks = {
        operation.parameters["weight"]: live.filters[operation.parameters["weight"]]
        for operation in program.operations
        if operation.kind == "convolution" and operation.parameters["weight"] not in untouched
    }
    died = {
        name: count
        for name, mask in masks.items()
        if (count := int((_kept(program, name) & ~mask).sum())) > 0
    }
    if died:
        apply_masks(model, {name: torch.from_numpy(mask.copy()) for name, mask in masks.items()})
    dead = _channel_masks(program, live, untouched)
    before = get_channel_masks(model)
    new = {
        name: mask
        for name, mask in dead.items()
        if not mask.all() and (name not in before or bool((before[name].cpu() & ~mask).any()))
    }
    apply_channel_masks(model, new)
    _zero_means(model, program, live)
    channels = {
        name: tuple(
            (~mask & before[name].cpu() if name in before else ~mask).nonzero()[:, 0].tolist()
        )
        for name, mask in new.items()
    }
    return CleanReport(died, channels, sum(int(mask.sum()) for mask in masks.values()))


def unprunable(program: Program, ignored: Collection[str]) -> frozenset[str]:
    """Weights of convolutions that are ignored, computed, or without a mask beside masked ones."""
    return (
        find_untouched(program)
        | program.fixed
        | {
            operation.parameters["weight"]
            for operation in program.operations
            if operation.kind == "convolution"
            and is_ignored(operation.parameters["weight"], operation.module, ignored)
        }
    )


def _kept(program: Program, name: str) -> Bool[np.ndarray, "_ _"]:
    mask = program.kept.get(name)
    if mask is None:
        return np.ones(tuple(program.tensors[name].shape[:2]), dtype=bool)
    kept: np.ndarray = mask.cpu().numpy()
    return kept


def _channel_masks(
    program: Program, live: Liveness, untouched: frozenset[str]
) -> dict[str, Bool[Tensor, "_"]]:
    """Live channels of biases and of batch-norm parameters; of any use, if one is shared."""
    found: dict[str, np.ndarray] = {}
    for operation in program.operations:
        own = operation.parameters
        roles: tuple[str, ...] = ()
        if operation.kind == "convolution" and own["weight"] not in untouched:
            roles = ("bias",)
        elif operation.kind in ("batch_norm", "norm"):
            roles = ("weight", "bias")
        for role in roles:
            if role in own:
                alive = live.channels[operation.index]
                found[own[role]] = found.get(own[role], np.zeros_like(alive)) | alive
    return {
        name: torch.from_numpy(mask.copy())
        for name, mask in found.items()
        if name not in program.fixed
    }


def _zero_means(model: nn.Module, program: Program, live: Liveness) -> None:
    """A batch norm without weight and bias shifts by its running mean alone."""
    buffers = dict(model.named_buffers())
    uses = program.uses
    for operation in program.operations:
        own = operation.parameters
        if operation.kind != "batch_norm" or "bias" in own or len(uses[own["running_mean"]]) > 1:
            continue
        mean = buffers[own["running_mean"]]
        dead = torch.from_numpy(~live.channels[operation.index]).to(mean.device)
        with torch.no_grad():
            mean.masked_fill_(dead, 0.0)
