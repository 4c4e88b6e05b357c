"""Chain selection on three graphs and two regimes of norms, against copying the weights.

Each case runs in a process of its own, so that its peak memory can be told. The plain engine (one
sweep over the graph a chain) would take hours on the large graphs: it is timed on chains that are
spread over the run of the lazy one, and its time is their mean times the number of chains.
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.apart import measure_apart
from benchmarks.layer_graphs import GRAPHS, REGIMES
from benchmarks.naive_chains import NaiveOrder
from leanline.graph import ChainOrder, ChannelGraph

KEEPS = (0.794, 0.1)  # the first step of the thesis's schedule, and a low ratio in one step
POINTS = 8  # of a run at which the plain engine is timed
SWEEPS = 5  # chains at each


def run(seconds: float) -> list[dict[str, object]]:
    """All cases; one that takes longer than `seconds` is measured once."""
    return [_in_process(*case, seconds) for case in itertools.product(GRAPHS, REGIMES, KEEPS)]


def _in_process(name: str, regime: str, keep: float, seconds: float) -> dict[str, object]:
    result = measure_apart("benchmarks.chains", name, regime, keep, seconds)
    return {**result, "text": _text(result)}


def measure(name: str, regime: str, keep: float, seconds: float) -> dict[str, object]:
    """One case: selection and a copy of the weights in turn, then chains of the plain engine."""
    small = GRAPHS["MS-D 100"]("normalised")
    _select(small, small.num_prunable)  # compiles
    graph = GRAPHS[name](regime)
    count = round(keep * graph.num_prunable)
    before = _resident()
    order = _select(graph, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    chains = sum(stops.size for stops in order._head.stops)
    head = order.order(min(count, order._count))
    del order
    times, copies = [], []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        copies.append(_timed(lambda: _copy(graph)))
        times.append(_timed(lambda: _select(graph, count)))
    own, copy = statistics.median(times), statistics.median(copies)
    naive = _naive(graph, head)
    return {
        "case": f"{name}, {regime}, keep {keep}",
        "what": "chain selection",
        "edges": graph.num_prunable,
        "chains above 1": chains,
        "filters in them": int(head.size),
        "seconds": _quartiles(times),
        "seconds of a copy of the weights": _quartiles(copies),
        "copies": own / copy,
        "peak memory, MB": (peak - before) / 1e6,
        "plain engine, seconds a chain": naive,
        "times the plain engine": statistics.mean(naive) * chains / own if naive else None,
        "times a plain engine without tail": (
            statistics.mean(naive) * (chains + count - head.size) / own if naive else None
        ),
    }


def _select(graph: ChannelGraph, count: int) -> ChainOrder:
    order = ChainOrder(graph)
    order.flags(count)
    return order


def _copy(graph: ChannelGraph) -> None:
    for block, target in zip(graph.blocks, _targets(graph), strict=True):
        np.copyto(target, block.log_weight)


_TARGETS: dict[int, list[np.ndarray]] = {}


def _targets(graph: ChannelGraph) -> list[np.ndarray]:
    """Arrays to copy into, whose memory is there already."""
    if id(graph) not in _TARGETS:
        _TARGETS[id(graph)] = [np.ones_like(block.log_weight) for block in graph.blocks]
    return _TARGETS[id(graph)]


def _timed(call: object) -> float:
    begin = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - begin


def _naive(graph: ChannelGraph, head: np.ndarray) -> list[float]:
    """Seconds a chain of the plain engine, at points spread evenly over the chains above 1."""
    plain, found = NaiveOrder(graph), []
    for point in range(POINTS):
        plain.remove(head[: head.size * point // POINTS])
        if plain.next() is None:
            break
        times = [_timed(plain.next) for _ in range(SWEEPS)]
        found.append(statistics.mean(times))
    return found


def _resident() -> int:
    """Bytes of memory in use now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _quartiles(times: list[float]) -> list[float]:
    return [float(x) for x in np.quantile(times, (0.25, 0.5, 0.75))]


def _text(result: dict[str, object]) -> str:
    low, middle, high = result["seconds"]  # type: ignore[misc]
    ratio, other = result["times the plain engine"], result["times a plain engine without tail"]
    lines = [
        f"  {middle:.4g} s ({low:.4g} .. {high:.4g}), "
        f"{result['copies']:.0f} copies of the weights, "
        f"at most {result['peak memory, MB']:.0f} MB more memory",
        f"  {result['edges']:,} filters; {result['chains above 1']:,} chains above 1 hold "
        f"{result['filters in them']:,}",
    ]
    if ratio is not None:
        lines.append(
            f"  {ratio:.0f} x the plain engine, extrapolated from {POINTS * SWEEPS} of these "
            f"chains; {other:.0f} x one that sweeps for each single filter at the end too"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(measure(given[0], given[1], float(given[2]), float(given[3]))))
