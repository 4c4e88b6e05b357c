"""Compile all Triton kernels for an NVIDIA GPU, which needs none: run by test_gpu.py.

Prints a line a kernel: its name and its size in bytes.
"""

import itertools
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from leanline.kernels.gpu import enqueue

INTEGERS = {"table": "*i64", "source": "*i64", "target": "*i64", "winner": "*i32"}
FLOATS = ("planes", "out", "gates", "taps", "bias", "matrix", "still", "moving", "sums", "grads")
WINDOW = {"ROWS": (2,), "COLUMNS": (3,), "ROW_STEP": (2,), "COLUMN_STEP": (1,)}
PADDING = {"PADDING": (0, 2)}

VARIANTS: dict[Any, dict[str, tuple[Any, ...]]] = {
    enqueue.convolve3: PADDING,
    enqueue.convolve: {**WINDOW, **PADDING},
    enqueue.spread: {**WINDOW, "ROW_PERIOD": (2,), "COLUMN_PERIOD": (1,)},
    enqueue.largest: WINDOW,
    enqueue.winners: WINDOW,
    enqueue.largest_gradient: WINDOW,
    enqueue.fold: {"PADDING": (1, 2)},
    enqueue.mix: {"ADD": (False, True), "OUTPUTS": (1, enqueue.OUTPUTS)},
    enqueue.mix_gradients: {"OUTPUTS": (1, enqueue.OUTPUTS)},
    enqueue.tap_gradients: {**WINDOW, **PADDING},
    enqueue.tap_gradients3: PADDING,
}


def kind_of(kernel: Any, name: str) -> str:
    if kernel is enqueue.winners and name == "out":
        return "*i32"
    return INTEGERS.get(name, "*fp32" if name in FLOATS else "i32")


def main(architecture: int) -> None:
    for kernel, variants in VARIANTS.items():
        for values in itertools.product(*variants.values()):
            chosen = {**dict(zip(variants, values, strict=True)), "BLOCK": enqueue.BLOCK}
            signature = {
                name: "constexpr" if name in chosen else kind_of(kernel, name)
                for name in kernel.arg_names
            }
            source = ASTSource(fn=kernel, signature=signature, constexprs=chosen)
            target = GPUTarget("cuda", architecture, 32)
            compiled = triton.compile(source, target=target, options=enqueue.SETTINGS)
            print(kernel.fn.__name__, chosen, len(compiled.asm["cubin"]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
