"""The plane kernels as PyTorch operators: ``leanline::planes_infer`` and ``planes_forward``.

``planes_infer`` keeps nothing. ``planes_forward`` also returns the activations, from which its
registered backward computes every gradient. The images of a batch go to ``threads`` threads;
results do not depend on their number, for the images' parameter gradients are summed in order.
"""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels.buffers import Pool
from leanline.kernels.halo import MODES
from leanline.kernels.image import backward_image, forward_image
from leanline.kernels.layout import Geometry
from leanline.kernels.program import PlaneProgram
from leanline.kernels.workers import at_fork, each

_buffers = Pool()
at_fork(_buffers.after_fork)

_decoded: dict[tuple[int, int, int], PlaneProgram] = {}


def _decode(packed: Tensor) -> PlaneProgram:
    """Decode once a tensor: a decoded program looks into the tensor's memory and keeps it alive."""
    version = 0 if packed.is_inference() else packed._version
    key = (packed.data_ptr(), packed.numel(), version)
    program = _decoded.get(key)
    if program is None:
        if len(_decoded) > 64:
            _decoded.clear()
        program = _decoded[key] = PlaneProgram.decode(packed.contiguous())
    return program


def _array(name: str, tensor: Tensor, size: int) -> np.ndarray:
    """The numbers of a parameter, flat; what the kernels would read past is refused."""
    if tensor.dtype != torch.float32 or tensor.numel() != size:
        raise ModelError(
            f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}: "
            f"the program needs {size} values of torch.float32"
        )
    return tensor.detach().contiguous().numpy().reshape(-1)


class _Places:
    """Where a program's planes lie for pictures of one size: offsets, as the kernels take them.

    Raises:
        ModelError: the pictures are smaller than the reflected border.
    """

    def __init__(self, program: PlaneProgram, height: int, width: int) -> None:
        if program.padding == "reflect" and program.border >= min(height, width):
            raise ModelError(
                f"pictures of {height} x {width} are too small: reflect padding of "
                f"{program.border} pixels needs at least {program.border + 1} rows and columns"
            )
        self.layout = layout = Geometry.of(program, height, width)
        mode = MODES[program.padding]
        self.numbers = np.array(
            [layout.origin, layout.stride, layout.pitch, height, width, program.border, mode],
            np.int64,
        )
        self.source = program.source * layout.pitch
        self.head_source = program.head * layout.pitch
        self.output_planes = program.output_planes * layout.pitch
        self.head_targets, self.head_rows = np.unique(self.head_source, return_inverse=True)

    def merge(self, columns: np.ndarray) -> np.ndarray:
        """Rows of ``columns``, one an entry of the head, added up for each target."""
        sums = np.zeros((self.head_targets.size, columns.shape[1]), np.float32)
        np.add.at(sums, self.head_rows, columns)
        return sums


@functools.lru_cache(maxsize=64)
def _places(program: PlaneProgram, height: int, width: int) -> _Places:
    return _Places(program, height, width)


class _Run:
    """One call: a program, a picture size, and the arrays that the kernels take."""

    def __init__(self, packed: Tensor, images: Tensor) -> None:
        self.program = program = _decode(packed)
        if images.ndim != 4 or images.shape[1] != program.inputs or images.dtype != torch.float32:
            raise ModelError(
                f"got images of {images.dtype} and shape {tuple(images.shape)}: the program "
                f"takes torch.float32 of shape (batch, {program.inputs}, height, width)"
            )
        batch, _, height, width = images.shape
        self.places = _places(program, height, width)
        self.pictures = images.detach().contiguous().numpy()
        self.out_shape = (batch, program.outputs, height, width)

    def give(self, taps: Tensor, bias: Tensor, head: Tensor, head_bias: Tensor) -> None:
        """Take the numbers of the program."""
        program = self.program
        self.taps = _array("taps", taps, 9 * program.source.size)
        self.bias = _array("bias", bias, len(program.segments))
        self.head = _array("head", head, program.outputs * program.head.size)
        self.head_bias = _array("head_bias", head_bias, program.outputs)

    def buffer(self, role: str, planes: int, images: int = 1) -> np.ndarray:
        """Borrow room for as many planes of each of some images."""
        key = (role, images, planes, self.places.layout, self.program.padding)
        return _buffers.borrow(key, images * self.places.layout.size(planes))

    def forward(self, image: int, planes: np.ndarray, out: np.ndarray) -> None:
        """Compute one image."""
        forward_image(
            self.pictures[image],
            planes,
            self.program.segments,
            self.places.source,
            self.taps,
            self.bias,
            self.places.head_source,
            self.head,
            self.head_bias,
            self.places.output_planes,
            out[image],
            self.places.numbers,
        )


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
    """Run a packed `PlaneProgram` on images.

    Args:
        images: float32, batch x channels x height x width.
        taps: float32, 9 an edge.
        bias: float32, one a segment.
        head: float32, outputs x sources; outputs x 0 where the program has no head.
        head_bias: float32, one an output.
        program: what `PlaneProgram.encode` made.
        threads: threads that the images are given to.

    Returns:
        batch x outputs x height x width.

    Raises:
        ModelError: something has another shape or dtype than the program needs.
    """
    run = _Run(program, images)
    run.give(taps, bias, head, head_bias)
    out = images.new_empty(run.out_shape)
    results = out.numpy()
    planes = run.program.planes
    each(len(results), threads, lambda i: run.forward(i, run.buffer("planes", planes), results))
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
) -> tuple[Tensor, Tensor]:
    """As `planes_infer`; differentiable.

    Returns:
        The output, and the images' activations (batch x size of a buffer) for the backward pass.
    """
    run = _Run(program, images)
    run.give(taps, bias, head, head_bias)
    out = images.new_empty(run.out_shape)
    results = out.numpy()
    held = run.buffer("planes", run.program.planes, len(results))
    activations = torch.from_numpy(held).reshape(len(results), -1)
    planes = activations.numpy()
    each(len(results), threads, lambda i: run.forward(i, planes[i], results))
    return out, activations


