"""`compile`: the fastest way to run a network here, chosen by what is measured here."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from leanline.errors import ConfigError, ModelError
from leanline.graph import trace_program
from leanline.graph.program import Program
from leanline.masks import baked_copy
from leanline.runtime.benchmark import benchmark
from leanline.runtime.network import PlaneNetwork, SharedPlaneNetwork, check_threads, gather
from leanline.runtime.plan import plan_planes

log = logging.getLogger(__name__)

BACKENDS = ("auto", "reference", "cpu")


def compile(  # noqa: A001  (the name is part of the public interface)
    model: nn.Module,
    example_inputs: Tensor | tuple[Tensor, ...],
    backend: str = "auto",
    threads: int | None = None,
) -> nn.Module:
    """Make a fast module for inference from a masked, compacted or dense network.

    Args:
        model: the network; not changed. The result is a snapshot of its parameters.
        example_inputs: inputs as the network gets them, float32. Other batch sizes, heights and
            widths work as well; "auto" measures at the example's size.
        backend: "cpu" (the plane kernels), "reference" (PyTorch, as the model is) or "auto"
            (whichever is faster on the example inputs; PyTorch where the kernels cannot run it).
        threads: threads of the plane kernels, by default as many as PyTorch uses.

    Returns:
        A module in eval mode that computes what the model computes in eval mode.

    Raises:
        ConfigError: an unknown backend, a thread count below 1.
        ModelError: the network cannot be traced, or "cpu" cannot run it (the message says why).
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend={backend!r}: must be one of {', '.join(BACKENDS)}")
    threads = check_threads(threads)
    if backend == "reference":
        return _reference(model)
    program = trace_program(model, example_inputs)
    try:
        fast = _planes(program, threads)
    except ModelError as problem:
        if backend == "cpu":
            raise
        log.warning("running in PyTorch: %s", problem)
        return _reference(model)
    if backend == "cpu":
        return fast
    plain = _reference(model)
    table = benchmark({"reference": plain, "cpu": fast}, example_inputs, seconds=0.5)
    best = min(table.rows, key=lambda row: row.median)
    log.info("chosen: %s\n%s", best.name, table)
    return fast if best.name == "cpu" else plain


def trainable(
    model: nn.Module, example_inputs: Tensor | tuple[Tensor, ...], threads: int | None = None
) -> nn.Module:
    """What to run instead of a masked model while it is trained.

    The result shares the model's parameters, which get the same gradients as from the model
    itself (pruned filters: zero), in time that falls with the number of kept filters. It is made
    for the present masks: make it anew after each change.

    Args:
        model: the network, with its masks.
        example_inputs: inputs as the network gets them.
        threads: threads of the plane kernels, by default as many as PyTorch uses.

    Returns:
        The network on the plane kernels, or `model` itself where they cannot run it.
    """
    threads = check_threads(threads)
    try:
        program = trace_program(model, example_inputs)
        for operation in program.operations:
            if "dropout" in str(operation.node and operation.node.target):
                raise ModelError(f"{operation.name!r} is random in training")
        plan = plan_planes(program)
    except ModelError as problem:
        log.info("training runs in PyTorch: %s", problem)
        return model
    return SharedPlaneNetwork(plan, model, threads)


def _reference(model: nn.Module) -> nn.Module:
    return baked_copy(model).eval()


def _planes(program: Program, threads: int) -> nn.Module:
    plan = plan_planes(program)
    with torch.no_grad():
        return PlaneNetwork(plan, gather(plan, program.tensors.__getitem__), threads).eval()
