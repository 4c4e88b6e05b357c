"""Layers of the compact network: convolutions, linear layers and normalisations."""

from __future__ import annotations

import numpy as np
from torch import fx, nn
from torch.nn import functional

from leanline.compaction.draft import Draft
from leanline.compaction.layers import slice_layer
from leanline.compaction.shrinking import Channels, keeps_all
from leanline.graph.program import Operation


class LayerEmitter:
    """Adds layers to a draft; a layer that is used twice on the same channels stays one.

    Args:
        draft: what is added to.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._paths: dict[tuple[object, ...], str] = {}

    def layer(self, operation: Operation) -> None:
        """A convolution, linear layer or batch norm on fewer channels."""
        draft = self._draft
        live = draft.plan.live[operation.index]
        reads = draft.plan.reads.get(operation.index, live)
        if keeps_all(draft.program, operation):
            reads = np.ones_like(reads)
        path = self._shared(operation, live, reads)
        node = draft.graph.call_module(path, (draft.read(operation.inputs[0], reads),))
        draft.hold(operation, node, live)

    def _shared(self, operation: Operation, live: Channels, reads: Channels) -> str:
        """The path of the layer: the same one again where the same slices are used again."""
        settings = repr(sorted(operation.settings.items()))
        names = tuple(sorted(operation.parameters.items()))
        key = operation.kind, names, settings, live.tobytes(), reads.tobytes()
        if key not in self._paths:
            draft = self._draft
            path = self._paths[key] = self._free_path(operation)
            layer = slice_layer(draft.program, operation, live, reads)
            for role, value in layer.named_parameters():
                trained = draft.trained.get(operation.parameters.get(role, ""), True)
                value.requires_grad_(trained)
            _add_submodule(draft.root, path, layer)
        return self._paths[key]

    def _free_path(self, operation: Operation) -> str:
        """The path of the parameter's module, with a suffix where it is used again."""
        base = operation.parameters.get("weight", operation.parameters.get("running_mean", ""))
        path = base.rpartition(".")[0] or operation.name
        taken = {name for name, _ in self._draft.root.named_modules()}
        name, count = path, 1
        while name in taken:
            count += 1
            name = f"{path}_{count}"
        return name


def emit_norm(draft: Draft, operation: Operation) -> None:
    """Normalisation by the picture's own statistics, on whole groups of channels."""
    live = draft.plan.live[operation.index]
    settings, source = operation.settings, draft.read(operation.inputs[0], live)
    affine = [draft.part(operation.parameters.get(role), live) for role in ("weight", "bias")]
    node: fx.Node
    if settings["function"] == "instance_norm":
        given = (source, None, None, *affine, True, 0.1, settings["eps"])
        node = draft.graph.call_function(functional.instance_norm, given)
    else:
        groups = int(live.sum()) * int(settings["groups"]) // live.size
        node = draft.graph.call_function(
            functional.group_norm, (source, groups, *affine, settings["eps"])
        )
    draft.hold(operation, node, live)


def _add_submodule(root: nn.Module, path: str, layer: nn.Module) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    root.add_module(last, layer)