@planes_forward.register_fake
def _(
    images: Tensor,
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    program: Tensor,
    threads: int,
) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()  # known to the program's content only
    out = images.new_empty(images.shape[0], head.shape[0], *images.shape[2:])
    return out, images.new_empty(images.shape[0], size)


@torch.library.custom_op("leanline::planes_backward", mutates_args=(), device_types="cpu")
def planes_backward(
    grad_out: Tensor,
    activations: Tensor,
    images: Tensor,
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    program: Tensor,
    threads: int,
    to_images: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of images (no channels unless ``to_images``), taps, bias, head and head bias."""
    run = _Run(program, images)
    outline, mirror = run.program, run.program.gradients
    count = len(images)
    grads = grad_out.detach().contiguous().numpy()
    planes = activations.detach().numpy()
    filters = _array("taps", taps, 9 * outline.source.size).reshape(-1, 9)
    mirror_taps = filters[mirror.edge, ::-1].reshape(-1)
    columns = _array("head", head, outline.outputs * outline.head.size)
    columns = run.places.merge(columns.reshape(outline.outputs, -1).T)
    computed = mirror.segments[:, 0] >= outline.inputs
    steps = len(mirror.segments) if to_images else int(computed.sum())
    sum_taps = np.zeros((count, outline.source.size * 9))
    sum_bias = np.zeros((count, len(outline.segments)))
    sum_head = np.zeros((count, outline.outputs, outline.head.size))
    sum_head_bias = np.zeros((count, outline.outputs))
    channels = outline.inputs if to_images else 0
    grad_images = images.new_empty(count, channels, *images.shape[2:])
    grad_pictures = grad_images.numpy()
    mirror_source = mirror.source * run.places.layout.pitch

    def work(i: int) -> None:
        backward_image(
            grads[i],
            planes[i],
            run.buffer("gradients", mirror.slots + outline.outputs),
            outline.segments,
            run.places.source,
            mirror.segments,
            mirror_source,
            mirror_taps,
            steps,
            run.places.head_source,
            run.places.head_targets,
            columns,
            run.places.output_planes,
            mirror.slots,
            sum_taps[i],
            sum_bias[i],
            sum_head[i],
            sum_head_bias[i],
            grad_pictures[i],
            run.places.numbers,
        )

    each(count, threads, work)
    return (
        grad_images,
        _total(sum_taps).reshape(taps.shape),
        _total(sum_bias),
        _total(sum_head).reshape(head.shape),
        _total(sum_head_bias),
    )


@planes_backward.register_fake
def _(
    grad_out: Tensor,
    activations: Tensor,
    images: Tensor,
    taps: Tensor,
    bias: Tensor,
    head: Tensor,
    program: Tensor,
    threads: int,
    to_images: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    channels = images.shape[1] if to_images else 0
    return (
        images.new_empty(images.shape[0], channels, *images.shape[2:]),
        taps.new_empty(taps.shape),
        bias.new_empty(bias.shape),
        head.new_empty(head.shape),
        head.new_empty(head.shape[0]),
    )


def _total(sums: np.ndarray) -> Tensor:
    """The sum over the images, in their order."""
    return torch.from_numpy(sums.sum(0).astype(np.float32))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    images, taps, bias, head, _, program, threads = inputs
    ctx.save_for_backward(images, taps, bias, head, program, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # none for the activations: they are large
    ctx.threads = threads


def _gradients(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 7
    images, taps, bias, head, program, activations = ctx.saved_tensors
    to_images = ctx.needs_input_grad[0]
    found = planes_backward(
        grad, activations, images, taps, bias, head, program, ctx.threads, to_images
    )
    return (found[0] if to_images else None, *found[1:], None, None)


planes_forward.register_autograd(_gradients, setup_context=_keep)
