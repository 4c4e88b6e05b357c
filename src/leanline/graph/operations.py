"""The registry: what each ATen operator means for channels.

One table for each kind of operation, keyed by the operator's name without namespace, overload and
trailing underscore (in-place variants mean the same after functionalisation). `rules` says how each
is lowered. An operator that is in no table is opaque: it freezes its channels and is reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Arguments = Mapping[str, Any]


def _constant(value: float) -> Callable[[Arguments], float | None]:
    return lambda _: value


def _elu(arguments: Arguments) -> float:
    scale = abs(arguments.get("scale", 1.0))
    left = abs(arguments.get("alpha", 1.0) * arguments.get("input_scale", 1.0))
    return float(scale * max(1.0, left))


def _clamp(low: str, high: str) -> Callable[[Arguments], float | None]:
    def bound(arguments: Arguments) -> float | None:
        smallest, largest = arguments.get(low), arguments.get(high)
        keeps_zero = (smallest is None or smallest <= 0) and (largest is None or largest >= 0)
        return 1.0 if keeps_zero else None

    return bound


# Elementwise functions with f(0) = 0 and their Lipschitz constants, max |f'|: the bound of the
# scaling of section 4.4.1 ("Edge weights"). None: with these arguments f(0) is not 0.
UNARY: Mapping[str, Callable[[Arguments], float | None]] = {
    "relu": _constant(1.0),  # slope 0 or 1
    "relu6": _constant(1.0),
    "hardtanh": _clamp("min_val", "max_val"),  # slope 0 or 1
    "clamp": _clamp("min", "max"),
    "clamp_min": _clamp("min", "none"),
    "clamp_max": _clamp("none", "max"),
    "leaky_relu": lambda a: max(1.0, abs(a.get("negative_slope", 0.01))),
    "elu": _elu,  # slope scale on the right, at most scale * alpha * input_scale on the left
    "celu": _constant(1.0),  # slope exp(x / alpha) <= 1 on the left
    "selu": _constant(1.0507009873554805 * 1.6732632423543772),  # scale * alpha, at 0 from below
    "gelu": lambda a: (
        1.1289041452  # x = sqrt(2): Phi(x) + x phi(x)
        if a.get("approximate", "none") == "none"
        else 1.128993069  # x = 1.4185: maximum of the derivative, found numerically
    ),
    "silu": _constant(1.0998393202),  # x = 2.3994: maximum of s(x)(1 + x(1 - s(x)))
    "mish": _constant(1.088498162),  # x = 1.4906: maximum of the derivative, found numerically
    "hardswish": _constant(1.5),  # (2x + 3) / 6 at x = 3
    "tanh": _constant(1.0),  # at 0
    "atan": _constant(1.0),
    "asinh": _constant(1.0),
    "sin": _constant(1.0),
    "erf": _constant(2.0 / math.sqrt(math.pi)),  # at 0
    "abs": _constant(1.0),
    "neg": _constant(1.0),
    "softshrink": _constant(1.0),
    "rrelu": lambda a: max(1.0, abs(a.get("lower", 1 / 8) + a.get("upper", 1 / 3)) / 2),
}

# Elementwise functions with f(0) = 0 that have no Lipschitz constant: unbounded slopes, or jumps.
# They count as if they changed nothing.
UNBOUNDED = frozenset(
    {
        "square",
        "sqrt",
        "pow",  # with a positive exponent
        "expm1",
        "log1p",
        "tan",
        "sinh",
        "hardshrink",
        "sign",
        "sgn",
        "floor",
        "ceil",
        "round",
        "trunc",
        "frac",
        "nan_to_num",
    }
)

# Elementwise functions with f(0) other than 0, and their Lipschitz constants; 1 without a bound.
SHIFT: Mapping[str, float] = {
    "sigmoid": 0.25,  # at 0
    "hardsigmoid": 1.0 / 6.0,
    "softplus": 1.0,
    "log_sigmoid_forward": 1.0,
    "cos": 1.0,
    "exp": 1.0,
    "exp2": 1.0,
    "log": 1.0,
    "log2": 1.0,
    "log10": 1.0,
    "rsqrt": 1.0,
    "reciprocal": 1.0,
    "erfc": 2.0 / math.sqrt(math.pi),
    "logit": 1.0,
    "threshold": 1.0,
    "bitwise_not": 1.0,
    "logical_not": 1.0,
    "isnan": 1.0,
    "isinf": 1.0,
    "isfinite": 1.0,
}
# Elementwise functions of several values that are zero where all of them are.
JOIN = frozenset(
    {
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "where",
        "masked_fill",
        "addcmul",
        "lerp",
        "hypot",
        "copysign",
        "logical_and",
        "logical_or",
        "logical_xor",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
    }
)
COMPARISON = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})
# Reductions, and their L2 norm over a number of values; 1 for those that are no linear map.
REDUCTION: Mapping[str, Callable[[int], float]] = {
    "mean": lambda n: 1.0 / math.sqrt(n),
    "sum": math.sqrt,
    "std": lambda n: 1.0 / math.sqrt(max(1, n - 1)),
    "var": lambda _: 1.0,
    "amax": lambda _: 1.0,
    "amin": lambda _: 1.0,
    "max": lambda _: 1.0,
    "min": lambda _: 1.0,
    "median": lambda _: 1.0,
    "linalg_vector_norm": lambda _: 1.0,
    "norm": lambda _: 1.0,
    "any": lambda _: 1.0,
}
# Statistics of the picture itself.
NORM = frozenset(
    {
        "instance_norm",
        "group_norm",
        "layer_norm",
        "rms_norm",
        "native_group_norm",
        "native_layer_norm",
    }
)

# Channel by channel, zero stays zero.
POOL = frozenset(
    f"{name}_pool{n}d"
    for n in (1, 2, 3)
    for name in ("max", "avg", "adaptive_avg", "adaptive_max", "_adaptive_avg")
) | {"max_pool2d_with_indices", "max_pool3d_with_indices"}
RESAMPLE = frozenset(
    {
        "upsample_nearest1d",
        "upsample_nearest2d",
        "upsample_nearest3d",
        "_upsample_nearest_exact1d",
        "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d",
        "upsample_linear1d",
        "upsample_bilinear2d",
        "upsample_trilinear3d",
        "upsample_bicubic2d",
        "_upsample_bilinear2d_aa",
        "_upsample_bicubic2d_aa",
    }
)
PAD = frozenset({"pad", "constant_pad_nd"}) | {
    f"{mode}_pad{n}d" for n in (1, 2, 3) for mode in ("reflection", "replication")
}
CONVOLUTION: Mapping[str, int | None] = {  # number of spatial axes; None: by the weight
    "conv1d": 1,
    "conv2d": 2,
    "conv3d": 3,
    "conv_transpose1d": 1,
    "conv_transpose2d": 2,
    "conv_transpose3d": 3,
    "convolution": None,
}
BATCH_NORM = frozenset(
    {
        "batch_norm",
        "_native_batch_norm_legit_no_training",
        "native_batch_norm",
        "cudnn_batch_norm",
        "miopen_batch_norm",
        "_batch_norm_no_update",
    }
)
# Same values out as in, as long as the kind of number stays.
IDENTITY = frozenset(
    {
        "clone",
        "alias",
        "contiguous",
        "dropout",
        "feature_dropout",
        "alpha_dropout",
        "feature_alpha_dropout",
        "native_dropout",
        "detach",
        "to",
        "_to_copy",
        "type_as",
        "lift_fresh",
        "lift_fresh_copy",
        "positive",
        "resolve_conj",
        "resolve_neg",
    }
)
ZEROS = frozenset({"new_zeros", "zeros_like"})
SPLIT = frozenset(
    {"split", "split_with_sizes", "chunk", "tensor_split", "unbind", "unsafe_split", "unsafe_chunk"}
)
# Movements that are none when the shape stays.
RESHAPES = frozenset(
    {
        "view",
        "_unsafe_view",
        "reshape",
        "_reshape_alias",
        "reshape_as",
        "view_as",
        "flatten",
        "unflatten",
        "squeeze",
        "expand",
        "expand_as",
        "broadcast_to",
    }
)
REPEATS = frozenset({"expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave"})
MOVEMENT = frozenset(
    {
        "permute",
        "transpose",
        "swapaxes",
        "swapdims",
        "movedim",
        "moveaxis",
        "t",
        "numpy_T",
        "mT",
        "unsqueeze",
        "repeat",
        "tile",
        "repeat_interleave",
        "flip",
        "fliplr",
        "flipud",
        "roll",
        "rot90",
        "select",
        "index_select",
        "index",
        "take_along_dim",
        "gather",
        "diagonal",
        "stack",
        "hstack",
        "vstack",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "native_channel_shuffle",
        "unfold",
        "select_scatter",
    }
)
