"""Networks on the plan that runs without tuning, and on the one that a quick search finds.

The search is made anew: nothing that an earlier run measured is read. Then both plans are timed in
one interleaved run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import torch

import leanline as ll
from benchmarks.workloads import LEAN, MSD100, RANDOM, RETRAINED, UNET, Variant, picture

CASES = (
    Variant(MSD100, LEAN, 0.158),
    Variant(MSD100, RANDOM, 0.158),
    Variant(UNET, RANDOM, 0.1),
    Variant(UNET, RETRAINED, 0.1),
)
THREADS = (1, 2)
UNTUNED, TUNED = "untuned", "tuned"
TUNE = "quick"


def measure(variant: Variant, threads: int, seconds: float) -> dict[str, object]:
    """Tune one network, and time it against its untuned plan.

    Args:
        variant: the network.
        threads: of PyTorch and of the kernels.
        seconds: for the last comparison.
    """
    torch.set_num_threads(threads)
    try:
        masked = variant.make()
        image = picture(masked)
        small = ll.compact(masked, image)
        plain = ll.compile(small, image, threads=threads)
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch("leanline.runtime.trials.usual_folder", lambda name: Path(folder) / name),
        ):
            tuned = ll.compile(small, image, threads=threads, tune=TUNE)
        found = getattr(tuned, "tuned", None)
        with torch.no_grad():
            want, have = masked(image), tuned(image)
        table = ll.benchmark({UNTUNED: plain, TUNED: tuned}, image, seconds)
    finally:
        torch.set_num_threads(1)
    return {
        "case": f"{variant.network.name}; {variant.name}; {threads} thread(s)",
        "what": "the plan without tuning, and the plan that a quick search finds",
        "network": variant.network.name,
        "variant": variant.name,
        **table.to_dict(),
        "search": asdict(found) if found else None,
        "deviation": float((want - have).abs().max() / want.abs().max()),
        "text": f"{table}\nsearch: {found}",
    }


def run(seconds: float) -> Iterator[dict[str, object]]:
    """All networks, on one thread and on two."""
    for threads in THREADS:
        for variant in CASES:
            yield measure(variant, threads, seconds)
