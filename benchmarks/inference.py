"""Networks pruned by LEAN and at random: PyTorch, ONNX Runtime and leanline's kernels, in turn.

All variants of a network are timed in one interleaved run with the dense network, on one thread and
then on two; two networks also with four pictures at once. Beside each time stands what the machine
could do at best, from limits that are measured in the same run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import leanline as ll
from benchmarks.limits import Limits, measure_limits
from benchmarks.targets import INFERENCE, check
from benchmarks.work import Work, work_of
from benchmarks.workloads import (
    LEAN,
    MSD50,
    MSD100,
    RANDOM,
    UNET,
    Network,
    Variant,
    picture,
    variants,
)
from leanline.experiments.evidence import (
    EAGER_COMPACT,
    EAGER_DENSE,
    KERNEL_DENSE,
    KERNEL_PRUNED,
    ONNX_COMPACT,
)
from leanline.runtime import OnnxNetwork

NETWORKS = (MSD50, MSD100, UNET)
THREADS = (1, 2)
BATCHES = ((Variant(MSD100, LEAN, 0.05), 4), (Variant(UNET, RANDOM, 0.01), 4))
"""What is timed with several pictures at once, on two threads."""


@dataclass(frozen=True)
class Pruned:
    """What is made once of a variant, for all runs.

    Attributes:
        variant: what it is.
        masked: the network with its masks.
        small: the compacted one.
        onnx: that in ONNX Runtime, by the number of threads.
        filters: prunable ones, before and after.
        macs: multiply-adds of one picture, before and after.
    """

    variant: Variant
    masked: nn.Module
    small: nn.Module
    onnx: Mapping[int, nn.Module]
    filters: tuple[int, int]
    macs: tuple[int, int]


@cache
def _pruned(variant: Variant) -> Pruned:
    masked = variant.make()
    image = picture(masked)
    small = ll.compact(masked, image)
    size = ll.summary(masked, image, small=small)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        ll.export_onnx(small, image, path)
        onnx = {threads: OnnxNetwork(path, threads) for threads in THREADS}
    return Pruned(
        variant,
        masked,
        small,
        onnx,
        (size.filters.before, size.filters.after),
        (size.macs.before, size.macs.after),
    )


_limits = cache(measure_limits)


def measure(
    network: Network, several: Sequence[Variant], threads: int, batch: int, seconds: float
) -> dict[str, object]:
    """Time a network and its pruned variants in one interleaved run.

    Args:
        network: the network.
        several: what of it.
        threads: of everything that is timed.
        batch: pictures in a call.
        seconds: for the run.
    """
    torch.set_num_threads(threads)
    try:
        limits = _limits(threads)
        dense = network.make()
        image = picture(dense, batch)
        own = ll.compile(dense, image, "cpu", threads=threads)
        made = [_pruned(variant) for variant in several]
        fast = [ll.compile(pruned.small, image, threads=threads) for pruned in made]
        # kernels last: their threads do not spin when they are done, those of others do
        candidates = {EAGER_DENSE: dense}
        candidates |= {_key(p.variant, EAGER_COMPACT): p.small for p in made}
        candidates |= {_key(p.variant, ONNX_COMPACT): p.onnx[threads] for p in made}
        candidates |= {KERNEL_DENSE: own}
        candidates |= {_key(p.variant, KERNEL_PRUNED): f for p, f in zip(made, fast, strict=True)}
        table = ll.benchmark(candidates, image, seconds)
        times = {row.name: row.median for row in table.rows}
        found = [_result(p, f, times, limits, image) for p, f in zip(made, fast, strict=True)]
        whole = work_of(dense, image)
    finally:
        torch.set_num_threads(1)
    return {
        "case": f"{network.name}, {batch} picture(s), {threads} thread(s)",
        "what": INFERENCE,
        "network": network.name,
        "batch": batch,
        **table.to_dict(),
        "limits": limits.to_dict(),
        "dense": {
            EAGER_DENSE: times[EAGER_DENSE],
            KERNEL_DENSE: times[KERNEL_DENSE],
            **_distance(whole, times[KERNEL_DENSE], limits),
        },
        "variants": found,
        "targets": [target for one in found for target in one["targets"]] if batch == 1 else [],
        "text": "\n".join([str(table), str(limits), *map(_line, found)]),
    }


def _line(one: dict[str, Any]) -> str:
    """A variant in a line for people."""
    ratios = ", ".join(f"{ratio:.1f}x {name}" for name, ratio in one["ratios"].items())
    limit = ", ".join(f"{ms:.3f} ms by {what}" for what, ms in one["limit"].items())
    return (
        f"{one['variant']}: {ratios}; {one['macs'][0] / one['macs'][1]:.1f}x fewer multiply-adds; "
        f"{one['GFLOP/s']:.0f} GFLOP/s; limits {limit}: {100 * one['of the limit']:.0f} % reached"
    )


def _result(
    pruned: Pruned, fast: nn.Module, times: dict[str, float], limits: Limits, image: Tensor
) -> dict[str, Any]:
    variant = pruned.variant
    own = {
        name: times[_key(variant, name)] for name in (EAGER_COMPACT, ONNX_COMPACT, KERNEL_PRUNED)
    }
    baselines = {name: times[name] for name in (EAGER_DENSE, KERNEL_DENSE)} | own
    median = own[KERNEL_PRUNED]
    ratios = {name: taken / median for name, taken in baselines.items() if name != KERNEL_PRUNED}
    with torch.no_grad():
        want, have = pruned.masked(image), fast(image)
    checked = check(INFERENCE, variant.network.name, variant.keep, ratios)
    return {
        "variant": variant.name,
        "rule": variant.rule,
        "keep": variant.keep,
        "filters": pruned.filters,
        "macs": pruned.macs,
        **own,
        "ratios": ratios,
        "candidates": dict(getattr(fast, "times", {})),
        "deviation": float((want - have).abs().max() / want.abs().max()),
        **_distance(work_of(pruned.masked, image), median, limits),
        "targets": [{"variant": variant.name, **target} for target in checked],
    }


def _distance(work: Work, median: float, limits: Limits) -> dict[str, Any]:
    """How far a time is from what the machine could do at best."""
    least = work.milliseconds(limits)
    return {
        "limit": least,
        "of the limit": max(least.values()) / median,
        "GFLOP/s": 2e-6 * work.multiply_adds / median,
        "GB/s": 1e-6 * work.bytes / median,
    }


def _key(variant: Variant, name: str) -> str:
    return f"{variant.name}: {name}"


def run(seconds: float) -> Iterator[dict[str, object]]:
    """All networks, each in one run for each thread count."""
    for network in NETWORKS:
        for threads in THREADS:
            yield measure(network, variants(network), threads, 1, seconds)
    for variant, batch in BATCHES:
        yield measure(variant.network, [variant], THREADS[-1], batch, seconds)
