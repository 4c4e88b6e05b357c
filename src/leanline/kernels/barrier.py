"""Threads that share the rows of one image meet after each step that depends on the others' rows.

They spin, since a step takes some ten microseconds; one that has spun for long gives its processor
to others, so that a busy machine is not blocked by those that wait.
"""

import os
import platform
from typing import Any

import numba as nb
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_PATIENCE = 4000  # turns, some 50 microseconds
_X86 = platform.machine().lower() in {"x86_64", "amd64"}
_POSIX = os.name == "posix"
_INT = ir.IntType(64)


@intrinsic  # type: ignore[untyped-decorator]
def _arrive(typing_context, counter):  # type: ignore[no-untyped-def]
    """Add 1 to ``counter[0]``, seen by all threads; return what it was."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", data, _INT(1), "seq_cst")

    return types.int64(counter), generate


@intrinsic  # type: ignore[untyped-decorator]
def _look(typing_context, counter, index):  # type: ignore[no-untyped-def]
    """``counter[index]`` as the other threads left it."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(counter, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _pause(typing_context):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic  # type: ignore[untyped-decorator]
def _give_way(typing_context):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _POSIX:  # resolved among the symbols of the process
            kind = ir.FunctionType(ir.IntType(32), [])
            name = "sched_yield"
            function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


@nb.njit(nogil=True, cache=True)
def meet(counter, members):  # type: ignore[no-untyped-def]
    """Wait until all ``members`` threads have come here as often as this one.

    Args:
        counter: int64, the same memory for all: how many came, 0 at first; 1 where one of the
            members will not come, so that nobody waits any more.
        members: number of threads.
    """
    if members == 1:
        return
    goal = (_arrive(counter) // members + 1) * members
    turns = 0
    while _look(counter, 0) < goal and not _look(counter, 1):
        turns += 1
        if turns < _PATIENCE:
            _pause()
        else:
            _give_way()
