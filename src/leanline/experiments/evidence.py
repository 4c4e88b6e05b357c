"""What a finished run leaves in its folder for the report: figures, timings, pictures.

Everything is measured here, on the networks themselves: the masked network, its compact copy and
the dense network that it came from.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from leanline import compaction, pruning, runtime
from leanline.data.dataset import ImagingDataset
from leanline.errors import CheckpointError, ConfigError, ModelError
from leanline.graph.pruning_graph import PruningGraph
from leanline.records.atomic import write_text
from leanline.records.processor import processor_name
from leanline.records.progress import bar
from leanline.records.tensors import save_tensors
from leanline.runtime.tuned import Tune
from leanline.training import Trainer, TrainingConfig

log = logging.getLogger(__name__)

SCHEMA = 1
PICTURES = 3
LARGEST_MATRIX = 1000  # channels

EAGER_DENSE = "PyTorch eager, dense"
KERNEL_DENSE = "leanline kernel, dense"
ONNX_DENSE = "ONNX Runtime, dense"
EAGER_COMPACT = "PyTorch eager, compacted"
ONNX_COMPACT = "ONNX Runtime, compacted"
KERNEL_PRUNED = "leanline kernel, pruned"
KERNEL_TUNED = "leanline kernel, pruned, tuned"


@dataclass(frozen=True)
class Measuring:
    """How much is measured.

    Attributes:
        test_pictures: judge on the first so many test pictures; None takes all.
        val_pictures: and so many validation pictures, as in the stages.
        seconds: time to spend on timing.
        threads: threads of the networks that are timed.
        batch: pictures in a timed call.
        onnx: time ONNX Runtime too.
        tune: time the pruned network also on a tuned plan, as `runtime.compile` takes it.
    """

    test_pictures: int | None = None
    val_pictures: int | None = None
    seconds: float = 5.0
    threads: int = 1
    batch: int = 1
    onnx: bool = False
    tune: Tune | None = None


def judge(
    model: nn.Module, dataset: ImagingDataset, split: str = "test", pictures: int | None = None
) -> dict[str, float]:
    """Metrics of a network on a split, computed on the plane kernels where they can run it."""
    example = dataset.split(split)[0][0][None]
    trainer = Trainer(
        model, dataset, TrainingConfig(batch_size=4), lambda m: runtime.trainable(m, example)
    )
    return trainer.evaluate(split, pictures)


def collect_training(
    out: Path,
    model: nn.Module,
    dataset: ImagingDataset,
    measuring: Measuring,
    about: Mapping[str, Any],
) -> None:
    """Add the evidence of a training run to its folder.

    Args:
        out: the run folder.
        model: the trained network.
        dataset: what it was trained on.
        measuring: how much is measured.
        about: what else to note, such as the command.
    """
    images, truth = sample_pictures(dataset)
    tensors = {"images": images, "truth": truth, "trained": answer_of(model, images, dataset)}
    save_tensors(out / "evidence.safetensors", tensors)
    metrics = judge(model, dataset, pictures=measuring.test_pictures)
    _write(out, {**task_facts(dataset), "trained": metrics, **about})


def collect_pruning(
    out: Path,
    dense: nn.Module,
    pruned: nn.Module,
    dataset: ImagingDataset,
    measuring: Measuring,
    about: Mapping[str, Any],
) -> None:
    """Compact a pruned network, measure it against the dense one, and add all that to its folder.

    Writes ``network.safetensors`` (the compact network), ``evidence.safetensors`` (pictures and
    adjacency matrices) and ``evidence.json`` (figures).

    Args:
        out: the run folder.
        dense: the network before pruning.
        pruned: the same network, masked.
        dataset: its data.
        measuring: how much is measured.
        about: what else to note, such as the command.
    """
    images, truth = sample_pictures(dataset)
    example = images[:1].expand(measuring.batch, -1, -1, -1).contiguous()
    with bar("measuring", total=5) as progress:
        small = compaction.compact(pruned, example)
        compaction.save(small, out / "network.safetensors")
        progress.advance(1)
        tensors = {
            "images": images,
            "truth": truth,
            "dense": answer_of(dense, images, dataset),
            "pruned": answer_of(pruned, images, dataset),
        }
        for name, model in (("dense", dense), ("pruned", pruned)):
            matrix = adjacency(model, example)
            if matrix is not None:
                tensors[f"adjacency.{name}"] = torch.from_numpy(matrix)
        save_tensors(out / "evidence.safetensors", tensors)
        found: dict[str, Any] = {
            **task_facts(dataset),
            "network": _sizes(pruned, small, example),
            "deviation": deviation(pruned, small, images),
        }
        progress.advance(1)
        found["dense"] = judge(dense, dataset, pictures=measuring.test_pictures)
        found["dense_val"] = judge(dense, dataset, "val", measuring.val_pictures)
        progress.advance(1)
        found["pruned"] = judge(pruned, dataset, pictures=measuring.test_pictures)
        progress.advance(1)
        found["timing"] = time_networks(dense, pruned, small, example, measuring)
        _write(out, {**found, **about})
        progress.advance(1)


def time_networks(
    dense: nn.Module, pruned: nn.Module, small: nn.Module, example: Tensor, measuring: Measuring
) -> dict[str, Any]:
    """Time the dense and the pruned network in PyTorch and on leanline's kernels, interleaved.

    Rows that the kernels or ONNX Runtime cannot run are left out and named under "missing".
    """
    before, threads = torch.get_num_threads(), measuring.threads
    torch.set_num_threads(threads)
    candidates: dict[str, Callable[[], nn.Module]] = {
        KERNEL_DENSE: lambda: runtime.compile(dense, example, "cpu", threads),
        ONNX_DENSE: lambda: runtime.OnnxNetwork.of(dense, example, threads),
        EAGER_COMPACT: small.eval,
        ONNX_COMPACT: lambda: runtime.OnnxNetwork.of(small, example, threads),
        KERNEL_PRUNED: lambda: runtime.compile(pruned, example, "cpu", threads),
    }
    if measuring.tune is not None:
        candidates[KERNEL_TUNED] = lambda: runtime.compile(
            pruned, example, "cpu", threads, measuring.tune
        )
    if not measuring.onnx:
        del candidates[ONNX_DENSE], candidates[ONNX_COMPACT]
    try:
        chosen = {EAGER_DENSE: runtime.compile(dense, example, "reference")}
        missing: dict[str, str] = {}
        for name, make in candidates.items():
            try:
                chosen[name] = make()
            except (ModelError, CheckpointError, ConfigError) as problem:
                missing[name] = str(problem)
        table = runtime.benchmark(chosen, example, measuring.seconds).to_dict()
    finally:
        torch.set_num_threads(before)
    return {**table, "shape": list(example.shape), "missing": missing}


def deviation(pruned: nn.Module, small: nn.Module, images: Tensor) -> float:
    """Largest difference of two networks' outputs, relative to the largest output."""
    pruned.eval()
    with torch.no_grad():
        want, have = pruned(images), small(images)
    return float((want - have).abs().max() / want.abs().max())


