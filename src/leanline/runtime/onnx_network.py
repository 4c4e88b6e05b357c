"""A network that runs in ONNX Runtime: a baseline for `benchmark`, and a file put to use."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leanline.compaction import export_onnx, onnx_session
from leanline.errors import ModelError
from leanline.runtime.region import check_threads
from leanline.types import ExampleInputs, PathLike


class OnnxNetwork(nn.Module):
    """An ONNX file as a module for inference, on the CPU.

    Args:
        path: the file. One that refers to external data is refused.
        threads: threads within an operation, by default as many as PyTorch uses.

    Attributes:
        inputs: names of the inputs, in order.
        outputs: names of the outputs, in order.
        threads: as given.

    Raises:
        CheckpointError: the file is missing, damaged, no ONNX model, refers to external data, or
            ONNX Runtime cannot run it.
        ConfigError: onnx or onnxruntime is not installed; a thread count below 1.
    """

    def __init__(self, path: PathLike, threads: int | None = None) -> None:
        super().__init__()
        self.threads = check_threads(threads)
        self._session = onnx_session(path, self.threads)
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())
        self.eval()

    @staticmethod
    def of(
        model: nn.Module, example_inputs: ExampleInputs, threads: int | None = None
    ) -> OnnxNetwork:
        """Export a network and run the result; no file stays.

        Raises:
            ModelError: it cannot be exported, see `export_onnx`.
            ConfigError: onnx, onnxscript or onnxruntime is not installed; threads below 1.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export_onnx(model, example_inputs, path)
            return OnnxNetwork(path, threads)

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the network, without gradients.

        Args:
            tensors: the inputs, in the order of their names.

        Returns:
            The output, or a tuple of several, in the order of their names.

        Raises:
            ModelError: the inputs do not fit.
        """
        shapes = ", ".join(f"{tuple(tensor.shape)} {tensor.dtype}" for tensor in tensors)
        if len(tensors) != len(self.inputs):
            raise ModelError(f"the file takes {', '.join(self.inputs)}; given: {shapes or 'none'}")
        if any(tensor.device.type != "cpu" for tensor in tensors):
            raise ModelError(f"ONNX Runtime runs on the CPU here; given: {tensors[0].device}")
        arrays = (tensor.detach().numpy() for tensor in tensors)
        try:
            found = self._session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        except Exception as problem:  # the errors of ONNX Runtime share no class
            said = str(problem).strip().partition("\n")[0]
            raise ModelError(f"ONNX Runtime fails on inputs of {shapes}: {said}") from problem
        results = tuple(torch.from_numpy(array) for array in found)
        return results[0] if len(results) == 1 else results

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxNetwork:
        """The same object: nothing in it changes, and a session cannot be copied."""
        return self
