"""Batch norms become part of the convolution before them, for inference."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norms(network: fx.GraphModule) -> fx.GraphModule:
    """Return a copy in eval mode whose convolutions have done what batch norms did.

    A batch norm stays where the convolution's result is used elsewhere too, where a layer is used
    more than once, or where it does not follow a convolution.

    Args:
        network: as `compact` makes it, in eval mode; not changed.
    """
    folded = copy.deepcopy(network).eval()
    calls: dict[str, int] = {}
    for node in folded.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in list(folded.graph.nodes):
        before = node.args[0] if node.op == "call_module" else None
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        norm = folded.get_submodule(str(node.target))
        layer = folded.get_submodule(str(before.target))
        alone = len(before.users) == calls[str(node.target)] == calls[str(before.target)] == 1
        transposed = isinstance(layer, _TRANSPOSED)
        if not alone or not isinstance(norm, _NORMS) or norm.running_mean is None:
            continue
        if not transposed and not isinstance(layer, _CONVOLUTIONS):
            continue
        if transposed and layer.groups != 1:
            continue
        with torch.no_grad():
            fused: nn.Module = fuse_conv_bn_eval(layer, norm, transposed)  # type: ignore[type-var]
        _replace(folded, str(before.target), fused)
        node.replace_all_uses_with(before)
        folded.graph.erase_node(node)
    folded.delete_all_unused_submodules()
    folded.recompile()
    return folded


def _replace(root: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, layer)
