"""Explicit SIMD vectors for Numba kernels, as LLVM IR.

Plain nine-tap loops do not vectorise in Numba, so the inner loops of the kernels are written
with the LLVM builder: a vector is ``<LANES x float>``, loads are unaligned, stores are masked by
the number of columns that remain, and the multiply-add is ``llvm.fmuladd``. LLVM lowers this to
whatever the host has (AVX-512, AVX2, NEON); only the number of lanes is chosen here.
"""

from collections.abc import Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir

IR = Any  # llvmlite ships no type hints: a builder or an IR value


def native_lanes() -> int:
    """Return the float32 lanes of one vector: 16 where the host has AVX-512, else 8."""
    try:
        features = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this host
        return 8
    return 16 if features.get("avx512f", False) else 8


LANES = native_lanes()
FLOAT = ir.FloatType()
INT = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
MASK = ir.VectorType(ir.IntType(1), LANES)
_INDEX = ir.VectorType(ir.IntType(32), LANES)


def int_constant(value: int) -> IR:
    """An int64 constant."""
    return ir.Constant(INT, value)


def zero() -> IR:
    """A vector of zeros."""
    return ir.Constant(VECTOR, [0.0] * LANES)


def lowest() -> IR:
    """A vector of minus infinity."""
    return ir.Constant(VECTOR, [float("-inf")] * LANES)


def prefetch(builder: IR, pointer: IR, index: IR) -> None:
    """Ask for the cache line of ``pointer[index]``, which may lie anywhere, to be read soon."""
    flag = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [FLOAT.as_pointer(), flag, flag, flag])
    function = _declare(builder, "llvm.prefetch.p0", kind)
    # for reading, into the nearest cache, data
    builder.call(function, [builder.gep(pointer, [index]), flag(0), flag(3), flag(1)])


def splat(builder: IR, scalar: IR) -> IR:
    """Broadcast a float to every lane."""
    first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(VECTOR, ir.Undefined), lanes)


def load(builder: IR, pointer: IR, index: IR) -> IR:
    """Load one vector at ``pointer[index]``, aligned to a float only."""
    address = builder.bitcast(builder.gep(pointer, [index]), VECTOR.as_pointer())
    return builder.load(address, align=4)


def load_every(builder: IR, pointer: IR, index: IR, step: int, stride: IR) -> IR:
    """Load ``pointer[index + lane * stride]`` in each lane.

    Args:
        builder: where to.
        pointer: array that is read.
        index: of the first lane.
        step: 1 or 2 where the stride is known to be that, else 0.
        stride: int64; not read where `step` says it.
    """
    if step == 1:
        return load(builder, pointer, index)
    if step == 2:
        low = load(builder, pointer, index)
        high = load(builder, pointer, builder.add(index, int_constant(LANES)))
        return every_other(builder, low, high, 0)
    value = ir.Constant(VECTOR, ir.Undefined)
    for lane in range(LANES):
        at = builder.add(index, builder.mul(stride, int_constant(lane)))
        value = builder.insert_element(
            value, load_scalar(builder, pointer, at), ir.IntType(32)(lane)
        )
    return value


def every_other(builder: IR, low: IR, high: IR, first: int) -> IR:
    """Lanes first, first + 2, ... of two vectors side by side."""
    index = ir.Constant(_INDEX, [2 * lane + first for lane in range(LANES)])
    return builder.shuffle_vector(low, high, index)