def adjacency(model: nn.Module, example: Tensor) -> Bool[np.ndarray, "targets sources"] | None:
    """Active filters as a matrix of channels by channels (Figure A2), None for large networks.

    Rows are output channels of prunable convolutions, columns their possible inputs.
    """
    graph: PruningGraph = pruning.trace(model, example)
    edges = graph.channels.edges()
    prunable = edges.prunable
    rows, row = np.unique(edges.dst[prunable], return_inverse=True)
    columns, column = np.unique(edges.src[prunable], return_inverse=True)
    if max(rows.size, columns.size) > LARGEST_MATRIX:
        return None
    matrix = np.zeros((rows.size, columns.size), bool)
    matrix[row, column] = np.isfinite(edges.log_weight[prunable])
    return matrix


def machine() -> str:
    """The processor and system that a run was made on."""
    capability = torch.backends.cpu.get_cpu_capability()
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{processor_name()} ({capability}), {system}"


def _sizes(model: nn.Module, small: nn.Module, example: Tensor) -> dict[str, list[int]]:
    found = pruning.summary(model, example, small=small)
    named = {
        "filters": found.filters,
        "channels": found.channels,
        "parameters": found.parameters,
        "macs": found.macs,
    }
    return {name: [amount.before, amount.after] for name, amount in named.items()}


def task_facts(dataset: ImagingDataset) -> dict[str, Any]:
    """What the report needs to know of the data: names of classes, or the range of grey values."""
    found: dict[str, Any] = {}
    if dataset.task == "segmentation":
        classes = getattr(dataset, "classes", None)
        if isinstance(classes, list | tuple):
            found["classes"] = [str(name) for name in classes]
    if getattr(dataset, "ignore", None) is not None:
        found["ignore"] = dataset.ignore  # type: ignore[attr-defined]  # looked for above
    normalisation = getattr(dataset, "normalisation", None)
    if normalisation is not None:  # `leanline apply` does the same with other pictures
        found["normalisation"] = {"mean": normalisation.mean, "std": normalisation.std}
    if dataset.task == "denoising" and normalisation is not None:
        found["data_range"] = float(getattr(dataset, "data_range", 1.0)) / normalisation.std
    return found


def sample_pictures(dataset: ImagingDataset, count: int = PICTURES) -> tuple[Tensor, Tensor]:
    """The first test pictures and their targets."""
    split = dataset.split("test")
    pairs = [split[i] for i in range(min(count, len(split)))]
    return torch.stack([image for image, _ in pairs]), torch.stack([truth for _, truth in pairs])


def answer_of(model: nn.Module, images: Tensor, dataset: ImagingDataset) -> Tensor:
    """Labels for segmentation, pictures for denoising."""
    model.eval()
    with torch.no_grad():
        output: Tensor = model(images)
    return output.argmax(1) if dataset.task == "segmentation" else output


def _write(out: Path, found: Mapping[str, Any]) -> None:
    document = {"schema": SCHEMA, "machine": machine(), **found}
    write_text(out / "evidence.json", json.dumps(document, indent=2, sort_keys=True))
    log.info("evidence written to %s", out)
