"""Passes over a plane program on a GPU (or, in Triton's interpreter, on the CPU)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels.arguments import check_images, flat_numbers
from leanline.kernels.gpu.backward_plan import BackwardPlan, backward_plan
from leanline.kernels.gpu.enqueue import (
    Edges,
    Surface,
    find_winners,
    run_mix,
    run_steps,
    sum_mix_gradients,
    sum_tap_gradients,
)
from leanline.kernels.gpu.plan import ForwardPlan, Keeps, forward_plan
from leanline.kernels.halo import ZEROS
from leanline.kernels.program import PlaneProgram

Images = Float32[Tensor, "batch _ _ _"]
Numbers = tuple[Tensor, Tensor, Tensor, Tensor]
"""Taps, biases, the head's matrix and its biases, as `planes_infer` takes them."""


def _flat(program: PlaneProgram, numbers: Numbers, device: torch.device) -> Numbers:
    """Numbers as the kernels read them, the matrix with a row an output."""
    count = program.head.size
    needed = {
        "taps": int(program.taps_at[-1]),
        "bias": len(program.steps),
        "head": program.head_outputs * count,
        "head_bias": program.head_outputs,
    }
    for name, tensor in zip(needed, numbers, strict=True):
        if tensor.device != device:
            raise ModelError(
                f"{name} is on {tensor.device}, the images are on {device}: move the network and "
                "its pictures to the same device"
            )
    taps, bias, head, head_bias = (
        flat_numbers(name, tensor, needed[name])
        for name, tensor in zip(needed, numbers, strict=True)
    )
    return taps, bias, head.reshape(program.head_outputs, count), head_bias


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Triton starts kernels on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _pass(
    program: PlaneProgram, images: Sequence[Images], numbers: Numbers, keeps: Keeps
) -> tuple[list[Images], Float32[Tensor, "batch size"]]:
    sizes, device = check_images(program, images), images[0].device
    if any(image.device != device for image in images):
        raise ModelError(
            f"got images on {', '.join(str(i.device) for i in images)}: give one place"
        )
    taps, bias, head, head_bias = _flat(program, numbers, device)
    plan: ForwardPlan = forward_plan(program, sizes, device, keeps)
    with _on(device), torch.no_grad():
        buffer = images[0].new_empty((len(images[0]), plan.canvas.size))
        surface = Surface(buffer, plan.canvas)
        for image, (grid, first, last) in zip(images, plan.input_places, strict=True):
            surface.pictures(grid)[:, first:last].copy_(image)
        edges = Edges(plan.source, taps, bias)
        run_steps(plan.launches, edges, surface, surface, surface, plan.padding)
        outputs = [surface.pictures(grid).index_select(1, at) for grid, at in plan.outputs]
        if program.head.size:
            field = plan.canvas.fields[plan.head_grid]
            size = (field.height, field.width)
            mixed = buffer.new_empty((len(buffer), program.head_outputs, *size))
            out = (mixed.flatten(1), plan.head_target, field.width)
            run_mix((buffer, plan.head_source, field.stride), out, size, head, head_bias)
            outputs.append(mixed)
    return outputs, buffer


def infer(program: PlaneProgram, images: Sequence[Images], numbers: Numbers) -> list[Images]:
    """Outputs of a program; planes that are needed no more give their place to others.

    Raises:
        ModelError: something has another shape, dtype or device than the program needs.
    """
    return _pass(program, images, numbers, "none")[0]


def forward(
    program: PlaneProgram, images: Sequence[Images], numbers: Numbers
) -> tuple[list[Images], Float32[Tensor, " size"]]:
    """Outputs of a program, and all activations, flat, for `backward`.

    Raises:
        ModelError: something has another shape, dtype or device than the program needs.
    """
    outputs, activations = _pass(program, images, numbers, "all")
    return outputs, activations.flatten()


def backward(
    program: PlaneProgram,
    grads: Sequence[Images],
    activations: Float32[Tensor, " size"],
    images: Sequence[Images],
    numbers: Numbers,
    to_images: bool,
) -> tuple[Numbers, list[Images]]:
    """Gradients of the numbers and, with ``to_images``, of the images.

    The same inputs give the same bits: no sum is made in the order in which programs happen to end.

    Raises:
        ModelError: something has another shape, dtype or device than the program needs.
    """
    sizes, device = check_images(program, images), images[0].device
    taps, _, head, _ = _flat(program, numbers, device)
    ahead = forward_plan(program, sizes, device, "all")
    plan = backward_plan(program, sizes, device, "images" if to_images else "parameters")
    batch = len(images[0])
    if activations.numel() != batch * ahead.canvas.size:
        raise ModelError(
            f"got {activations.numel()} activations: the pictures need "
            f"{batch * ahead.canvas.size}, as planes_forward returned them"
        )
    with _on(device), torch.no_grad():
        kept = Surface(activations.reshape(batch, ahead.canvas.size), ahead.canvas)
        surface = Surface(activations.new_zeros(batch, plan.canvas.size), plan.canvas)
        of_head, of_head_bias = _seed(ahead, plan, kept, surface, grads, head)
        winner = None
        if plan.winners:
            winner = find_winners(plan.winners, kept, plan.winner_source, plan.winner_size)
        edges = Edges(plan.source, taps[plan.taps], taps.new_zeros(1), winner)
        run_steps(plan.launches, edges, surface, surface, kept, ZEROS, ahead.padding)
        of_taps = torch.zeros_like(taps)
        for launch, places in plan.tap_launches["gradients"]:
            of_taps[places] = sum_tap_gradients(launch, surface, kept, ahead.padding).float()
        for launch, places in plan.tap_launches["activations"]:
            of_taps[places] = sum_tap_gradients(launch, kept, surface, ZEROS).float()
        sums = [
            surface.pictures(grid).sum((0, 2, 3), dtype=torch.float64)
            for grid in range(len(plan.canvas.fields))
        ]
        of_bias = torch.cat(sums)[plan.bias_at].float()
        of_images = [
            surface.pictures(grid)[:, first:last].clone(memory_format=torch.contiguous_format)
            for grid, first, last in ahead.input_places[: len(images) * to_images]
        ]
    return (of_taps, of_bias, of_head, of_head_bias), of_images


def _seed(
    ahead: ForwardPlan,
    plan: BackwardPlan,
    kept: Surface,
    surface: Surface,
    grads: Sequence[Images],
    head: Float32[Tensor, "outputs sources"],
) -> tuple[Tensor, Tensor]:
    """Put the outputs' gradients into their planes; gradients of the head and its biases."""
    for grad, (grid, _), rounds in zip(grads, ahead.outputs, plan.seeds, strict=False):
        for channels, places in rounds:
            surface.pictures(grid).index_add_(1, places, grad[:, channels])
    if ahead.head_grid < 0:
        return torch.zeros_like(head), head.new_zeros(0)
    grad = grads[-1].contiguous()
    field = plan.canvas.fields[ahead.head_grid]
    size = (field.height, field.width)
    sources = (grad.flatten(1), ahead.head_target, field.width)
    for columns, targets in plan.head_rounds:
        matrix = head.t()[columns].contiguous()
        run_mix(sources, (surface.buffer, targets, field.stride), size, matrix, None)
    stride = ahead.canvas.fields[ahead.head_grid].stride
    found = sum_mix_gradients((kept.buffer, ahead.head_source, stride), grad)
    return found.float(), grad.sum((0, 2, 3), dtype=torch.float64).float()
