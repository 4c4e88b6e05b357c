"""From a network to an ONNX model: `torch.export`, PyTorch's translation, and what we change."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from leanline.compaction.onnx_axes import axes_of, short
from leanline.compaction.onnx_file import onnx_part, walk
from leanline.compaction.onnx_flat import FlatNetwork
from leanline.errors import ModelError
from leanline.version import __version__

if TYPE_CHECKING:
    import onnx

_STANDARD = frozenset({"", "ai.onnx"})
_LOCK = threading.RLock()  # the exporter changes things that all threads share


class TranslationError(ModelError):
    """A network cannot be expressed in ONNX with these axes free."""


@dataclass(frozen=True, eq=False)
class Translation:
    """An ONNX model.

    Attributes:
        model: the model.
        fixed: axes that were to be free and are not: PyTorch computed with their size.
        kept_filters: filters of convolutions that are not zero.
    """

    model: onnx.ModelProto
    fixed: tuple[str, ...]
    kept_filters: int


def translate(network: FlatNetwork, sample: Sequence[Tensor], free: Collection[str]) -> Translation:
    """Translate a network.

    Args:
        network: the network.
        sample: inputs to follow it with.
        free: names of the axes that may have another size.

    Raises:
        TranslationError: PyTorch cannot follow or translate it, or only with other operators than
            those of the standard.
    """
    with quiet():
        try:
            exported = _follow(network, sample, free)
            program = torch.onnx.export(
                exported,
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=network.inputs,
                output_names=network.outputs,
            )
            assert program is not None
            model: onnx.ModelProto = program.model_proto
        except Exception as problem:  # they have no common class
            while problem.__cause__ is not None and isinstance(problem.__cause__, Exception):
                problem = problem.__cause__  # what the exporter wraps
            raise TranslationError(
                f"PyTorch cannot express the network in ONNX: "
                f"{type(problem).__name__}: {short(problem)}"
            ) from problem
    names, fixed = _symbols(exported, sample, free)
    _rename_sizes(model, names)
    _strip(model)
    _check_standard(model)
    kept = count_filters(model)
    for key, value in (("leanline_version", __version__), ("kept_filters", str(kept))):
        model.metadata_props.add(key=key, value=value)
    return Translation(model, fixed, kept)


def count_filters(model: onnx.ModelProto) -> int:
    """Filters (an input channel to an output channel) of convolutions that are not zero."""
    onnx = onnx_part("onnx")
    weights = {node.input[1] for node in model.graph.node if node.op_type in _CONVOLUTIONS}
    arrays = (onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in weights)
    return sum(int(np.any(a.reshape(*a.shape[:2], -1), axis=2).sum()) for a in arrays)


_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what PyTorch's exporter prints, logs and warns of from the user: errors are raised."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(max(before, logging.ERROR))
        try:
            waste = io.StringIO()
            with contextlib.redirect_stdout(waste), contextlib.redirect_stderr(waste):
                yield
        finally:
            logging.disable(before)


def _follow(
    network: FlatNetwork, sample: Sequence[Tensor], free: Collection[str]
) -> ExportedProgram:
    shapes: list[dict[int, object] | None] = [None] * len(sample)
    for axis in axes_of(sample).values():
        for index, dimension in axis.places if axis.name in free else ():
            shapes[index] = {**(shapes[index] or {}), dimension: Dim.AUTO}
    given, wanted = tuple(sample), (tuple(shapes),)  # `forward` takes them as one *tensors
    with torch.no_grad():
        try:
            return torch.export.export(network, given, dynamic_shapes=wanted, strict=False)
        except Exception as problem:
            try:
                return torch.export.export(network, given, dynamic_shapes=wanted, strict=True)
            except Exception:
                raise problem from None  # the strict form's is less clear


def _symbols(
    exported: ExportedProgram, sample: Sequence[Tensor], free: Collection[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """PyTorch's names of free sizes to ours; axes that were to be free and are not."""
    given = set(exported.graph_signature.user_inputs)
    shapes = [
        node.meta["val"].shape
        for node in exported.graph.nodes
        if node.op == "placeholder" and node.name in given
    ]
    names: dict[str, str] = {}
    fixed = []
    for axis in axes_of(sample).values():
        found = [shapes[index][dimension] for index, dimension in axis.places]
        if axis.name in free and all(isinstance(size, int) for size in found):
            fixed.append(axis.name)
        for size in found:
            symbol = str(size)
            if symbol.isidentifier() and symbol not in names:
                taken = sum(name.split("_")[0] == axis.name for name in names.values())
                names[symbol] = f"{axis.name}_{taken + 1}" if taken else axis.name
    return names, tuple(fixed)


def _rename_sizes(model: onnx.ModelProto, names: dict[str, str]) -> None:
    if not names:
        return
    words = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = words.sub(lambda found: names[found[0]], size.dim_param)


def _strip(model: onnx.ModelProto) -> None:
    """Take out the notes of where in the user's code a node is from, with paths of the machine."""
    for message in walk(model):
        for field in ("metadata_props", "doc_string"):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)


def _check_standard(model: onnx.ModelProto) -> None:
    onnx = onnx_part("onnx")
    foreign = {
        f"{message.domain}.{message.op_type}"
        for message in walk(model)
        if isinstance(message, onnx.NodeProto) and message.domain not in _STANDARD
    }
    foreign |= {f"function {f.domain}.{f.name}" for f in model.functions}
    if foreign:
        raise TranslationError(
            "the network needs operators beyond the ONNX standard: " + ", ".join(sorted(foreign))
        )
    unused = [o for o in model.opset_import if o.domain not in _STANDARD]
    for entry in unused:
        model.opset_import.remove(entry)
