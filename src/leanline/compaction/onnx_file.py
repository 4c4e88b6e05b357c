"""ONNX files, read with care: whole in one file, and of known operators only if we wrote them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leanline.errors import CheckpointError, ConfigError
from leanline.types import PathLike

if TYPE_CHECKING:
    import onnx
    import onnxruntime

LARGEST = 2**31 - 1
"""Bytes that one ONNX file can hold; protocol buffers read no more."""
SUFFIX = ".onnx"


def onnx_part(name: str) -> Any:
    """Import one of the optional packages that ONNX needs.

    Args:
        name: "onnx", "onnxscript" or "onnxruntime".

    Raises:
        ConfigError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise ConfigError(
            f"ONNX needs the package {name}, which cannot be imported ({problem}): "
            "pip install leanline[onnx]"
        ) from problem


def load_onnx(path: PathLike) -> onnx.ModelProto:
    """Read an ONNX model that is complete in its file.

    A model may name other files for its weights, anywhere on the machine. Such a model is refused
    before anything is looked for; write it as one file, by `onnx.save` without external data.

    Args:
        path: the file.

    Returns:
        The model. Nothing of it was run, and its graph was not checked.

    Raises:
        CheckpointError: the file is missing, larger than 2 GB, truncated or no ONNX model, or it
            refers to external data.
        ConfigError: onnx is not installed.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"there is no file {file}")
    size = file.stat().st_size
    if size > LARGEST:
        raise CheckpointError(f"{file} has {size:,} bytes; an ONNX file has at most {LARGEST:,}")
    model: onnx.ModelProto = onnx_part("onnx").ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
    except Exception as problem:  # google.protobuf's own error, which it does not export
        raise CheckpointError(f"{file} is truncated or no ONNX model: {problem}") from problem
    if not model.HasField("graph") or not model.opset_import:
        raise CheckpointError(f"{file} is no ONNX model: it has no graph")
    refuse_external(model, str(file))
    return model


def refuse_external(model: onnx.ModelProto, where: str) -> None:
    """Refuse a model with a tensor that lies in another file, wherever in the model it stands.

    Args:
        model: the model.
        where: what to call it in the error.

    Raises:
        CheckpointError: it has such a tensor.
    """
    onnx = onnx_part("onnx")
    for message in walk(model):
        if isinstance(message, onnx.TensorProto) and (
            message.data_location == onnx.TensorProto.EXTERNAL or message.external_data
        ):
            place = next((e.value for e in message.external_data if e.key == "location"), "")
            raise CheckpointError(
                f"{where} refers to external data: tensor {message.name!r} lies in {place!r}. "
                "leanline reads only ONNX models that are complete in one file"
            )


def walk(message: Any) -> Iterator[Any]:
    """A protocol buffer message and all messages inside it: graphs, nodes, attributes, tensors."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if hasattr(value, "__len__") else (value,):
                yield from walk(item)


def onnx_session(
    source: PathLike | onnx.ModelProto, threads: int = 1
) -> onnxruntime.InferenceSession:
    """Make a session of ONNX Runtime on the CPU.

    Args:
        source: an ONNX file, or a model that was read from one.
        threads: threads within an operation; operations run one after the other.

    Raises:
        CheckpointError: see `load_onnx`; or ONNX Runtime cannot run the model.
        ConfigError: onnx or onnxruntime is not installed, or `threads` is below 1.
    """
    if threads < 1:
        raise ConfigError(f"threads={threads}: give at least 1")
    onnx, runtime = onnx_part("onnx"), onnx_part("onnxruntime")
    where = "the model" if isinstance(source, onnx.ModelProto) else str(source)
    model = source if isinstance(source, onnx.ModelProto) else load_onnx(source)
    refuse_external(model, where)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # idle threads would slow down what is timed in turn with it
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 4  # what it cannot do comes as an exception
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as problem:  # its errors share no class
        said = str(problem).strip().partition("\n")[0]
        raise CheckpointError(f"ONNX Runtime cannot run {where}: {said}") from problem
