"""Times of the pruned networks, measured in one process when everything is pruned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leanline import runtime
from leanline.errors import ModelError
from leanline.experiments.cells import Cell, Pair, limited_threads, read_json
from leanline.experiments.evidence import machine
from leanline.experiments.sweep import Sweep
from leanline.records.atomic import write_text
from leanline.records.configuration import canonical
from leanline.records.progress import bar

log = logging.getLogger(__name__)

EAGER, COMPILED = "PyTorch eager, dense", "leanline, dense"
"""What the pruned networks are timed beside; speed-ups are against the first."""


def timing_file(pair: Pair) -> Path:
    """Times of one picture through each network of each stage."""
    return pair.folder / "timing.json"


def batches_file(pair: Pair) -> Path:
    """Times by batch size of the networks that are judged."""
    return pair.folder / "batches.json"


def time_stages(sweep: Sweep) -> None:
    """Time the networks of all stages that are not timed: all rules of a stage in turn.

    A network is compacted and compiled for one picture; only its masks matter, so the weights are
    those of the dense network. Each stage is timed together with the dense network, so that ratios
    hold although the machine has its moods.
    """
    work = [(pair, stage) for pair in sweep.pairs for stage in _open_stages(sweep, pair)]
    with bar("timing", total=len(work)) as progress:
        for pair, stage in work:
            cells = _timed_cells(sweep, pair)
            found = _read(timing_file(pair))
            found[str(stage)] = _time(
                pair,
                {cell.key: (cell, stage) for cell in cells},
                batch=1,
                seconds=pair.config.measuring.seconds,
            )
            _write(timing_file(pair), found)
            progress.advance(1)


def time_batches(sweep: Sweep) -> None:
    """Time the networks that are judged, of the first seed, for each batch size (Figure 4.4)."""
    work = [
        (pair, batch)
        for pair in sweep.pairs
        for batch in pair.config.measuring.batches
        if str(batch) not in _read(batches_file(pair))
    ]
    with bar("timing batches", total=len(work)) as progress:
        for pair, batch in work:
            networks = {
                f"{cell.key} {stage}": (cell, stage)
                for cell in sweep.of_pair(pair)
                if cell.seed == pair.config.seeds[0] and cell.finished
                for stage in cell.judged
            }
            found = _read(batches_file(pair))
            seconds = pair.config.measuring.batch_seconds
            found[str(batch)] = _time(pair, networks, batch, seconds)
            _write(batches_file(pair), found)
            progress.advance(1)


def _timed_cells(sweep: Sweep, pair: Pair) -> list[Cell]:
    seeds = pair.config.seeds[: pair.config.measuring.seeds]
    return [cell for cell in sweep.of_pair(pair) if cell.seed in seeds and cell.finished]


def _open_stages(sweep: Sweep, pair: Pair) -> list[int]:
    """The stages that have to be timed: those of which a rule's network is missing."""
    cells, steps = _timed_cells(sweep, pair), pair.network_config.schedule.steps
    if not cells:
        return []
    wanted = sorted({*range(steps, 0, -pair.config.measuring.every), *cells[0].judged})
    done = _read(timing_file(pair))
    keys = {cell.key for cell in cells}
    return [stage for stage in wanted if not keys <= set(done.get(str(stage), {}).get("rows", {}))]


def _time(
    pair: Pair, networks: Mapping[str, tuple[Cell, int]], batch: int, seconds: float
) -> dict[str, Any]:
    """Milliseconds a call with quartiles, and speed-ups against the dense network in PyTorch."""
    config, (_, chosen) = pair.config, pair.open()
    threads = config.measuring.threads
    picture = chosen.dataset.split("val")[0][0]
    example = picture.expand(batch, -1, -1, -1).contiguous().to(config.accelerator)
    dense = pair.dense().to(config.accelerator).eval()

    def compiled(network: nn.Module) -> nn.Module:
        return runtime.compile(network, example, "auto", threads)

    makers: dict[str, Callable[[], nn.Module]] = {
        EAGER: lambda: runtime.compile(dense, example, "reference"),
        COMPILED: lambda: compiled(dense),
    }
    for key, (cell, stage) in networks.items():
        makers[key] = _maker(cell, stage, example, compiled)
    made: dict[str, nn.Module] = {}
    with limited_threads(threads):
        for key, make in makers.items():
            try:
                made[key] = make()
            except ModelError as problem:
                log.warning("%s is not timed: %s", key, problem)
        table = runtime.benchmark(made, example, seconds)
    rows = {
        row.name: {
            "ms": row.median,
            "ms_low": row.low,
            "ms_high": row.high,
            "speedup": row.speedup,
            "speedup_low": row.speedup_low,
            "speedup_high": row.speedup_high,
        }
        for row in table.rows
    }
    return {
        "rows": rows,
        "rounds": table.rounds,
        "threads": table.threads,
        "device": table.device,
        "machine": machine(),
        "shape": list(example.shape),
    }


def _maker(
    cell: Cell, stage: int, example: Tensor, compiled: Callable[[nn.Module], nn.Module]
) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        network = cell.network_at(stage, cell.pair.dense()).to(example.device)
        with torch.no_grad():
            return compiled(network)

    return make


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.exists() else {}


def _write(file: Path, found: Mapping[str, Any]) -> None:
    write_text(file, canonical(found) + "\n")
