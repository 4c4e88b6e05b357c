"""What was measured at the end of a run: ``evidence.json`` and ``evidence.safetensors``.

Everything in them is optional; what is there must be of the right kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from leanline.errors import RunError
from leanline.records.tensors import load_tensors
from leanline.runtime.benchmark import Timing, TimingTable

FIGURES, TENSORS = "evidence.json", "evidence.safetensors"
SCHEMA = 1
"""Layout of ``evidence.json``; a file with a higher one is refused."""

JUDGED = ("dense", "dense_val", "pruned", "trained")
SHOWN = ("dense", "pruned", "trained")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Change:
    """An amount before pruning and after it."""

    before: int
    after: int

    @property
    def fraction(self) -> float:
        """What is left, as a fraction; 1 of nothing."""
        return self.after / self.before if self.before else 1.0


@dataclass(frozen=True)
class Evidence:
    """The measured figures of a run.

    Attributes:
        metrics: metrics on the test pictures of "dense", "pruned" or "trained", and under
            "dense_val" those of the unpruned network on the validation pictures.
        network: "filters", "channels", "parameters" and "macs", before and after.
        deviation: largest difference between the compact network's output and the masked one's,
            relative to the largest output.
        timing: interleaved times.
        shape: of the timed input.
        untimed: rows that could not be timed, with the reason.
        machine: what it was measured on.
        command: the command line.
        seconds: what the run took.
        classes: names of the classes.
        ignore: label of pixels that do not count.
        data_range: range of the grey values for PSNR, in the units of the saved pictures.
    """

    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    network: Mapping[str, Change] = field(default_factory=dict)
    deviation: float | None = None
    timing: TimingTable | None = None
    shape: tuple[int, ...] = ()
    untimed: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    command: str = ""
    seconds: float | None = None
    classes: tuple[str, ...] = ()
    ignore: int | None = None
    data_range: float | None = None


@dataclass(frozen=True, eq=False)
class Pictures:
    """A few test pictures and what the networks make of them.

    Attributes:
        images: what goes in.
        truth: class ids, or clean pictures for denoising.
        outputs: of the same kind as the truth, by "dense", "pruned" or "trained".
    """

    images: Float[np.ndarray, "pictures channels height width"]
    truth: Int[np.ndarray, "pictures height width"] | Float[np.ndarray, "pictures _ height width"]
    outputs: Mapping[str, np.ndarray]

    @property
    def labelled(self) -> bool:
        """Whether the truth is class ids."""
        return self.truth.ndim == 3


@dataclass(frozen=True, eq=False)
class Tensors:
    """The arrays of a run's evidence.

    Attributes:
        pictures: test pictures, None where there are none.
        adjacency: active filters, target channels by source channels, of "dense" and "pruned".
    """

    pictures: Pictures | None = None
    adjacency: Mapping[str, Bool[np.ndarray, "targets sources"]] = field(default_factory=dict)


def read_figures(folder: Path) -> Evidence | None:
    """Read the figures of a run folder; None where nothing has been measured yet.

    Raises:
        RunError: The file is damaged, or was written by a newer leanline.
    """
    file = folder / FIGURES
    if not file.is_file():
        return None
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise RunError(f"{file} is damaged: {error}") from error
    try:
        schema = int(document.get("schema", SCHEMA))
        if schema > SCHEMA:
            raise RunError(
                f"{file} has layout {schema}; this leanline knows layouts up to {SCHEMA}: "
                "update leanline"
            )
        return _parse(document)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise RunError(f"{file} is damaged: {type(error).__name__}: {error}") from error


def read_tensors(folder: Path) -> Tensors:
    """Read the pictures and matrices of a run folder; empty where there are none.

    Raises:
        CheckpointError: The file is truncated or damaged.
        RunError: What is in it does not fit together.
    """
    file = folder / TENSORS
    if not file.is_file():
        return Tensors()
    arrays = {name: tensor.numpy() for name, tensor in load_tensors(file)[0].items()}
    adjacency = {
        name: arrays[f"adjacency.{name}"].astype(bool)
        for name in SHOWN
        if f"adjacency.{name}" in arrays
    }
    if any(matrix.ndim != 2 for matrix in adjacency.values()):
        raise RunError(f"{file} is damaged: an adjacency matrix is no matrix")
    if "images" not in arrays or "truth" not in arrays:
        return Tensors(None, adjacency)
    images, truth = arrays["images"], arrays["truth"]
    outputs = {name: arrays[name] for name in SHOWN if name in arrays}
    fits = (
        images.ndim == 4
        and truth.ndim in (3, 4)
        and truth.shape[0] == images.shape[0] > 0
        and truth.shape[-2:] == images.shape[-2:]
        and all(output.shape == truth.shape for output in outputs.values())
    )
    if not fits:
        shapes = {name: arrays[name].shape for name in ("images", "truth", *outputs)}
        raise RunError(f"{file} is damaged: its pictures do not fit together: {shapes}")
    if truth.ndim == 3:
        truth = truth.astype(np.int64)
        outputs = {name: output.astype(np.int64) for name, output in outputs.items()}
    return Tensors(Pictures(images.astype(np.float32), truth, outputs), adjacency)


def _parse(document: Mapping[str, Any]) -> Evidence:
    timing = document.get("timing") or {}
    return Evidence(
        metrics={
            name: {str(key): float(value) for key, value in document[name].items()}
            for name in JUDGED
            if document.get(name)
        },
        network={
            str(name): Change(int(amounts[0]), int(amounts[1]))
            for name, amounts in (document.get("network") or {}).items()
        },
        deviation=_optional(document, "deviation", float),
        timing=_table(timing) if timing.get("rows") else None,
        shape=tuple(int(size) for size in timing.get("shape") or ()),
        untimed={str(name): str(why) for name, why in (timing.get("missing") or {}).items()},
        machine=str(document.get("machine") or ""),
        command=str(document.get("command") or ""),
        seconds=_optional(document, "seconds", float),
        classes=tuple(str(name) for name in document.get("classes") or ()),
        ignore=_optional(document, "ignore", int),
        data_range=_optional(document, "data_range", float),
    )


def _table(timing: Mapping[str, Any]) -> TimingTable:
    numbers = ("median", "low", "high", "speedup", "speedup_low", "speedup_high")
    rows = tuple(
        Timing(str(row["name"]), *(float(row[name]) for name in numbers)) for row in timing["rows"]
    )
    return TimingTable(
        rows,
        int(timing.get("rounds") or 0),
        int(timing.get("threads") or 0),
        str(timing.get("device") or ""),
    )


def _optional(document: Mapping[str, Any], name: str, kind: Callable[[Any], Value]) -> Value | None:
    value = document.get(name)
    return None if value is None else kind(value)
