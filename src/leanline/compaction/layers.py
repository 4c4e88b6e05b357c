"""Smaller copies of layers: the rows and columns of their weights that a plan keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leanline.compaction.shrinking import is_depthwise, is_mixing, keeps_all, live_groups
from leanline.graph.nodes import arguments_of
from leanline.graph.program import Operation, Program

_CONVOLUTIONS: dict[tuple[int, bool], type[nn.Module]] = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}
_BATCH_NORMS: dict[int, type[nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


def _taken(tensor: Tensor, axis: int, chosen: np.ndarray) -> Tensor:
    return tensor.index_select(axis, torch.from_numpy(np.flatnonzero(chosen)).to(tensor.device))


def _fill(layer: nn.Module, values: dict[str, Tensor]) -> nn.Module:
    state = layer.state_dict()
    layer.load_state_dict({**state, **{k: v.detach().clone() for k, v in values.items()}})
    return layer


def slice_layer(
    program: Program, operation: Operation, outputs: np.ndarray, inputs: np.ndarray
) -> nn.Module:
    """Make a convolution, linear layer or batch norm on fewer channels.

    Args:
        program: holds the numbers.
        operation: the layer.
        outputs: which output channels stay.
        inputs: which input channels it reads.
    """
    numbers = {role: program.tensors[name] for role, name in operation.parameters.items()}
    if operation.kind == "batch_norm":
        return _batch_norm(operation, numbers, outputs)
    weight = numbers["weight"]
    transposed = operation.settings.get("transposed", False)
    if is_mixing(operation):
        rows, columns = (inputs, outputs) if transposed else (outputs, inputs)
        weight = _taken(_taken(weight, 0, rows), 1, columns)
    elif is_depthwise(program, operation):
        weight = _taken(weight, 0, outputs)
    else:
        rows, columns = (inputs, outputs) if transposed else (outputs, inputs)
        weight = _grouped(weight, operation.settings["groups"], rows, columns)
    values = {"weight": weight}
    if "bias" in numbers:
        values["bias"] = _taken(numbers["bias"], 0, outputs)
    return _fill(_blank(program, operation, outputs, weight, "bias" in numbers), values)


def _grouped(weight: Tensor, groups: int, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Filters between the chosen channels, as many in each group that is left.

    Args:
        weight: as PyTorch holds it, groups side by side along the first axis.
        groups: how many.
        rows: which channels along the first axis stay.
        columns: the same of those along the second, those of all groups together.
    """
    kept = zip(
        weight.chunk(groups), rows.reshape(groups, -1), columns.reshape(groups, -1), strict=True
    )
    return torch.cat(
        [_taken(_taken(part, 0, row), 1, column) for part, row, column in kept if row.any()]
    )


def _blank(
    program: Program, operation: Operation, outputs: np.ndarray, weight: Tensor, bias: bool
) -> nn.Module:
    like: dict[str, Any] = {"bias": bias, "dtype": weight.dtype, "device": weight.device}
    if operation.kind == "linear":
        return _unset(nn.Linear, weight.shape[1], weight.shape[0], **like)
    settings = operation.settings
    groups, transposed = settings["groups"], settings["transposed"]
    if is_depthwise(program, operation):
        groups = weight.shape[0]
    elif groups > 1 and not keeps_all(program, operation):
        groups = int(live_groups(operation, outputs).sum())
    first, second = weight.shape[0], weight.shape[1] * groups
    numbers = {key: settings[key] for key in ("stride", "padding", "dilation")}
    if transposed:
        numbers["output_padding"] = settings["output_padding"]
    kind = _CONVOLUTIONS[weight.ndim - 2, transposed]
    ins, outs = (first, second) if transposed else (second, first)
    return _unset(kind, ins, outs, tuple(weight.shape[2:]), groups=groups, **numbers, **like)


def _unset(kind: type[nn.Module], *arguments: Any, **settings: Any) -> nn.Module:
    """Make a layer without drawing initial values: the global random state is left alone."""
    layer: nn.Module = nn.utils.skip_init(kind, *arguments, **settings)  # type: ignore[no-untyped-call]
    return layer


def _batch_norm(operation: Operation, numbers: dict[str, Tensor], kept: np.ndarray) -> nn.Module:
    mean = numbers["running_mean"]
    layer = _BATCH_NORMS[len(operation.shape)](
        int(kept.sum()),
        eps=operation.settings["eps"],
        momentum=_momentum(operation),
        affine="weight" in numbers,
        dtype=mean.dtype,
        device=mean.device,
    )
    values = {role: _taken(value, 0, kept) for role, value in numbers.items()}
    if "weight" in values and "bias" not in values:
        values["bias"] = torch.zeros_like(values["weight"])
    return _fill(layer, values)


def _momentum(operation: Operation) -> float | None:
    """Of the running statistics; a cumulative average (None) is traced as 0."""
    assert operation.node is not None
    return float(arguments_of(operation.node).get("momentum", 0.1)) or None
