"""Run random programs, some of them damaged, in buffers that end at pages nobody may touch.

A kernel that reads or writes outside its buffers ends the process. Arguments: first seed, one past
the last, how many of ten programs are damaged.
"""

import ctypes
import dataclasses
import faulthandler
import mmap
import sys
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels import call
from leanline.kernels.layout import Places
from leanline.kernels.ops import planes_forward, planes_infer
from leanline.kernels.program import PlaneProgram
from leanline.kernels.registry import register
from leanline.kernels.schedule import schedule
from plane_programs import Draft, make_case

TOO_LARGE = 1 << 21  # floats or taps: not run
PAGE = mmap.PAGESIZE
TABLES = ("inputs", "grid", "windows", "steps", "source", "outputs", "head")
_protect = ctypes.CDLL(None, use_errno=True).mprotect


class Guarded:
    """Stands for the pool of buffers."""

    at_end = True

    def borrow(self, key: Hashable, size: int) -> np.ndarray:
        """Zeros with a forbidden page on each side, at the first or the second directly."""
        pages = -(-max(size, 1) * 4 // PAGE) + 2
        memory = np.frombuffer(mmap.mmap(-1, pages * PAGE), np.uint8)
        for page in (0, pages - 1):
            place = ctypes.c_void_p(memory.ctypes.data + page * PAGE)
            if _protect(place, ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        inside = memory[PAGE:-PAGE].view(np.float32)
        return inside[inside.size - size :] if self.at_end else inside[:size]


_pool = Guarded()


def guarded(tensor: Tensor) -> Tensor:
    """A copy in guarded memory."""
    copy = torch.from_numpy(_pool.borrow("", tensor.numel())).view(tensor.shape)
    return copy.copy_(tensor.detach()).requires_grad_(tensor.requires_grad)


def _results(self: Any, like: Tensor) -> list[Tensor]:
    return [guarded(like.new_zeros(self.batch, *shape)) for shape in self.plan.output_shapes]


def draw(rng: np.random.Generator, seed: int) -> Draft:
    """As `drafts`, without hypothesis."""
    sizes = [1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 64, 65]
    return Draft(
        seed=seed,
        padding=str(rng.choice(["zeros", "zeros", "replicate", "reflect"])),
        sizes=[(int(a), int(b)) for a, b in rng.choice(sizes, (rng.integers(1, 3), 2))],
        density=float(rng.choice([0.0, 0.2, 0.6, 1.0])),
        planes=int(rng.integers(0, 12)),
        head=int(rng.choice([0, 1, 2, 5, 11])),
        outputs=int(rng.integers(0, 3)),
        batch=1,
        threads=int(rng.integers(1, 3)),
    )


def damage(program: PlaneProgram, rng: np.random.Generator) -> PlaneProgram:
    """Change one number, or leave out or repeat a row of a table."""
    name = str(rng.choice(TABLES))
    table: Any = getattr(program, name)
    number = 0
    if name == "outputs":
        if not table:
            return program
        number = int(rng.integers(0, len(table)))
        table = table[number]
    if not table.size:
        return program
    changed = table.copy()
    if rng.random() < 0.2:
        rows = list(range(len(changed)))
        row = int(rng.integers(0, len(rows)))
        changed = changed[rows[:row] + ([row, row] if rng.random() < 0.5 else []) + rows[row + 1 :]]
    else:
        at = tuple(int(rng.integers(0, n)) for n in changed.shape)
        known = int(changed[at])
        values = [-1, 0, 1, 2, known - 1, known + 1, known + 3, 2 * known, 77, 1 << 15, 1 << 40]
        changed[at] = rng.choice(values)
    if name == "outputs":
        changed = (*program.outputs[:number], changed, *program.outputs[number + 1 :])
    return dataclasses.replace(program, **{name: changed})


def run(seed: int, damaged: int) -> str:
    """Run one program forward and backward; say what came of it."""
    rng = np.random.default_rng(seed)
    draft = draw(rng, seed)
    case = draft.make()
    program = case.program
    if rng.integers(0, 10) < damaged:
        program = damage(program, rng)
    try:
        key = register(program)
        if len(program.inputs) != len(draft.sizes):
            return "refused"
        places = Places(program, tuple(draft.sizes), schedule(program).slots)
    except ModelError:
        return "refused"
    pixels = sum(a * b for a, b in places.sizes) * (len(program.grid) + program.head_outputs)
    if max(places.size, int(program.taps_at[-1]), pixels) > TOO_LARGE:
        return "too large"
    case = make_case(program, 1, draft.sizes, seed)
    leaves = case.cast(torch.float32)
    images, numbers = ([guarded(tensor).requires_grad_() for tensor in part] for part in leaves)
    with torch.no_grad():
        planes_infer(images, *numbers, key, draft.threads)
    outputs = planes_forward(images, *numbers, key, draft.threads)[:-1]
    torch.autograd.backward(outputs, [guarded(torch.ones_like(out)) for out in outputs])
    return "ran"


if __name__ == "__main__":
    faulthandler.enable()
    call._buffers = _pool  # type: ignore[assignment]
    call.Call.results = _results  # type: ignore[method-assign]
    first, last, damaged = (int(argument) for argument in sys.argv[1:])
    said: dict[str, int] = {}
    for seed in range(first, last):
        print("seed", seed, file=sys.stderr, flush=True)
        for _pool.at_end in (True, False):
            outcome = run(seed, damaged)
        said[outcome] = said.get(outcome, 0) + 1
    print(said)
