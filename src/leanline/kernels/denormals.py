"""Flush-to-zero inside the kernels: tiny numbers cost a hundred cycles each on x86.

The control register is set when a kernel starts on a thread and restored when it ends, so that
the caller's arithmetic does not change. On other architectures both are no-operations.
"""

import platform
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_X86 = platform.machine().lower() in {"x86_64", "amd64"}
_FLUSH_AND_ZERO = 0x8040  # FTZ (bit 15) and DAZ (bit 6) of MXCSR


def _call(builder: Any, name: str, slot: Any) -> None:
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(function, [builder.bitcast(slot, pointer)])


@intrinsic  # type: ignore[untyped-decorator]
def flush_denormals(typing_context):  # type: ignore[no-untyped-def]
    """Switch flush-to-zero on for this thread; return the state to restore."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not _X86:
            return ir.IntType(32)(0)
        with builder.goto_entry_block():
            slot = builder.alloca(ir.IntType(32))
        _call(builder, "llvm.x86.sse.stmxcsr", slot)
        before = builder.load(slot)
        builder.store(builder.or_(before, ir.IntType(32)(_FLUSH_AND_ZERO)), slot)
        _call(builder, "llvm.x86.sse.ldmxcsr", slot)
        return before

    return types.uint32(), generate


@intrinsic  # type: ignore[untyped-decorator]
def restore_denormals(typing_context, state):  # type: ignore[no-untyped-def]
    """Restore the state that `flush_denormals` returned."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _X86:
            with builder.goto_entry_block():
                slot = builder.alloca(ir.IntType(32))
            builder.store(args[0], slot)
            _call(builder, "llvm.x86.sse.ldmxcsr", slot)
        return context.get_dummy_value()

    return types.void(types.uint32), generate
