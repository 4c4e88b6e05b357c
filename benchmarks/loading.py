"""How much of a training step is spent waiting for pictures, on one thread.

Each data set is read twice: as it is at first (pictures made or decoded) and from memory. Data that
are not there (CamVid, unless LEANLINE_CAMVID names its folder) are left out.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from torch import nn

from benchmarks.workloads import LEAN, MSD50, Variant
from leanline import runtime
from leanline.cli.pictures import write_folder
from leanline.data import CamVid, CircleSquare, DynamicCT, ImageFolder, ImagingDataset
from leanline.models import MSD
from leanline.training import TrainingConfig
from leanline.training.loop import Trainer
from leanline.training.order import batches

STEPS = 8
BATCH = 5
KEEP = 0.05
CAMVID = "LEANLINE_CAMVID"

Make = Callable[[int], ImagingDataset]
"""Makes a data set that keeps so many bytes of pictures in memory."""


def measure(name: str, make: Make, network: nn.Module, what: str) -> dict[str, object]:
    """Waits and steps of the first reading and of a second one, in turn with its own pictures."""
    config = TrainingConfig(batch_size=BATCH)
    rows = {}
    for label, memory in (("first reading", 0), ("from memory", 2**30)):
        dataset = make(memory)
        split = dataset.split("train")
        trainer = Trainer(network, dataset, config, _on_kernels(dataset))
        if memory:
            for _ in batches(split, config, range(STEPS + 1)):
                pass
        trainer.fit(1)  # compiles
        rows[label] = _times(trainer, split, config)
    lines = [
        f"{label:>14}: waits {1e3 * wait:7.1f} ms a step of {1e3 * (wait + step):7.1f} ms, "
        f"{100 * wait / (wait + step):4.1f} %"
        for label, (wait, step) in rows.items()
    ]
    return {
        "case": f"{name}, {what}",
        "what": "waiting for pictures",
        "rows": {
            label: {"wait_s": wait, "step_s": step, "share": wait / (wait + step)}
            for label, (wait, step) in rows.items()
        },
        "text": "\n".join(lines),
    }


def _on_kernels(dataset: ImagingDataset) -> Callable[[nn.Module], nn.Module]:
    example = dataset.split("train")[0][0][None]
    return lambda model: runtime.trainable(model, example, threads=1)


def _times(trainer: Trainer, split: object, config: TrainingConfig) -> tuple[float, float]:
    """Median seconds of waiting for a batch, and of the step on it."""
    waits, steps = [], []
    source = batches(split, config, range(1, STEPS + 1))  # type: ignore[arg-type]
    while True:
        begin = time.perf_counter()
        pair = next(source, None)
        read = time.perf_counter()
        if pair is None:
            return median(waits), median(steps)
        trainer._one_step(*pair)
        waits.append(read - begin)
        steps.append(time.perf_counter() - read)


def run(seconds: float) -> Iterator[dict[str, object]]:
    """The shipped network, dense and pruned, on the sparse kernels; `seconds` is not used."""
    del seconds
    with tempfile.TemporaryDirectory() as place:
        few = {"train": (STEPS + 1) * BATCH, "val": 1, "test": 1}
        write_folder(CircleSquare(**few), Path(place))
        sets: list[tuple[str, Make, bool]] = [
            ("circle-square", lambda memory: CircleSquare(**few, memory=memory), False),
            ("dynamic-ct", lambda memory: DynamicCT(**few, frames=1, memory=memory), False),
            ("image folder", lambda memory: ImageFolder(place, memory=memory), False),
        ]
        camvid = os.environ.get(CAMVID)
        if camvid:
            sets.append(("camvid", lambda m: CamVid(camvid, memory=m), True))
        for name, make, colour in sets:
            if colour:
                yield measure(name, make, MSD(50, 3, CamVid.out_channels), "50 layers, dense")
                continue
            yield measure(name, make, MSD50.make(), f"{MSD50.name}, dense")
            yield measure(name, make, Variant(MSD50, LEAN, KEEP).make(), f"{MSD50.name}, 5 %")
