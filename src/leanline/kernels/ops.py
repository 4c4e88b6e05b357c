"""The plane kernels as PyTorch operators: ``leanline::planes_infer`` and ``planes_forward``.

On the CPU they are compiled by Numba, on a GPU by Triton.

``planes_infer`` keeps nothing. ``planes_forward`` also returns the activations, from which its
registered backward computes every gradient. The images of a batch go to ``threads`` threads;
fewer images than threads are computed by rows. Results do not depend on the number of threads, for
the images' parameter gradients are summed in order. (A GPU takes no heed of ``threads``.)
"""

from typing import Any

import torch
from torch import Tensor

from leanline.kernels.call import Call
from leanline.kernels.layout import grid_sizes
from leanline.kernels.registry import find


def _fake_outputs(images: list[Tensor], key: str) -> list[Tensor]:
    program = find(key)
    sizes = grid_sizes(program, tuple((t.shape[2], t.shape[3]) for t in images))
    shapes = [(len(planes), *sizes[program.grid[planes[0]]]) for planes in program.outputs]
    if program.head.size:
        shapes.append((program.head_outputs, *sizes[program.grid[program.head[0]]]))
    return [images[0].new_empty(images[0].shape[0], *shape) for shape in shapes]


@torch.library.custom_op("leanline::planes_infer", mutates_args=(), device_types="cpu")
def planes_infer(
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
) -> list[Tensor]:
    """Run a registered `PlaneProgram` on images.

    Args:
        images: one an input: float32, batch x channels x height x width.
        taps: float32, those of all edges one after the other.
        bias: float32, one a step.
        head: float32, outputs x sources; 0 x 0 where the program has no head.
        head_bias: float32, one an output of the head.
        program: its key (`registry.register`).
        threads: number of threads.

    Returns:
        The outputs, float32, batch x channels x height x width; the head's is the last.

    Raises:
        ModelError: something has another shape or dtype than the program needs.
    """
    call = Call(find(program), images, "none")
    call.give(taps, bias, head, head_bias)
    results = call.results(images[0])
    call.forward(results, threads, None)
    return results


@planes_infer.register_kernel("cuda")
def _(
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
) -> list[Tensor]:
    from leanline.kernels import gpu  # needs Triton, which only a GPU needs

    return gpu.infer(find(program), images, (taps, bias, head, head_bias))


@planes_infer.register_fake
def _(
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
) -> list[Tensor]:
    return _fake_outputs(images, program)


@torch.library.custom_op("leanline::planes_forward", mutates_args=(), device_types="cpu")
def planes_forward(
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
) -> list[Tensor]:
    """As `planes_infer`; differentiable.

    Returns:
        The outputs, and last the images' activations (flat) for the backward pass.
    """
    call = Call(find(program), images, "all")
    call.give(taps, bias, head, head_bias)
    results = call.results(images[0])
    held = call.activations()
    activations = torch.from_numpy(held)
    call.forward(results, threads, activations.numpy())
    return [*results, activations]


@planes_forward.register_kernel("cuda")
def _(
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
) -> list[Tensor]:
    from leanline.kernels import gpu

    outputs, activations = gpu.forward(find(program), images, (taps, bias, head, head_bias))
    return [*outputs, activations]


@planes_forward.register_fake
def _(
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
) -> list[Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()  # known to the kernels only
    return [*_fake_outputs(images, program), images[0].new_empty(size)]


@torch.library.custom_op("leanline::planes_backward", mutates_args=(), device_types="cpu")
def planes_backward(
    grads: list[Tensor],
    activations: Tensor,
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
    to_images: bool,
) -> list[Tensor]:
    """Gradients of taps, bias, head, head bias and, with ``to_images``, of the images."""
    call = Call(find(program), images, "all")
    call.give(taps, bias, head, head_bias)
    found = call.backward(grads, activations.detach().numpy(), threads, to_images)
    return [
        found[1].reshape(taps.shape),
        found[2],
        found[3].reshape(head.shape),
        found[4],
        *found[0],
    ]


@planes_backward.register_kernel("cuda")
def _(
    grads: list[Tensor],
    activations: Tensor,
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
    to_images: bool,
) -> list[Tensor]:
    from leanline.kernels import gpu

    numbers = (taps, bias, head, head_bias)
    found, of_images = gpu.backward(find(program), grads, activations, images, numbers, to_images)
    shaped = [grad.reshape(like.shape) for grad, like in zip(found, numbers, strict=True)]
    return [*shaped, *of_images]


@planes_backward.register_fake
def _(
    grads: list[Tensor],
    activations: Tensor,
    images: list[Tensor],
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: str,
    threads: int,
    to_images: bool,
) -> list[Tensor]:
    numbers = [torch.empty_like(tensor) for tensor in (taps, bias, head, head_bias)]
    return [*numbers, *(torch.empty_like(tensor) for tensor in images if to_images)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    images, taps, bias, head, head_bias, program, threads = inputs
    ctx.save_for_backward(*images, taps, bias, head, head_bias, output[-1])
    ctx.mark_non_differentiable(output[-1])
    ctx.set_materialize_grads(False)  # none for the activations: they are large
    ctx.program, ctx.threads = program, threads
    ctx.shapes = [tensor.shape for tensor in output[:-1]]


def _gradients(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    *images, taps, bias, head, head_bias, activations = ctx.saved_tensors
    given = [
        taps.new_zeros(shape) if grad is None else grad
        for grad, shape in zip(grads, ctx.shapes, strict=False)
    ]
    to_images = any(ctx.needs_input_grad[0])
    found = planes_backward(
        given,
        activations,
        images,
        taps,
        bias,
        head,
        head_bias,
        ctx.program,
        ctx.threads,
        to_images,
    )
    of_images = found[4:] if to_images else [None] * len(images)
    return (of_images, *found[:4], None, None)


planes_forward.register_autograd(_gradients, setup_context=_keep)