def interleave(builder: IR, even: IR, odd: IR) -> tuple[IR, IR]:
    """Two vectors side by side whose lanes come from ``even`` and ``odd`` in turn."""
    lanes = [lane // 2 + (lane % 2) * LANES for lane in range(2 * LANES)]
    parts = (ir.Constant(_INDEX, half) for half in (lanes[:LANES], lanes[LANES:]))
    low, high = (builder.shuffle_vector(even, odd, part) for part in parts)
    return low, high


def load_scalar(builder: IR, pointer: IR, index: IR) -> IR:
    """Load one element at ``pointer[index]``."""
    return builder.load(builder.gep(pointer, [index]))


def lane_mask(builder: IR, remaining: IR) -> IR:
    """True in the lanes below ``remaining`` (an int64 within 32 bits; may be negative)."""
    kind = ir.VectorType(ir.IntType(32), LANES)
    lanes = ir.Constant(kind, list(range(LANES)))
    undefined = ir.Constant(kind, ir.Undefined)
    limit = builder.trunc(remaining, ir.IntType(32))
    first = builder.insert_element(undefined, limit, ir.IntType(32)(0))
    return builder.icmp_signed(
        "<", lanes, builder.shuffle_vector(first, undefined, ir.Constant(kind, [0] * LANES))
    )


def store_masked(builder: IR, value: IR, pointer: IR, index: IR, mask: IR) -> None:
    """Store the lanes of ``value`` that ``mask`` selects; the others are left as they are."""
    address = builder.bitcast(builder.gep(pointer, [index]), VECTOR.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [VECTOR, VECTOR.as_pointer(), ir.IntType(32), MASK])
    function = _declare(builder, f"llvm.masked.store.v{LANES}f32.p0", kind)
    builder.call(function, [value, address, ir.IntType(32)(4), mask])


def load_masked(builder: IR, pointer: IR, index: IR, mask: IR) -> IR:
    """Load the lanes that ``mask`` selects; the others are 0 and their memory is not touched."""
    address = builder.bitcast(builder.gep(pointer, [index]), VECTOR.as_pointer())
    kind = ir.FunctionType(VECTOR, [VECTOR.as_pointer(), ir.IntType(32), MASK, VECTOR])
    function = _declare(builder, f"llvm.masked.load.v{LANES}f32.p0", kind)
    return builder.call(function, [address, ir.IntType(32)(4), mask, zero()])


def store(builder: IR, value: IR, pointer: IR, index: IR) -> None:
    """Store one vector at ``pointer[index]``."""
    address = builder.bitcast(builder.gep(pointer, [index]), VECTOR.as_pointer())
    builder.store(value, address, align=4)


def store_columns(
    builder: IR, values: Sequence[IR], pointer: IR, first: IR, columns: IR, masks: Sequence[IR]
) -> None:
    """Store vectors side by side, of which ``columns`` columns are inside the picture.

    Args:
        builder: where to.
        values: the vectors.
        pointer: array that is written.
        first: index of the first column.
        columns: int64; may be larger than what the vectors hold.
        masks: `lane_mask` of each vector.
    """
    places = [builder.add(first, int_constant(part * LANES)) for part in range(len(values))]
    inside = builder.icmp_signed(">=", columns, int_constant(len(values) * LANES))
    with builder.if_else(inside, likely=True) as (whole, partial):
        with whole:  # what is stored without a mask can be loaded again sooner
            for value, place in zip(values, places, strict=True):
                store(builder, value, pointer, place)
        with partial:
            for value, place, mask in zip(values, places, masks, strict=True):
                store_masked(builder, value, pointer, place, mask)


def multiply_add(builder: IR, a: IR, b: IR, c: IR) -> IR:
    """``a * b + c``, fused where the host can."""
    kind = ir.FunctionType(VECTOR, [VECTOR, VECTOR, VECTOR])
    return builder.call(_declare(builder, f"llvm.fmuladd.v{LANES}f32", kind), [a, b, c])


def keep_positive(builder: IR, value: IR, gate: IR) -> IR:
    """``value`` where ``gate`` is above 0, else 0 (``gate = value`` gives the ReLU).

    The comparison is "unordered or greater", so that NaN passes through as it does in PyTorch.
    """
    return builder.select(builder.fcmp_unordered(">", gate, zero()), value, zero())


def larger(builder: IR, value: IR, other: IR) -> IR:
    """The larger of two; NaN where one of them is NaN, as in PyTorch."""
    above = builder.fcmp_ordered(">", value, other)
    unknown = builder.fcmp_unordered("uno", value, value)
    return builder.select(builder.or_(above, unknown), value, other)


class Registers:
    """Named vectors that live across a loop: stack slots that LLVM promotes to registers."""

    def __init__(self, builder: IR, count: int) -> None:
        with builder.goto_entry_block():
            self._slots: Sequence[IR] = [builder.alloca(VECTOR) for _ in range(count)]
        self._builder = builder

    def __getitem__(self, index: int) -> IR:
        return self._builder.load(self._slots[index])

    def __setitem__(self, index: int, value: IR) -> None:
        self._builder.store(value, self._slots[index])

    def __len__(self) -> int:
        return len(self._slots)


def _declare(builder: IR, name: str, kind: IR) -> IR:
    module = builder.module
    return module.globals.get(name) or ir.Function(module, kind, name)
