"""Operator norms of many filters, against PyTorch's batched FFT, and in copies of the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leanline.norms import operator_norm

CHUNKS = (1, 4, 16, 64)  # filters that are transformed at a time; the fastest is compared with
CHECKED = 64  # filters whose norms are compared with a transform in double precision


@dataclass(frozen=True)
class Case:
    """Filters to time.

    Attributes:
        kernel: their size.
        size: of the picture, on each axis.
        stride: on each axis.
        filters: number of filters for ours.
        transformed: number of filters for the FFT, which is timed on fewer.
    """

    kernel: tuple[int, ...]
    size: int
    stride: int
    filters: int
    transformed: int

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"norms of {'x'.join(map(str, self.kernel))} filters, n = {self.size}{stride}"


CASES = (
    Case((3, 3), 256, 1, 16_384, 256),
    Case((3, 3), 256, 2, 16_384, 256),
    Case((5, 5), 256, 1, 8_192, 256),
    Case((7, 7), 256, 1, 8_192, 256),
    Case((3, 3), 64, 1, 16_384, 2_048),
    Case((3, 3), 1024, 1, 8_192, 16),
    Case((3, 3, 3), 64, 1, 1_024, 64),
)


def measure(case: Case, seconds: float) -> dict[str, object]:
    """Ours, the FFT and a copy of the weights, in turn, on one thread."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, case.filters, *case.kernel, generator=generator)
    few = weight[:, : case.transformed]
    source = weight.numpy()
    target = np.empty_like(source)
    chunk = _best_chunk(case, few)
    candidates: dict[str, tuple[Callable[[], object], int]] = {
        "torch batched FFT": (lambda: _transformed(few, case, chunk), case.transformed),
        "leanline": (lambda: operator_norm(weight, case.size, case.stride), case.filters),
        "copy of the weights": (lambda: np.copyto(target, source), case.filters),
    }
    rounds: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < 5 or (len(rounds) < 200 and time.perf_counter() < end):
        rounds.append([_second_call(call) / number for call, number in candidates.values()])
    times = np.array(rounds)
    rows = []
    for name, column, ratio in zip(candidates, times.T, (times[:, :1] / times).T, strict=True):
        rows.append(
            {
                "name": name,
                "microseconds a filter": _quartiles(column * 1e6),
                "filters a second": 1 / float(np.median(column)),
                "speed-up": _quartiles(ratio),
            }
        )
    own = operator_norm(weight[:, :CHECKED], case.size, case.stride).double()
    exact = _transformed(weight[:, :CHECKED].double(), case, 1)
    return {
        "case": str(case),
        "what": "one thread, interleaved",
        "rows": rows,
        "rounds": len(rounds),
        "filters of one FFT call": chunk,
        "copies of the weights": float(np.median(times[:, 1] / times[:, 2])),
        "largest relative error": float((own / exact - 1).abs().max()),
        "text": _text(rows, len(rounds)),
    }


def _transformed(weight: Tensor, case: Case, chunk: int) -> Tensor:
    """Norms by Equations 4.5 and 4.7, with as few transforms as possible."""
    axes = tuple(range(2, weight.ndim))
    parts = []
    for part in weight.split(chunk, dim=1):
        if case.stride == 1:
            spectrum = torch.fft.rfftn(part, s=(case.size,) * len(axes), dim=axes).abs()
        else:
            grid = (case.size // case.stride,) * len(axes)
            squares: Tensor | float = 0.0
            for shift in np.ndindex(*(case.stride,) * len(axes)):
                phase = part[(..., *(slice(s, None, case.stride) for s in shift))]
                squares = squares + torch.fft.rfftn(phase, s=grid, dim=axes).abs().square()
            assert isinstance(squares, Tensor)
            spectrum = squares.sqrt()
        parts.append(spectrum.amax(axes))
    return torch.cat(parts, dim=1)


def _best_chunk(case: Case, weight: Tensor) -> int:
    """How many filters PyTorch transforms best at a time: what fits the caches."""
    times = {}
    for chunk in CHUNKS:
        calls = [_second_call(lambda c=chunk: _transformed(weight, case, c)) for _ in range(3)]
        times[chunk] = min(calls)
    return min(times, key=lambda chunk: times[chunk])


def _second_call(call: Callable[[], object]) -> float:
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _quartiles(values: np.ndarray) -> list[float]:
    """Median, first and third quartile."""
    return [float(value) for value in np.quantile(values, (0.5, 0.25, 0.75))]


def _text(rows: list[dict[str, object]], rounds: int) -> str:
    lines = [
        f"{'':20s} {'us a filter':>12s} {'quartiles':>21s} {'filters/s':>13s} {'speed-up':>9s}"
    ]
    for row in rows:
        median, low, high = row["microseconds a filter"]  # type: ignore[misc]
        spread = f"{low:.4f} .. {high:.4f}"
        lines.append(
            f"{row['name']:20s} {median:12.4f} {spread:>21s} {row['filters a second']:13,.0f} "
            f"{row['speed-up'][0]:8.1f}x"  # type: ignore[index]
        )
    lines.append(f"{rounds} rounds")
    return "\n".join(lines)


def run(seconds: float) -> list[dict[str, object]]:
    """All cases; tables of a few milliseconds a round need less time than those of networks."""
    return [measure(case, math.sqrt(seconds)) for case in CASES]
