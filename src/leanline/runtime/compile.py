"""`compile`: the fastest way to run a network here, chosen by what is measured here."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from leanline.compaction import compact
from leanline.compaction.any_size import ANY
from leanline.compaction.structure import run, tensors_of
from leanline.errors import ConfigError, ModelError
from leanline.graph.agreement import deviation, draw_like
from leanline.masks import baked_copy
from leanline.records.progress import bar
from leanline.runtime.benchmark import benchmark
from leanline.runtime.choose import Choice, choose, usual
from leanline.runtime.compiled import CompiledNetwork
from leanline.runtime.execute import execute
from leanline.runtime.fold import fold_batch_norms
from leanline.runtime.layers import swap_layers
from leanline.runtime.measured import Measured
from leanline.runtime.parse import note_shapes
from leanline.runtime.partition import partition
from leanline.runtime.region import check_threads
from leanline.runtime.shared import SharedPlaneNetwork
from leanline.runtime.specialise import specialise
from leanline.runtime.tuned import Tune, Tuned, check_budget
from leanline.types import ExampleInputs

log = logging.getLogger(__name__)

BACKENDS = ("auto", "reference", "cpu", "gpu")
_KINDS = {"cpu": "cpu", "gpu": "cuda"}
TOLERANCE = 1e-4
"""Deviation, relative to the largest output, above which the kernels compute something else."""
NEAR = 1.5
"""Networks that took longer than this times the fastest one in a first round are out."""


def compile(
    model: nn.Module,
    example_inputs: ExampleInputs,
    backend: str = "auto",
    threads: int | None = None,
    tune: Tune | None = None,
) -> nn.Module:
    """Make a fast module for inference from a masked, compacted or dense network.

    The network is compacted, batch norms become part of convolutions, and parts that the plane
    kernels can run do so; there, filters that are zero cost nothing, whatever made them zero.

    Args:
        model: the network; not changed. The result is a snapshot of its parameters.
        example_inputs: inputs as the network gets them, float32. Other batch sizes, heights and
            widths work as well; "auto" measures at the example's size.
        backend: "cpu" or "gpu" (the plane kernels for all that they can run; the model and the
            inputs have to be there), "reference" (PyTorch, as the model is) or "auto" (each
            convolution by kernels or by PyTorch, whichever is faster on this machine, and the
            fastest of several such networks on the example inputs). Times of single convolutions
            are kept on disk for the next time.
        threads: threads of the plane kernels, by default as many as PyTorch uses.
        tune: look for a faster plan at the size of the example inputs, on the CPU: "quick" (25
            configurations), "thorough" (200), or how many are measured. What was measured is kept
            on disk, by processor, versions, network and sizes, so that a search goes on where it
            was stopped. The plan that would run without tuning stays unless one is faster by more
            than the noise; the result's `tuned` says what was found.

    Returns:
        A module in eval mode that computes what the model computes in eval mode.

    Raises:
        ConfigError: an unknown backend, a thread count below 1, another value of `tune`, or one
            where there is nothing to tune ("reference", "gpu").
        ModelError: the network fails on the example inputs, or is on another device than "cpu" or
            "gpu" asks for, or the kernels cannot run any part of it (the message says why).
    """
    checked = _checked(example_inputs)
    if backend not in BACKENDS:
        raise ConfigError(f"backend={backend!r}: must be one of {', '.join(BACKENDS)}")
    threads = check_threads(threads)
    budget = check_budget(tune)
    if budget and backend in ("reference", "gpu"):
        raise ConfigError(
            f"tune={tune!r} with backend={backend!r}: only the kernels on the CPU are tuned, with "
            '"auto" or "cpu"'
        )
    with torch.inference_mode(False):  # or what is made could never be trained or changed
        plain = baked_copy(model).eval()
    if backend == "reference":
        _outcome(plain, draw_like(checked))  # a failure is told now
        return plain
    with bar("compiling"):
        return _compiled(plain, backend, threads, checked, budget)


def _compiled(
    plain: nn.Module,
    backend: str,
    threads: int,
    example_inputs: tuple[Any, ...],
    budget: int = 0,
) -> nn.Module:
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        inputs = draw_like(example_inputs)
        expected = _outcome(plain, inputs)
        make = partial(_compiled, plain, backend, threads)

        def agree(network: nn.Module) -> None:
            _require_agreement(expected, run(network, inputs), "")

        try:
            small = _small(plain, inputs)
            any_size = small.meta.get("sizes") == ANY
            folded, fits = specialise(fold_batch_norms(small), inputs)
            fits = fits if any_size else _never
            note_shapes(folded, inputs)
            if backend in _KINDS:
                _require_device(inputs, backend)
                planes, tuned = _on_planes(folded, threads), None
                agree(planes)
                if budget:
                    search = (folded, usual(folded), threads, inputs)
                    planes, tuned = _tuned(search, planes, True, budget, agree)
                return CompiledNetwork(planes, inputs, fits, make, tuned=tuned)
            choices = _choices(folded)
            candidates = _candidates(folded, choices, threads)
        except ModelError as problem:
            if backend in _KINDS:
                raise
            log.warning("running in PyTorch: %s", problem)
            return plain
        networks: dict[str, nn.Module] = {"reference": plain}
        for name, network in candidates.items():
            try:
                agree(network)
                networks[name] = network
            except ModelError as problem:
                log.warning("not used: %s", problem)
        best, times = _fastest(networks, inputs)
        fastest, tuned = networks[best], None
        if budget and choices:
            whole = times.get("planes", 0.0) <= times.get("mixed", math.inf)
            search = (folded, choices, threads, inputs)
            fastest, tuned = _tuned(search, fastest, whole, budget, agree)
    if fastest is plain:
        return plain
    return CompiledNetwork(fastest, inputs, fits, make, times, tuned)


def _tuned(
    network: tuple[fx.GraphModule, Mapping[fx.Node, Choice], int, tuple[Any, ...]],
    untuned: nn.Module,
    whole: bool,
    budget: int,
    agree: Callable[[nn.Module], None],
) -> tuple[nn.Module, Tuned]:
    """A faster plan, if there is one; the search begins with all on the kernels or with some."""
    # importing the search takes a second, which most calls do without
    from leanline.runtime.tunables import EVERYWHERE, Tunable
    from leanline.runtime.tune import tune_plan

    return tune_plan(Tunable(*network), untuned, EVERYWHERE if whole else 1.0, budget, agree)


def _never(inputs: tuple[Any, ...]) -> bool:
    return False


def _fastest(
    networks: dict[str, nn.Module], inputs: tuple[Any, ...]
) -> tuple[str, dict[str, float]]:
    """Name of the fastest network, and times of all; those that are far from it are called once."""
    first = {row.name: row.median for row in benchmark(networks, inputs, 0.0, rounds=1).rows}
    near = {n: network for n, network in networks.items() if first[n] <= NEAR * min(first.values())}
    log.info("first round, in ms: %s", ", ".join(f"{n} {ms:.3f}" for n, ms in first.items()))
    table = benchmark(near, inputs, seconds=0.5) if len(near) > 1 else None
    best = min(table.rows, key=lambda row: row.median).name if table else next(iter(near))
    log.info("chosen: %s\n%s", best, table or "")
    return best, first | {row.name: row.median for row in table.rows} if table else first


def trainable(
    model: nn.Module, example_inputs: ExampleInputs, threads: int | None = None
) -> nn.Module:
    """What to run instead of a masked model while it is trained.

    The result shares the model's parameters, which get the same gradients as from the model
    itself (pruned filters: zero), in time that falls with the number of kept filters. It is made
    for the present masks: make it anew after each change.

    A model that computes something else in training mode than in eval mode (dropout, batch norm)
    runs its own code; those of its convolutions that the kernels train faster run on these.

    Args:
        model: the network, with its masks; not changed.
        example_inputs: inputs as the network gets them.
        threads: threads of the plane kernels, by default as many as PyTorch uses.

    Returns:
        The network on the plane kernels, wholly or layer by layer, or `model` itself where they
        cannot run it or where nothing would be gained.

    Raises:
        ConfigError: a thread count below 1.
        ModelError: the network fails on the example inputs.
    """
    threads = check_threads(threads)
    inputs = draw_like(_checked(example_inputs))
    copy = baked_copy(model)
    _outcome(copy.eval(), inputs)  # a failure here is the caller's
    try:
        fast = SharedPlaneNetwork(model, example_inputs, threads)
        expected = _outcome(copy.train(), inputs)
        _require_agreement(expected, run(fast, inputs), " in training mode")
        return fast
    except ModelError as problem:
        log.info("the network is trained layer by layer: %s", problem)
    return swap_layers(model, inputs, threads)


def _small(plain: nn.Module, example_inputs: ExampleInputs) -> fx.GraphModule:
    """The compacted network; a compact one is taken as it is."""
    made = isinstance(plain, fx.GraphModule) and "recipe" in plain.meta
    small = plain if made else compact(plain, example_inputs)
    assert isinstance(small, fx.GraphModule)
    return small


def _require_device(inputs: tuple[Any, ...], backend: str) -> None:
    found = {tensor.device.type for tensor in tensors_of(inputs)}
    if found != {_KINDS[backend]}:
        raise ModelError(
            f"backend={backend!r} needs the model and the example inputs on a "
            f"{_KINDS[backend]!r} device; the inputs are on {', '.join(sorted(found))}"
        )


def _choices(folded: fx.GraphModule) -> Mapping[fx.Node, Choice]:
    """What single convolutions take here; empty on a GPU, where all of them run on the kernels."""
    if any(parameter.is_cuda for parameter in folded.parameters()):
        return {}
    measured = Measured()
    choices = choose(folded, measured)
    measured.save()
    return choices


def _on_planes(folded: fx.GraphModule, threads: int) -> nn.Module:
    choices = usual(folded)
    plan = partition(folded, choices.keys())
    if not plan.regions:
        raise ModelError("the plane kernels cannot run any part of this network")
    shapes = {node.name: choice.shape for node, choice in choices.items()}
    return execute(folded, plan, shapes, threads)


def _candidates(
    folded: fx.GraphModule, choices: Mapping[fx.Node, Choice], threads: int
) -> dict[str, nn.Module]:
    """Networks that may be the fastest: without kernels, and with them where they win."""
    candidates: dict[str, nn.Module] = {"compact": folded}
    if any(parameter.is_cuda for parameter in folded.parameters()):
        return candidates | {"planes": _on_planes(folded, threads)}
    shapes = {node.name: choice.shape for node, choice in choices.items()}
    chosen = {
        "planes": set(choices),
        "mixed": {node for node, choice in choices.items() if choice.sparse},
    }
    for name, sparse in chosen.items():
        if name == "mixed" and sparse == chosen["planes"]:
            continue
        plan = partition(folded, sparse)
        log.info("%s:\n%s", name, plan)
        if plan.regions:
            candidates[name] = execute(folded, plan, shapes, threads)
    return candidates


def _checked(example_inputs: Any) -> tuple[Any, ...]:
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if isinstance(example_inputs, list) or not tensors_of(inputs):
        kinds = ", ".join(type(item).__name__ for item in inputs) or "()"
        raise ModelError(
            "example_inputs must be a tensor or a tuple of arguments, tensors or containers of "
            f"tensors, not {kinds}"
        )
    return inputs


def _outcome(model: nn.Module, inputs: tuple[Any, ...]) -> object:
    try:
        return run(model, inputs)
    except Exception as problem:
        shapes = ", ".join(f"{tuple(item.shape)} {item.dtype}" for item in tensors_of(inputs))
        said = str(problem).strip().partition("\n")[0]
        raise ModelError(
            f"the model fails on example_inputs of {shapes}: {type(problem).__name__}: {said}"
        ) from problem


def _require_agreement(want: object, have: object, when: str) -> None:
    wants, haves = tensors_of(want), tensors_of(have)
    if len(wants) != len(haves):
        raise ModelError(
            f"the kernels return {len(haves)} tensors, the model returns {len(wants)}{when}"
        )
    error = max((deviation(w, h) for w, h in zip(wants, haves, strict=True)), default=0.0)
    if not error <= TOLERANCE:
        raise ModelError(
            f"the plane kernels compute something else than the model does{when}: the outputs "
            f"differ by {error:.1e} of the largest value"
        )
