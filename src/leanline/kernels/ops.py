"""The plane kernels as PyTorch operators: ``leanline::planes_infer`` and ``planes_forward``.

``planes_infer`` keeps nothing. ``planes_forward`` also returns the activations, from which its
registered backward computes every gradient. The images of a batch go to ``threads`` threads;
results do not depend on their number, for the images' parameter gradients are summed in order.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels.buffers import borrow
from leanline.kernels.halo import MODES
from leanline.kernels.image import backward_image, forward_image
from leanline.kernels.program import Geometry, PlaneProgram

Arrays = dict[str, Any]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="leanline")


def _each(count: int, threads: int, work: Callable[[int], None]) -> None:
    """Call ``work(i)`` for every i, on up to ``threads`` threads."""
    if threads == 1 or count == 1:
        for index in range(count):
            work(index)
    else:
        list(_pool(threads).map(work, range(count)))


_decoded: dict[tuple[int, int], PlaneProgram] = {}


def _decode(packed: Tensor) -> PlaneProgram:
    """Decode once a tensor: a decoded program looks into the tensor's memory and keeps it alive."""
    key = (packed.data_ptr(), packed._version)
    if key not in _decoded:
        if len(_decoded) > 64:
            _decoded.clear()
        _decoded[key] = PlaneProgram.decode(packed)
    return _decoded[key]


class _Run:
    """One call: a program, a picture size, and the arrays that the kernels take."""

    def __init__(self, packed: Tensor, images: Tensor) -> None:
        self.program = program = _decode(packed)
        height, width = int(images.shape[2]), int(images.shape[3])
        reach = min(height, width) - 1
        if program.padding == "reflect" and program.border > reach:
            raise ModelError(
                f"pictures of {height} x {width} are too small: reflect padding of "
                f"{program.border} pixels needs at least {program.border + 1} rows and columns"
            )
        self.layout = layout = Geometry.of(program, height, width)
        self.numbers = np.array(
            [
                layout.origin,
                layout.stride,
                layout.pitch,
                height,
                width,
                program.border,
                MODES[program.padding],
            ],
            np.int64,
        )
        self.source = program.source * layout.pitch
        self.head_source = program.head * layout.pitch
        self.output_planes = program.output_planes * layout.pitch

    def buffer(self, role: str, extra: int = 0) -> np.ndarray:
        planes = self.program.planes + extra
        size = self.layout.size(planes)
        return borrow((role, planes, self.layout, self.program.padding), size)

    def forward(
        self, pictures: np.ndarray, planes: np.ndarray, given: Arrays, out: np.ndarray
    ) -> None:
        forward_image(
            pictures,
            planes,
            self.program.segments,
            self.source,
            given["taps"],
            given["bias"],
            self.head_source,
            given["head"],
            given["head_bias"],
            self.output_planes,
            out,
            self.numbers,
        )


def _arrays(taps: Tensor, bias: Tensor, head: Tensor, head_bias: Tensor) -> Arrays:
    named = {"taps": taps, "bias": bias, "head": head, "head_bias": head_bias}
    return {name: t.detach().contiguous().numpy().reshape(-1) for name, t in named.items()}


@torch.library.custom_op("leanline::planes_infer", mutates_args=(), device_types="cpu")
def planes_infer(
    images: Tensor,
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: Tensor,
    threads: int,
) -> Tensor:
    """Run a packed `PlaneProgram` on images (batch x channels x height x width, float32)."""
    run = _Run(program, images)
    given = _arrays(taps, bias, head, head_bias)
    pictures = images.detach().contiguous().numpy()
    out = torch.empty(len(pictures), run.program.outputs, *images.shape[2:])
    results = out.numpy()
    _each(
        len(pictures),
        threads,
        lambda i: run.forward(pictures[i], run.buffer("planes"), given, results[i]),
    )
    return out


@planes_infer.register_fake
def _(
    images: Tensor,
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: Tensor,
    threads: int,
) -> Tensor:
    return images.new_empty(images.shape[0], head.shape[0], *images.shape[2:])


@torch.library.custom_op("leanline::planes_forward", mutates_args=(), device_types="cpu")
def planes_forward(
    images: Tensor,
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: Tensor,
    threads: int,
) -> list[Tensor]:
    """As `planes_infer`; returns the output and each image's activations, for the backward."""
    run = _Run(program, images)
    given = _arrays(taps, bias, head, head_bias)
    pictures = images.detach().contiguous().numpy()
    out = torch.empty(len(pictures), run.program.outputs, *images.shape[2:])
    results = out.numpy()
    held = [run.buffer("planes") for _ in pictures]
    _each(len(pictures), threads, lambda i: run.forward(pictures[i], held[i], given, results[i]))
    return [out, *map(torch.from_numpy, held)]


@torch.library.custom_op("leanline::planes_backward", mutates_args=(), device_types="cpu")
def planes_backward(
    grad_out: Tensor,
    activations: list[Tensor],
    images: Tensor,
    taps: Tensor,
    head: Tensor,
    program: Tensor,
    threads: int,
    to_images: bool,
) -> list[Tensor]:
    """Gradients of images (zeros unless ``to_images``), taps, bias, head and head bias."""
    run = _Run(program, images)
    outline, mirror = run.program, run.program.gradients
    count = len(images)
    grads = grad_out.detach().contiguous().numpy()
    planes = [a.numpy() for a in activations]
    matrix = head.detach().numpy()
    mirror_taps = taps.detach().numpy().reshape(-1, 9)[mirror.edge, ::-1].reshape(-1)
    columns = np.ascontiguousarray(matrix.T).reshape(-1)
    steps = (
        len(mirror.segments) if to_images else int((mirror.segments[:, 0] >= outline.inputs).sum())
    )
    sums = {
        "taps": np.zeros((count, outline.source.size * 9)),
        "bias": np.zeros((count, len(outline.segments))),
        "head": np.zeros((count, *matrix.shape)),
        "head_bias": np.zeros((count, len(matrix))),
    }
    grad_images = torch.zeros(count, outline.inputs if to_images else 0, *images.shape[2:])
    grad_pictures = grad_images.numpy()

    def work(i: int) -> None:
        backward_image(
            grads[i],
            planes[i],
            run.buffer("gradients", outline.outputs),
            outline.segments,
            run.source,
            mirror.segments,
            mirror.source * run.layout.pitch,
            mirror_taps,
            steps,
            run.head_source,
            columns,
            run.output_planes,
            outline.planes,
            sums["taps"][i],
            sums["bias"][i],
            sums["head"][i],
            sums["head_bias"][i],
            grad_pictures[i],
            run.numbers,
        )

    _each(count, threads, work)
    total = {name: torch.from_numpy(s.sum(0).astype(np.float32)) for name, s in sums.items()}
    return [
        grad_images,
        total["taps"].reshape(taps.shape),
        total["bias"],
        total["head"],
        total["head_bias"],
    ]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    images, taps, _, head, _, program, threads = inputs
    ctx.save_for_backward(images, taps, head, program, *output[1:])
    ctx.threads = threads


def _gradients(ctx: Any, grad: list[Tensor]) -> tuple[Tensor | None, ...]:
    images, taps, head, program, *activations = ctx.saved_tensors
    to_images = ctx.needs_input_grad[0]
    found = planes_backward(
        grad[0], activations, images, taps, head, program, ctx.threads, to_images
    )
    return (found[0] if to_images else None, *found[1:], None, None)


planes_forward.register_autograd(_gradients, setup_context=_keep)
