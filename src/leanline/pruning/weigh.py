"""Norms of the operations of a program: what the pruning graph has as weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leanline import norms
from leanline.graph import Operation, Program


def weigh(program: Program, operation: Operation) -> Float[np.ndarray, "..."]:
    """Operator norms of one operation (section 4.4.3), on the grid of the traced size.

    Args:
        program: The traced network.
        operation: One of its operations.

    Returns:
        For a convolution or linear layer norms in the layout of weight.shape[:2]; for a
        channel-wise operation one number, or one for each channel.
    """
    own = {role: program.tensors[name] for role, name in operation.parameters.items()}
    kind = operation.kind
    if kind == "convolution":
        return _convolution(program, operation, own["weight"])
    if kind == "linear":  # a 1x1 operator
        return own["weight"].abs().cpu().numpy()  # not in float64: it may be the largest there is
    if kind == "batch_norm":
        scale = norms.batch_norm_scale(
            own.get("weight"), own["running_var"], operation.settings["eps"]
        )
        return _array(scale)
    if kind == "unary":
        if "slope" in own:
            return _array(own["slope"].double().abs().clamp(min=1.0).reshape(-1))
        return np.array(float(operation.settings["lipschitz"]))
    if kind == "norm":  # by the picture's own statistics: what comes in counts as of variance 1
        scale = own["weight"].double().abs() if "weight" in own else torch.ones(1)
        return np.asarray(_array(scale) * operation.settings["gain"])
    if kind in ("gain", "shift") or "gain" in operation.settings:
        return np.asarray(operation.settings["gain"], dtype=np.float64)
    if kind in ("pool", "resample"):
        source = program.operations[operation.inputs[0]]
        return np.array(_channelwise(operation, source.size))
    return np.array(1.0)


def _array(tensor: Tensor) -> Float[np.ndarray, "..."]:
    values: np.ndarray = tensor.detach().cpu().double().numpy()
    return values


def _convolution(
    program: Program, operation: Operation, weight: Tensor
) -> Float[np.ndarray, "_ _"]:
    source = program.operations[operation.inputs[0]]
    if (
        source.kind == "pad" and min(source.settings["padding"], default=0) >= 0
    ):  # the picture, without the border that is put around it
        source = program.operations[source.inputs[0]]
    settings = operation.settings
    transposed = bool(settings["transposed"])
    found = norms.operator_norm(
        weight, source.size, settings["stride"], settings["dilation"], transposed
    )
    return _array(found.T if transposed else found)


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return tuple(int(number) for number in (numbers * axes if len(numbers) == 1 else numbers))


def _channelwise(operation: Operation, size: tuple[int, ...]) -> float:
    settings, axes = operation.settings, len(size)
    name, output = str(settings["function"]), operation.size
    if operation.kind == "resample":
        return _resample(operation, size)
    if name == "mean" or "adaptive_avg" in name:
        return norms.adaptive_average_pool_norm(size, output)
    if "adaptive_max" in name:
        return norms.adaptive_max_pool_norm(size, output)
    kernel, stride = (_per_axis(settings[key], axes) for key in ("kernel_size", "stride"))
    if name.startswith("max_pool"):
        return norms.max_pool_norm(kernel, stride, _per_axis(settings["dilation"], axes))
    return norms.average_pool_norm(
        size,
        kernel,
        stride,
        _per_axis(settings["padding"], axes),
        bool(settings["ceil_mode"]),
        bool(settings["count_include_pad"]),
        settings.get("divisor_override"),
    )


def _resample(operation: Operation, size: tuple[int, ...]) -> float:
    settings, name = operation.settings, str(operation.settings["function"])
    mode = "nearest-exact" if "nearest_exact" in name else "nearest"
    mode = "cubic" if "cubic" in name else "linear" if "linear" in name else mode
    scales = settings.get("scale_factors")
    if scales is None:
        given = [settings.get(key) for key in ("scales", "scales_d", "scales_h", "scales_w")]
        found = [scale for scale in given if scale is not None]
        scales = found if len(found) == len(size) else None
    align = bool(settings.get("align_corners", False)) if mode in ("linear", "cubic") else None
    return norms.interpolation_norm(
        size, operation.size, mode, align, scales, antialias=name.endswith("_aa")
    )
