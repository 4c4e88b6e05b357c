"""Training on the kernels where they win, by measured time."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import torch
from torch import Tensor, nn

from leanline.compaction.structure import as_arguments
from leanline.graph.agreement import draw_like
from leanline.kernels.program import PlaneProgram
from leanline.runtime.compile import trainable
from leanline.runtime.layers import step_seconds, swap_layers
from leanline.runtime.measured import Measured
from leanline.runtime.region import check_threads
from leanline.runtime.shared import SharedPlaneNetwork
from leanline.types import ExampleInputs

log = logging.getLogger(__name__)


def fastest_training(
    model: nn.Module, example_inputs: ExampleInputs, threads: int | None = None
) -> nn.Module:
    """`trainable`, unless a step of the network itself is measured to be faster.

    A network of wide and still dense layers trains faster in PyTorch, the same one when few of its
    filters are left on the kernels. So make it anew after each stage of pruning. Times are kept on
    disk, by processor, network and kept filters, so that a run that is resumed chooses the same.

    Args:
        model: the network, with its masks; not changed.
        example_inputs: inputs as the network gets them.
        threads: threads of the plane kernels, by default as many as PyTorch uses.

    Returns:
        The network on the plane kernels, wholly or layer by layer, or `model` itself.

    Raises:
        ConfigError: a thread count below 1.
        ModelError: the network fails on the example inputs.
    """
    fast = trainable(model, example_inputs, threads)
    arguments = as_arguments(example_inputs)
    if not isinstance(fast, SharedPlaneNetwork) or len(arguments) != 1:
        return fast
    measured = Measured()
    best = _faster(model, fast, arguments[0], measured)
    measured.save()
    if best is fast:
        return fast
    log.info("the network trains faster in PyTorch than on the plane kernels")
    return swap_layers(model, draw_like(arguments), check_threads(threads))


def _faster(
    model: nn.Module, fast: SharedPlaneNetwork, picture: Any, measured: Measured
) -> nn.Module:
    assert isinstance(picture, Tensor)
    what = (
        torch.get_num_threads(),
        fast.planes.threads,
        _known(fast.planes.program),
        picture.shape,
    )
    with torch.random.fork_rng(devices=[]):
        inputs = torch.randn(picture.shape)
        dense = measured.get(("network step", *what), lambda: step_seconds(model, inputs))
        sparse = measured.get(("planes network step", *what), lambda: step_seconds(fast, inputs))
    return fast if sparse <= dense else model


def _known(program: PlaneProgram) -> str:
    """What tells a program from others."""
    digest = hashlib.sha256()
    for array in (program.inputs, program.grid, program.windows, program.steps, program.source):
        digest.update(str(array.shape).encode() + array.tobytes())
    digest.update(program.head.tobytes() + f"{program.head_outputs} {program.padding}".encode())
    return digest.hexdigest()[:16]
