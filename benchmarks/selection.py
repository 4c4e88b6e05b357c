"""`ll.select` as users call it, from the model to the masks, on the thesis's networks.

Random weights; the statistics of batch norms are those of one batch, so that the norms are as in a
network that was trained for no time. Each case runs in a process of its own, which says how much
memory it took in all.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import leanline as ll
from benchmarks.apart import measure_apart

SIZE = 256
KEEP = 0.1
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MS-D 100": lambda: ll.models.MSD(100, 1, 5),
    "U-Net4": lambda: ll.models.UNet4(1, 5),
    "FCN-ResNet50": lambda: ll.models.FCNResNet50(1, 5),
}
CRITERIA = ("Lean", "Magnitude", "OperatorNorm")


def run(seconds: float) -> list[dict[str, object]]:
    """All networks; each rule is measured again until its share of `seconds` is over."""
    return [_in_process(name, seconds) for name in NETWORKS]


def _in_process(name: str, seconds: float) -> dict[str, object]:
    result = measure_apart("benchmarks.selection", name, seconds)
    return {**result, "text": _text(result)}


def measure(name: str, seconds: float) -> dict[str, object]:
    """One network: all rules in turn, after a first round that compiles."""
    torch.manual_seed(0)
    model = calibrated(NETWORKS[name]())
    image = torch.rand(1, 1, SIZE, SIZE)
    graph = ll.trace(model, image)
    first = {rule: _timed(model, image, rule) for rule in CRITERIA}
    times: dict[str, list[float]] = {rule: [] for rule in CRITERIA}
    begin = time.perf_counter()
    while not times[CRITERIA[-1]] or time.perf_counter() - begin < seconds:
        for rule in CRITERIA:
            times[rule].append(_timed(model, image, rule))
    return {
        "case": f"{name}, {SIZE} x {SIZE}, keep {KEEP}",
        "what": "ll.select: trace, graph, norms, selection, refilling, masks",
        "filters": graph.num_filters,
        "seconds": {rule: np.quantile(times[rule], (0.25, 0.5, 0.75)).tolist() for rule in times},
        "seconds of the first call": first,
        "memory of the process, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * 1024
        / 1e9,
    }


def calibrated(model: nn.Module) -> nn.Module:
    """The model in eval mode, its batch norms with the statistics of one batch."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [part.momentum for part in norms]
    for part in norms:
        part.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(2, 1, SIZE, SIZE))
    for part, momentum in zip(norms, momenta, strict=True):
        part.momentum = momentum
    return model.eval()


def _timed(model: nn.Module, image: torch.Tensor, rule: str) -> float:
    begin = time.perf_counter()
    ll.select(model, image, KEEP, getattr(ll, rule)())
    return time.perf_counter() - begin


def _text(result: dict[str, object]) -> str:
    lines = []
    first: dict[str, float] = result["seconds of the first call"]  # type: ignore[assignment]
    seconds: dict[str, list[float]] = result["seconds"]  # type: ignore[assignment]
    for rule, (low, middle, high) in seconds.items():
        lines.append(
            f"  {rule:12s} {middle:.3g} s ({low:.3g} .. {high:.3g}), first call {first[rule]:.3g} s"
        )
    lines.append(f"  {result['memory of the process, GB']:.2f} GB of memory in all")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(sys.argv[1], float(sys.argv[2]))))
