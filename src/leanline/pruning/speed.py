"""How fast a pruned network runs beside the unpruned one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from leanline import runtime
from leanline.types import ExampleInputs


@dataclass(frozen=True)
class Speed:
    """Times of one interleaved run.

    Attributes:
        speedup: Median over the rounds of the unpruned network's time / the pruned one's.
        milliseconds: Median time of a call of the pruned network.
    """

    speedup: float
    milliseconds: float


def measure_speed(
    dense: nn.Module,
    pruned: nn.Module,
    example_inputs: ExampleInputs,
    threads: int = 1,
    seconds: float = 2.0,
) -> Speed:
    """Time the unpruned network in PyTorch, and the pruned one compacted and compiled.

    Args:
        dense: The unpruned network; not changed.
        pruned: The masked network; not changed.
        example_inputs: What both are called with.
        threads: Threads of both.
        seconds: Time spent, beside compiling.

    Raises:
        ModelError: A network fails on the example inputs.
    """
    with _threads(threads):
        networks = {
            "dense": runtime.compile(dense, example_inputs, "reference"),
            "pruned": runtime.compile(pruned, example_inputs, "auto", threads),
        }
        row = runtime.benchmark(networks, example_inputs, seconds).rows[1]
    return Speed(row.speedup, row.median)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
