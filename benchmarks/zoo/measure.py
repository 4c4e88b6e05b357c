"""Everything of one network, in a process of its own: `python -m benchmarks.zoo.measure JSON`.

What is known is written after every case, so that a crash or a time limit loses little.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_unflatten

import leanline as ll
from benchmarks.zoo.networks import (
    Flat,
    Network,
    is_image_to_image,
    load_file,
    macs,
    make,
    parameters,
)
from benchmarks.zoo.pruned import CRITERIA, Case, explain, export, prune, response
from benchmarks.zoo.torch_pruning import EQUAL, EqualMacs, installed
from leanline.records.atomic import write_text

DENSE, COMPACT, OTHER, KERNELS = "dense", "compact", "Torch-Pruning", "kernels"


def measure(file: Path, name: str, keeps: list[float], seconds: float, out: Path) -> None:
    """Measure one network and write what was found to `out`, again and again.

    Args:
        file: offers `build(name)`.
        name: the network.
        keeps: ratios to prune to.
        seconds: for one interleaved timing.
        out: JSON file.
    """
    torch.set_num_threads(1)
    begin = time.perf_counter()
    found: dict[str, Any] = {"cases": []}

    def note() -> None:
        found["seconds"] = time.perf_counter() - begin
        write_text(out, json.dumps(found))

    try:
        network = make(load_file(file).build, name)
        found.update(describe(network))
        if network.adapted:
            found["direct"] = compacts_directly(network)
        note()
        _warm_up()
        graph = ll.trace(network.model, network.inputs)
        found.update(
            filters=graph.num_filters,
            tracer=graph.report.tracer,
            frozen=len(graph.report.frozen),
        )
    except Exception as error:
        found.update(error=explain(error), traceback=traceback.format_exc()[-3000:])
        note()
        return
    cases = []
    for criterion in CRITERIA:
        for keep in keeps:
            case = prune(network, graph, criterion, keep)
            if case.small is not None:
                _fill(case, network, found, seconds)
            found["cases"].append(case.row)
            cases.append(case)
            note()
    if installed():
        for _ in beside(found, network, cases, seconds):
            note()
    found["complete"] = True
    note()


def describe(network: Network) -> dict[str, Any]:
    """What is known of a network before it is pruned."""
    return {
        "shapes": [list(tensor.shape) for tensor in network.inputs],
        "adapted": network.adapted,
        "calibration": network.calibration,
        "parameters": parameters(network.model, network.inputs),
        "macs": macs(network.model, network.inputs),
        "response": response(network.model, network.inputs),
        "image_to_image": is_image_to_image(network),
    }


def compacts_directly(network: Network) -> str:
    """Whether a network that takes a dictionary or list can be compacted without the adapter."""
    assert isinstance(network.model, Flat)
    inputs = tree_unflatten(list(network.inputs), network.model.spec)
    try:
        ll.compact(network.model.model, inputs)
    except Exception as error:
        return explain(error)
    return "yes"


def beside(found: dict[str, Any], network: Network, cases: list[Case], seconds: float) -> Any:
    """Add Torch-Pruning to the cases where something was dropped; yields after each."""
    try:
        search = EqualMacs(network)
    except Exception as error:
        found["torch_pruning"] = {"error": explain(error)}
        yield
        return
    found["torch_pruning"] = {"ignored": list(search.ignored)}
    for case in cases:
        row = case.row
        if case.small is None or row["macs"] >= (1 - EQUAL) * found["macs"]:
            continue
        try:
            row["torch_pruning"] = search.find(row["macs"])
            if not row["torch_pruning"]["ratio"]:
                continue
            other = search.prune(row["torch_pruning"]["ratio"])
            row["torch_pruning"]["parameters"] = parameters(other, network.inputs)
            row["times"] = time_networks(network, case, seconds, {OTHER: other})
        except Exception as error:
            row["torch_pruning"] = {"error": explain(error)}
        yield


def time_networks(
    network: Network, case: Case, seconds: float, others: dict[str, nn.Module] | None = None
) -> dict[str, Any]:
    """Dense, compact and others, interleaved; the kernels as well, where they can run it."""
    assert case.small is not None
    models: dict[str, nn.Module] = {DENSE: network.model, COMPACT: case.small, **(others or {})}
    if case.fast is not None:
        models[KERNELS] = case.fast
    table = ll.benchmark(models, network.inputs, seconds)
    times: dict[str, Any] = {
        row.name: {
            "ms": [row.low, row.median, row.high],
            "speedup": [row.speedup_low, row.speedup, row.speedup_high],
        }
        for row in table.rows
    }
    return {**times, "rounds": table.rounds}


def _fill(case: Case, network: Network, found: dict[str, Any], seconds: float) -> None:
    """Times and the export of a case that could be compacted."""
    assert case.small is not None and case.masked is not None
    row = case.row
    row["nothing_to_drop"] = row["parameters"] >= found["parameters"]
    try:
        case.fast = ll.compile(case.masked, network.inputs, "cpu", threads=1)
    except Exception as error:
        row["no_kernels"] = explain(error)
    try:
        row["times"] = time_networks(network, case, seconds)
    except Exception as error:
        row["timing_error"] = explain(error)
    if found["image_to_image"]:
        row["onnx"] = export(case.small, network.inputs)


def _warm_up() -> None:
    """Load or compile what selection needs, so that no case is charged for it."""
    model, image = ll.models.MSD(3, 1, 2), torch.zeros(1, 1, 16, 16)
    for rule in CRITERIA.values():
        ll.select(model, image, keep=0.5, criterion=rule())


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of the networks; what fails is in the results
    given = json.loads(sys.argv[1])
    measure(
        Path(given["file"]), given["name"], given["keeps"], given["seconds"], Path(given["out"])
    )
