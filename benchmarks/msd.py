"""An MS-D network pruned by LEAN against the dense one: inference and a retraining step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import leanline as ll
from leanline import runtime

KEEP = 0.05
SIZE = 256


@dataclass(frozen=True)
class Case:
    """A network to time.

    Attributes:
        name: of the case.
        make: makes the dense network.
    """

    name: str
    make: Callable[[], nn.Module]


CASES = (
    Case("msd50 (shipped), LEAN 5 %", lambda: ll.models.pretrained("msd50-circle-square")),
    Case("msd100 (untrained), LEAN 5 %", lambda: ll.models.MSD(100, 1, 5)),
)


def inference(case: Case, seconds: float) -> dict[str, object]:
    """Dense and pruned, in PyTorch eager and on the kernels, one picture of 256 x 256."""
    image = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    dense, pruned = case.make().eval(), _pruned(case, image)
    small = ll.compact(pruned, image)
    networks = {
        "PyTorch eager, dense": dense,
        "leanline kernel, dense": ll.compile(dense, image, "cpu", threads=1),
        "PyTorch eager, compacted": small,
        "leanline kernel, pruned": ll.compile(pruned, image, "cpu", threads=1),
    }
    table = ll.benchmark(networks, image, seconds)
    with torch.no_grad():
        want, have = pruned(image), networks["leanline kernel, pruned"](image)
    size = ll.summary(pruned, image)
    rows = {row.name: row for row in table.rows}
    own, fast = rows["leanline kernel, dense"], rows["leanline kernel, pruned"]
    return {
        "case": case.name,
        "what": "inference",
        **table.to_dict(),
        "filters": [size.filters.before, size.filters.after],
        "macs": [size.macs.before, size.macs.after],
        "deviation": float((want - have).abs().max() / want.abs().max()),
        "pruned against own dense kernel": fast.speedup / own.speedup,
        "limit by multiply-adds": size.macs.before / size.macs.after,
        "GFLOP/s dense": 2e-6 * size.macs.before / own.median,
        "GFLOP/s pruned": 2e-6 * size.macs.after / fast.median,
        "text": str(table),
    }


def retraining(case: Case, seconds: float) -> dict[str, object]:
    """A forward and backward pass on one picture: compacted in PyTorch eager, dense, pruned."""
    image = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(1, SIZE, SIZE, dtype=torch.long)
    dense, pruned = case.make(), _pruned(case, image)
    steps = {
        "PyTorch eager, compacted": _step(ll.compact(pruned, image), labels),
        "leanline kernel, dense": _step(runtime.trainable(dense, image, threads=1), labels),
        "leanline kernel, pruned": _step(runtime.trainable(pruned, image, threads=1), labels),
    }
    table = ll.benchmark(steps, image, seconds)
    return {"case": case.name, "what": "retraining step", **table.to_dict(), "text": str(table)}


def _pruned(case: Case, image: Tensor) -> nn.Module:
    model = case.make().eval()
    ll.apply_masks(model, ll.select(model, image, keep=KEEP, criterion=ll.Lean()))
    ll.clean(model, image)
    return model


def _step(network: nn.Module, labels: Tensor) -> Callable[[Tensor], None]:
    def step(image: Tensor) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            network.zero_grad()
            torch.nn.functional.cross_entropy(network(image.clone()), labels).backward()

    return step


def run(seconds: float) -> list[dict[str, object]]:
    """All cases."""
    return [measure(case, seconds) for case in CASES for measure in (inference, retraining)]
