"""A retraining step of a pruned MS-D network: forward and backward, on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import leanline as ll
from benchmarks.targets import RETRAINING, check
from benchmarks.workloads import LEAN, MSD50, MSD100, Network, Variant, picture
from leanline import runtime
from leanline.experiments.evidence import EAGER_COMPACT, KERNEL_DENSE, KERNEL_PRUNED

KEEP = 0.05
BATCHES = (1, 4)


def measure(network: Network, batch: int, seconds: float) -> dict[str, object]:
    """Some pictures: compacted in PyTorch eager, dense and pruned on the kernels."""
    variant = Variant(network, LEAN, KEEP)
    name = f"{variant.name}, batch {batch}"
    dense, pruned = network.make(), variant.make()
    image = picture(dense)
    images = image.repeat(batch, 1, 1, 1)
    labels = torch.zeros(batch, *image.shape[2:], dtype=torch.long)
    steps = {
        EAGER_COMPACT: _step(ll.compact(pruned, image), labels),
        KERNEL_DENSE: _step(runtime.trainable(dense, image, threads=1), labels),
        KERNEL_PRUNED: _step(runtime.trainable(pruned, image, threads=1), labels),
    }
    table = ll.benchmark(steps, images, seconds)
    times = {row.name: row.median for row in table.rows}
    ratios = {name: taken / times[KERNEL_PRUNED] for name, taken in times.items()}
    return {
        "case": f"{network.name}, {name}, retraining step",
        "what": RETRAINING,
        "network": network.name,
        "variant": name,
        **table.to_dict(),
        "ratios": ratios,
        "targets": [
            {"variant": name, **target} for target in check(RETRAINING, network.name, KEEP, ratios)
        ],
        "text": str(table),
    }


def _step(network: nn.Module, labels: Tensor) -> Callable[[Tensor], None]:
    def step(image: Tensor) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            network.zero_grad()
            torch.nn.functional.cross_entropy(network(image.clone()), labels).backward()

    return step


def run(seconds: float) -> Iterator[dict[str, object]]:
    """The shipped network and a deeper one."""
    for network in (MSD50, MSD100):
        for batch in BATCHES:
            yield measure(network, batch, seconds)
