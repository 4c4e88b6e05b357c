"""Interleaved timing: the machine's moods hit all candidates alike, so that ratios hold."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from leanline.compaction.structure import tensors_of
from leanline.errors import ConfigError
from leanline.types import ExampleInputs

QUANTILES = (0.25, 0.75)


@dataclass(frozen=True)
class Timing:
    """One candidate's times in milliseconds, and its speed-up against the first candidate.

    Attributes:
        name: the candidate.
        median: median time of a call.
        low: first quartile.
        high: third quartile.
        speedup: median over the rounds of first candidate's time / this one's.
        speedup_low: first quartile of that ratio.
        speedup_high: third quartile of that ratio.
    """

    name: str
    median: float
    low: float
    high: float
    speedup: float
    speedup_low: float
    speedup_high: float


@dataclass(frozen=True)
class TimingTable:
    """Times of several candidates from one interleaved run.

    Attributes:
        rows: one a candidate, in the order given.
        rounds: rounds that counted.
        threads: PyTorch's thread count in the run.
        device: what it ran on.
    """

    rows: tuple[Timing, ...]
    rounds: int
    threads: int
    device: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{'':20s} {'median':>10s} {'quartiles':>21s} {'speed-up':>9s}"]
        for row in self.rows:
            spread = f"{row.low:.3f} .. {row.high:.3f}"
            lines.append(
                f"{row.name:20s} {row.median:7.3f} ms {spread:>18s} ms {row.speedup:8.2f}x"
            )
        lines.append(f"{self.rounds} rounds, interleaved, {self.threads} thread(s), {self.device}")
        return "\n".join(lines)


def benchmark(
    models: Mapping[str, nn.Module | Callable[..., object]],
    example_inputs: ExampleInputs,
    seconds: float = 2.0,
    rounds: int = 200,
) -> TimingTable:
    """Time networks against each other, without gradients, one call of each in turn.

    In each round a call that counts follows one that does not, so that a network finds its own
    weights and activations in the caches, as it does in a pipeline, and not those of the network
    before it. Modules are timed in eval mode and get their training flags back.

    Args:
        models: name to network; ratios are against the first.
        example_inputs: what each is called with.
        seconds: when to stop (at least 5 rounds are made).
        rounds: rounds at most.

    Returns:
        Medians, quartiles and ratios (of each round, so that slow moments cancel).

    Raises:
        ConfigError: nothing to time, or no time for it.
    """
    if not models:
        raise ConfigError("benchmark(models={}): give at least one network, by name")
    if rounds < 1 or not seconds >= 0:
        raise ConfigError(
            f"benchmark(seconds={seconds}, rounds={rounds}): give at least one round and no "
            "negative time"
        )
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    table = interleaved(tuple(models.values()), inputs, seconds, rounds)
    ratios = table[:, :1] / table
    rows = tuple(
        Timing(
            name,
            float(np.median(table[:, i])),
            *_quartiles(table[:, i]),
            float(np.median(ratios[:, i])),
            *_quartiles(ratios[:, i]),
        )
        for i, name in enumerate(models)
    )
    return TimingTable(rows, len(table), torch.get_num_threads(), _name(_device(inputs)))


def interleaved(
    models: Sequence[Callable[..., object]],
    inputs: tuple[Any, ...],
    seconds: float,
    rounds: int,
    least: int = 5,
) -> Float64[np.ndarray, "rounds models"]:
    """Milliseconds of each model in each round, as `benchmark` measures them.

    Args:
        models: what is called.
        inputs: with what.
        seconds: when to stop.
        rounds: rounds at most.
        least: rounds that are made whatever they take, if `rounds` allows as many.
    """
    device = _device(inputs)
    times: list[list[float]] = []
    with torch.inference_mode(), _in_eval(models):
        end = time.perf_counter() + seconds
        while len(times) < rounds and (len(times) < least or time.perf_counter() < end):
            times.append([_second_call(model, inputs, device) for model in models])
    return np.asarray(times) * 1e3


def _device(inputs: tuple[Any, ...]) -> torch.device:
    tensors = tensors_of(inputs)
    return tensors[0].device if tensors else torch.device("cpu")


@contextlib.contextmanager
def _in_eval(models: Iterable[object]) -> Iterator[None]:
    """Put modules into eval mode, and each part back into its own mode afterwards."""
    parts = [part for model in models if isinstance(model, nn.Module) for part in model.modules()]
    training = [part for part in parts if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


def _quartiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, QUANTILES)
    return float(low), float(high)


def _second_call(
    model: Callable[..., object], inputs: tuple[Any, ...], device: torch.device
) -> float:
    _call(model, inputs, device)
    return _call(model, inputs, device)


def _call(model: Callable[..., object], inputs: tuple[Any, ...], device: torch.device) -> float:
    start = time.perf_counter()
    model(*inputs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability()
