"""`compile`: the fastest way to run a network here, chosen by what is measured here."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from leanline.errors import ConfigError, ModelError
from leanline.graph import trace_program
from leanline.graph.agreement import deviation, draw_like
from leanline.masks import baked_copy
from leanline.runtime.benchmark import benchmark
from leanline.runtime.network import PlaneNetwork, SharedPlaneNetwork, check_threads, gather
from leanline.runtime.plan import plan_planes
from leanline.runtime.present import present_by_mask, present_by_value
from leanline.types import ExampleInputs

log = logging.getLogger(__name__)

BACKENDS = ("auto", "reference", "cpu")
TOLERANCE = 1e-4
"""Deviation, relative to the largest output, above which the kernels compute something else."""


def compile(
    model: nn.Module,
    example_inputs: ExampleInputs,
    backend: str = "auto",
    threads: int | None = None,
) -> nn.Module:
    """Make a fast module for inference from a masked, compacted or dense network.

    Filters that are zero cost nothing on the plane kernels, whatever made them zero.

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
        ModelError: the network fails on the example inputs, or "cpu" cannot run it (the message
            says why).
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend={backend!r}: must be one of {', '.join(BACKENDS)}")
    threads = check_threads(threads)
    plain = baked_copy(model).eval()
    inputs = draw_like(_checked(example_inputs))
    expected = _outcome(plain, inputs)
    if backend == "reference":
        return plain
    try:
        fast = _planes(plain, example_inputs, threads)
        _require_agreement(expected, fast(*inputs), "")
    except ModelError as problem:
        if backend == "cpu":
            raise
        log.warning("running in PyTorch: %s", problem)
        return plain
    if backend == "cpu":
        return fast
    table = benchmark({"reference": plain, "cpu": fast}, example_inputs, seconds=0.5)
    best = min(table.rows, key=lambda row: row.median)
    log.info("chosen: %s\n%s", best.name, table)
    return fast if best.name == "cpu" else plain


def trainable(
    model: nn.Module, example_inputs: ExampleInputs, threads: int | None = None
) -> nn.Module:
    """What to run instead of a masked model while it is trained.

    The result shares the model's parameters, which get the same gradients as from the model
    itself (pruned filters: zero), in time that falls with the number of kept filters. It is made
    for the present masks: make it anew after each change.

    A model that computes something else in training mode than in eval mode (dropout, batch norm)
    runs in PyTorch.

    Args:
        model: the network, with its masks; not changed.
        example_inputs: inputs as the network gets them.
        threads: threads of the plane kernels, by default as many as PyTorch uses.

    Returns:
        The network on the plane kernels, or `model` itself where they cannot run it.

    Raises:
        ConfigError: a thread count below 1.
        ModelError: the network fails on the example inputs.
    """
    threads = check_threads(threads)
    inputs = draw_like(_checked(example_inputs))
    copy = baked_copy(model)
    _outcome(copy.eval(), inputs)  # a failure here is the caller's
    try:
        program = trace_program(model, example_inputs)
        plan = plan_planes(program, present_by_mask(model))
        with torch.no_grad():
            numbers = gather(plan, program.tensors.__getitem__)
        fast = PlaneNetwork(plan, numbers, threads)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            expected = _outcome(copy.train(), inputs)
        _require_agreement(expected, fast(*inputs), " in training mode")
        return SharedPlaneNetwork(plan, model, program.tensors, threads)
    except ModelError as problem:
        log.info("training runs in PyTorch: %s", problem)
        return model


def _planes(plain: nn.Module, example_inputs: ExampleInputs, threads: int) -> nn.Module:
    program = trace_program(plain, example_inputs)
    plan = plan_planes(program, present_by_value(program.tensors))
    with torch.no_grad():
        return PlaneNetwork(plan, gather(plan, program.tensors.__getitem__), threads).eval()


def _checked(example_inputs: Any) -> ExampleInputs:
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if not inputs or not all(isinstance(item, Tensor) for item in inputs):
        kinds = ", ".join(type(item).__name__ for item in inputs) or "()"
        raise ModelError(f"example_inputs must be a tensor or a tuple of tensors, not {kinds}")
    return inputs


def _outcome(model: nn.Module, inputs: tuple[Tensor, ...]) -> object:
    try:
        with torch.no_grad():
            return model(*inputs)
    except Exception as problem:
        shapes = ", ".join(f"{tuple(item.shape)} {item.dtype}" for item in inputs)
        said = str(problem).strip().partition("\n")[0]
        raise ModelError(
            f"the model fails on example_inputs of {shapes}: {type(problem).__name__}: {said}"
        ) from problem


def _require_agreement(want: object, have: Tensor, when: str) -> None:
    if not isinstance(want, Tensor):
        raise ModelError(
            f"the plane kernels return a tensor, the model returns a {type(want).__name__}{when}"
        )
    error = deviation(want, have)
    if not error <= TOLERANCE:
        raise ModelError(
            f"the plane kernels compute something else than the model does{when}: the outputs "
            f"differ by {error:.1e} of the largest value"
        )
