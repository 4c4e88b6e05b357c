"""`export_onnx`: a network as one ONNX file, which was seen to compute the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leanline.compaction.onnx_axes import Freedom, Sizes, axes_of, find_freedom, resized, short
from leanline.compaction.onnx_file import LARGEST, load_onnx, onnx_part, onnx_session
from leanline.compaction.onnx_flat import FlatNetwork
from leanline.compaction.onnx_translate import TranslationError, quiet, translate
from leanline.errors import ModelError
from leanline.graph.agreement import deviation
from leanline.masks import baked_copy
from leanline.records.atomic import atomic_write
from leanline.types import ExampleInputs, PathLike

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest deviation in ONNX Runtime that is accepted, relative to the largest output."""
TIES = 1e-3
"""Largest share of integers (classes) that may differ, because rounding decides a tie."""
_ROOM = 2**24  # bytes for the graph beside the weights


@dataclass(frozen=True)
class OnnxExport:
    """What `export_onnx` wrote, and what was seen of it.

    Attributes:
        path: the file.
        bytes: its size.
        inputs: names of the inputs.
        outputs: names of the outputs.
        free: axes that may have any size that the network takes: batch, height, width, ...
        fixed: axes that may not, with the reason.
        checked: the inputs' shapes in each comparison with ONNX Runtime.
        deviation: the largest one found, relative to the largest output.
        kept_filters: filters of convolutions in the file that are not zero.
    """

    path: Path
    bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free: tuple[str, ...]
    fixed: Mapping[str, str]
    checked: tuple[tuple[tuple[int, ...], ...], ...]
    deviation: float
    kept_filters: int

    def __str__(self) -> str:
        """A few lines for people."""
        sizes = " and ".join(", ".join(map(_shown, shapes)) for shapes in self.checked)
        return "\n".join(
            [
                f"{self.path}: {self.bytes / 1000:,.0f} kB, {self.kept_filters:,} filters",
                f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}, "
                + (
                    f"any {', '.join(self.free)} that it takes" if self.free else "of one size only"
                ),
                *(f"{name} is fixed: {reason}" for name, reason in self.fixed.items()),
                f"ONNX Runtime deviates by {self.deviation:.1e} of the largest output at {sizes}",
            ]
        )


