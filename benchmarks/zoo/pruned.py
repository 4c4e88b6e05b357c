"""One case: a network pruned by one criterion to one ratio, compacted, compared, exported."""

from __future__ import annotations

import copy
import math
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import leanline as ll
from benchmarks.zoo.networks import Network, calibrate, draw, enlarged, macs, parameters, tensors
from leanline.errors import ConfigError
from leanline.graph import PruningGraph, fewest_filters

Result = TypeVar("Result")

CRITERIA: dict[str, Callable[[], Any]] = {"Lean": ll.Lean, "Magnitude": ll.Magnitude}
EXACT = 1e-5  # largest deviation, relative to the largest output
CONSTANT = 1e-3  # a network whose outputs change less hardly answers, and hardly shows a difference
EXPORT = 1e-4  # the same of ONNX Runtime
# Random inputs on which outputs are compared; compact itself checks on others. Pruned networks that
# were not retrained may answer every usual input with a constant: larger ones wake some of them.
TRIALS = ({"seed": 1000}, {"seed": 1001, "spread": 10.0})


@dataclass
class Case:
    """What was measured, and the networks for those who measure more.

    Attributes:
        row: what goes into the results.
        masked: the pruned network, None if it could not be made.
        small: the compact one, None if it could not be made.
        fast: the pruned one on leanline's kernels, None where they cannot run it.
        seconds: what selecting, cleaning and compacting took.
    """

    row: dict[str, Any]
    masked: nn.Module | None = None
    small: nn.Module | None = None
    fast: nn.Module | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, call: Callable[[], Result]) -> Result:
        """Call, and note how long it took."""
        begin = time.perf_counter()
        result = call()
        self.seconds[name] = time.perf_counter() - begin
        return result


def prune(network: Network, graph: PruningGraph, criterion: str, keep: float) -> Case:
    """Prune and compact, and compare the outputs; an error becomes part of the row."""
    case = Case({"criterion": criterion, "keep": keep})
    case.row["seconds"] = case.seconds
    try:
        _prune(case, network, graph)
        _compact(case, network)
    except Exception as error:
        case.small = None
        case.row.update(error=explain(error), traceback=traceback.format_exc()[-3000:])
    return case


def explain(error: BaseException) -> str:
    """An error in one line."""
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said[:300]}"


def deviation(
    model: Callable[..., object], small: Callable[..., object], inputs: tuple[Tensor, ...]
) -> float:
    """Largest difference of any output on random inputs, relative to that output's largest value.

    Infinite if the outputs differ in number or shape, or if one is not finite where the other is.
    """
    worst = 0.0
    for trial in TRIALS:
        drawn = draw(inputs, **trial)
        with torch.no_grad():
            wanted, found = tensors(model(*drawn)), tensors(small(*drawn))
        if [t.shape for t in wanted] != [t.shape for t in found]:
            return math.inf
        for want, have in zip(wanted, found, strict=True):
            want, have = want.double(), have.double()
            if not torch.equal(want.isfinite(), have.isfinite()):
                return math.inf
            size = want.nan_to_num(0, 0, 0).abs().max()
            error = (want - have).nan_to_num(0, 0, 0).abs().max()
            worst = max(worst, float(error / size) if size > 0 else (math.inf if error else 0.0))
    return worst


def response(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """How much the outputs differ between the random inputs, relative to the largest value."""
    with torch.no_grad():
        one, other = (tensors(model(*draw(inputs, **trial))) for trial in TRIALS)
    changes = [
        float((a - b).abs().max() / torch.maximum(a.abs(), b.abs()).max().clamp_min(1e-30))
        for a, b in zip(one, other, strict=True)
    ]
    return max(changes)


def least_keep(graph: PruningGraph) -> float:
    """The lowest ratio that any path from an input to an output allows, as a fraction."""
    kept = {name: mask.cpu().numpy() for name, mask in graph.program.kept.items()}
    fewest = fewest_filters(graph.program, kept, {block.name for block in graph.filters})
    return min(1.0, math.ceil(1e6 * fewest / graph.num_filters) / 1e6)


def export(small: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """Export to ONNX and compare ONNX Runtime with PyTorch, also at another size and batch."""
    if not hasattr(ll, "export_onnx"):
        return {"skipped": "this version has no export_onnx"}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        try:
            ll.export_onnx(small, inputs, path)
        except Exception as error:
            return {"error": explain(error)}
        found: dict[str, Any] = {
            "seconds": time.perf_counter() - begin,
            "bytes": path.stat().st_size,
        }
        if find_spec("onnxruntime"):
            found.update(_run_export(small, inputs, path))
    return found


def _prune(case: Case, network: Network, graph: PruningGraph) -> None:
    model, row = copy.deepcopy(network.model), case.row
    rule = CRITERIA[row["criterion"]]()

    def select(keep: float) -> dict[str, Tensor]:
        return ll.select(model, network.inputs, keep=keep, criterion=rule)

    try:
        masks = case.timed("select", lambda: select(row["keep"]))
    except ConfigError as refused:
        least = least_keep(graph)
        if least <= row["keep"]:
            raise
        row.update(refused=str(refused), keep_used=least)
        masks = case.timed("select", lambda: select(least))
    ll.apply_masks(model, masks)
    report = case.timed("clean", lambda: ll.clean(model, network.inputs))
    row["kept"] = report.live_filters
    case.masked = model.eval()


def _compact(case: Case, network: Network) -> None:
    model, row, inputs = case.masked, case.row, network.inputs
    assert model is not None
    small = case.timed("compact", lambda: ll.compact(model, inputs))
    row["macs"], row["parameters"] = macs(small, inputs), parameters(small, inputs)
    row.update(_compared(model, small, inputs))
    if row["response"] < CONSTANT:
        row["recalibrated"] = _recalibrated(model, inputs)
    row["larger"] = _larger(model, small, enlarged(inputs))
    case.small = small


def _larger(model: nn.Module, small: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """Compare at another size and batch, where the network itself takes them."""
    try:
        with torch.no_grad():
            model(*inputs)
    except Exception as error:
        return {"refused": explain(error)}
    try:
        return {**_compared(model, small, inputs)}
    except Exception as error:
        return {"error": explain(error)}


def _recalibrated(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """Compare once more, with batch norms that fit the pruned network, which then answers."""
    awake = copy.deepcopy(model)
    how = calibrate(awake, inputs)
    small = ll.compact(awake, inputs)
    return {"how": how, **_compared(awake, small, inputs)}


def _compared(model: nn.Module, small: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, float]:
    """Deviation and response, and in float64 the deviation if it is large: rounding or a defect?"""
    found = {"deviation": deviation(model, small, inputs), "response": response(model, inputs)}
    if found["deviation"] > EXACT:
        exact = [copy.deepcopy(part).double() for part in (model, small)]
        wide = tuple(t.double() if t.is_floating_point() else t for t in inputs)
        found["deviation_float64"] = deviation(exact[0], exact[1], wide)
    return found


def _run_export(small: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    found: dict[str, Any] = {"axes": [value.shape for value in session.get_inputs()]}

    def run(*values: Tensor) -> list[Tensor]:
        feed = dict(zip(names, (value.numpy() for value in values), strict=True))
        return [torch.from_numpy(output) for output in session.run(None, feed)]

    for name, values in (("deviation", inputs), ("deviation_larger", enlarged(inputs))):
        try:
            found[name] = deviation(small, run, values)
        except Exception as error:
            found[f"{name}_error"] = explain(error)
    return found