def export_onnx(model: nn.Module, example_inputs: ExampleInputs, path: PathLike) -> OnnxExport:
    """Write a network as an ONNX file of standard operators, complete in itself.

    Batch, height and width are free where the network allows it; an axis that is not is logged as a
    warning, with the reason. The file is run in ONNX Runtime, at the example's size and at another
    one, before it gets its name: if it exists, it computes what the network does.

    Args:
        model: what `compact` returned, or any module, with masks or without; not changed.
        example_inputs: a tensor, or a tuple of what the model is called with: tensors, or
            dictionaries and lists of tensors.
        path: the file, by custom ``*.onnx``; written atomically. Its inputs and outputs are called
            "input" and "output"; several are called as the arguments of the model's `forward` and
            the keys of its dictionaries.

    Returns:
        What was written and what was seen.

    Raises:
        ConfigError: onnx, onnxscript or onnxruntime is not installed.
        ModelError: the model fails on the example, is larger than 2 GB, cannot be expressed in
            ONNX, or ONNX Runtime deviates by more than 1e-4 of the largest output.
        RunError: the file cannot be written.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        onnx_part(name)
    given = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    size = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    if size > LARGEST - _ROOM:
        raise ModelError(
            f"the model has {size:,} bytes of weights; an ONNX file holds {LARGEST:,} in all"
        )
    with atomic_write(path) as temporary, torch.random.fork_rng(devices=[]):
        with quiet():  # where it fails, a network that was traced prints
            copy = baked_copy(model).eval().requires_grad_(False).cpu()
            network = FlatNetwork(copy, given).eval()
            freedom = find_freedom(network, network.example)
        found = _with_most_free(network, freedom, Path(path), temporary)
    for name, reason in found.fixed.items():
        log.warning("%s: %s is fixed: %s", path, name, reason)
    log.info("%s", found)
    return found


class _OtherSizeError(ModelError):
    """A file computes something else at another size than that of the network that was followed."""


def _with_most_free(
    network: FlatNetwork, freedom: Freedom, path: Path, temporary: Path
) -> OnnxExport:
    """Export with as many free axes as can be.

    Raises:
        ModelError: not even an export of one size computes what the network does.
    """
    free, fixed = dict(freedom.free), dict(freedom.fixed)
    while True:
        problem: ModelError | None = None
        # at twice the size nothing inside is one pixel high, which PyTorch would take for a rule
        for doubled in (False, True) if free.keys() - {"batch"} else (False,):
            sample = _sample(network.example, free, doubled)
            try:
                return _export(network, free, fixed, sample, path, temporary)
            except (TranslationError, _OtherSizeError) as again:
                log.debug("no file with free %s", ", ".join(free), exc_info=True)
                problem = problem or again
        assert problem is not None
        if not free:
            raise problem
        kept = {"batch"} if free.keys() > {"batch"} else set()
        fixed |= {name: str(problem) for name in free if name not in kept}
        free = {name: change for name, change in free.items() if name in kept}


def _sample(example: Sequence[Tensor], free: Sizes, doubled: bool) -> tuple[Tensor, ...]:
    """Inputs to follow a network with. PyTorch takes an axis of size 1 for one that is always 1."""
    changes = {}
    for name, axis in axes_of(example).items():
        index, dimension = axis.places[0]
        if name in free and example[index].shape[dimension] == 1:
            changes[name] = free[name]
        elif name in free and doubled and name != "batch":
            changes[name] = lambda size: 2 * size
    return resized(example, changes)


def _export(
    network: FlatNetwork,
    free: Sizes,
    fixed: Mapping[str, str],
    sample: tuple[Tensor, ...],
    path: Path,
    temporary: Path,
) -> OnnxExport:
    """Translate, write, check and compare."""
    made = translate(network, sample, free)
    free = {name: change for name, change in free.items() if name not in made.fixed}
    if made.fixed and not all(map(_same_shape, sample, network.example)):
        raise _OtherSizeError(f"PyTorch computes with {', '.join(made.fixed)} as a number")
    temporary.write_bytes(made.model.SerializeToString())
    model = load_onnx(temporary)
    try:
        onnx_part("onnx.checker").check_model(model, full_check=True)
        session = onnx_session(model)
    except Exception as problem:  # the checker's errors share no class
        raise TranslationError(f"the exported file is not valid: {short(problem)}") from problem
    compared = [network.example, *([resized(network.example, free)] if free else [])]
    worst = 0.0
    for inputs in compared:
        try:
            worst = max(worst, _deviation(network, session, inputs))
        except ModelError as problem:
            if all(map(_same_shape, inputs, sample)):
                raise
            raise _OtherSizeError(str(problem)) from problem
    return OnnxExport(
        path=path,
        bytes=temporary.stat().st_size,
        inputs=network.inputs,
        outputs=network.outputs,
        free=tuple(free),
        fixed={
            **fixed,
            **{name: "PyTorch computes with its size as a number" for name in made.fixed},
        },
        checked=tuple(tuple(tuple(t.shape) for t in inputs) for inputs in compared),
        deviation=worst,
        kept_filters=made.kept_filters,
    )


def _deviation(network: FlatNetwork, session: Any, inputs: Sequence[Tensor]) -> float:
    """Largest deviation of ONNX Runtime from PyTorch.

    Raises:
        ModelError: it is too large, with the name of the output.
    """
    with torch.no_grad():
        expected = network(*(tensor.clone() for tensor in inputs))
    at = " and ".join(_shown(tensor.shape) for tensor in inputs)
    try:
        got = session.run(None, {n: t.numpy() for n, t in zip(network.inputs, inputs, strict=True)})
    except Exception as problem:  # the errors of ONNX Runtime share no class
        raise ModelError(f"ONNX Runtime fails at {at}: {short(problem)}") from problem
    worst = 0.0
    for name, want, array in zip(network.outputs, expected, got, strict=True):
        have = torch.from_numpy(array)
        if have.dtype != want.dtype or have.shape != want.shape:
            raise ModelError(
                f"ONNX Runtime gives output {name!r} as {_shown(have.shape)} {have.dtype} at {at}; "
                f"the network gives {_shown(want.shape)} {want.dtype}"
            )
        error = deviation(want, have)
        limit = TOLERANCE if want.is_floating_point() else TIES
        if not error <= limit:
            raise ModelError(
                f"ONNX Runtime deviates by {error:.1e} of the largest value in output {name!r} "
                f"at {at} (allowed: {limit:.0e})"
            )
        worst = max(worst, error if want.is_floating_point() else 0.0)
    return worst


def _same_shape(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape


def _shown(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
