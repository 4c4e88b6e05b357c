"""One call of a plane program: its arrays, as the compiled functions take them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels.arguments import check_images, flat_numbers
from leanline.kernels.backward import add_output, backward_image
from leanline.kernels.buffers import Pool
from leanline.kernels.halo import MODES
from leanline.kernels.image import forward_image, load_planes, unload_planes
from leanline.kernels.plan import backward_plan, forward_plan
from leanline.kernels.program import PlaneProgram
from leanline.kernels.workers import at_fork, each, together

_buffers = Pool()
at_fork(_buffers.after_fork)


class Call:
    """A program, pictures and numbers.

    Args:
        program: the program.
        images: float32 on the CPU, batch x channels x height x width, one an input.
        keeps_planes: "all" activations, for the backward pass, or "none".

    Raises:
        ModelError: the pictures are not what the program takes.
    """

    def __init__(self, program: PlaneProgram, images: Sequence[Tensor], keeps_planes: str) -> None:
        self.program = program
        self.sizes = check_images(program, images)
        self.plan = forward_plan(program, self.sizes, keeps_planes)
        self.batch = len(images[0])
        self.pictures = [tensor.detach().contiguous().numpy() for tensor in images]

    def give(self, taps: Tensor, bias: Tensor, head: Tensor, head_bias: Tensor) -> None:
        """Take the numbers of the program."""
        program, columns = self.program, self.plan.columns
        matrix = flat_numbers("head", head, program.head_outputs * program.head.size).numpy()
        if program.head.size:
            matrix = matrix.reshape(-1, program.head.size)[:, columns].reshape(-1)
        self.numbers = (
            flat_numbers("taps", taps, int(program.taps_at[-1])).numpy(),
            flat_numbers("bias", bias, len(program.steps)).numpy(),
            matrix,
            flat_numbers("head_bias", head_bias, program.head_outputs).numpy(),
        )

    def results(self, like: Tensor) -> list[Tensor]:
        """Tensors for the outputs."""
        return [like.new_empty(self.batch, *shape) for shape in self.plan.output_shapes]

    def activations(self) -> np.ndarray:
        """Room for the planes of all images."""
        size = self.plan.places.size
        held = _buffers.borrow(("all", self.batch, self.plan.places.key), self.batch * size)
        return held

    def forward(self, results: Sequence[Tensor], threads: int, held: np.ndarray | None) -> None:
        """Compute all images into ``results``: images on threads, or the rows of a few images."""
        outputs = [tensor.numpy() for tensor in results]
        size = self.plan.places.size

        def planes_of(image: int) -> np.ndarray:
            if held is not None:
                return held[image * size : (image + 1) * size]
            return _buffers.borrow(("one", self.plan.places.key), size)

        if self.batch >= threads or self.plan.mode != MODES["zeros"]:
            each(self.batch, threads, lambda i: self._image(i, planes_of(i), outputs, (0, 1)))
            return
        for image in range(self.batch):
            planes = planes_of(image)
            self._load(image, planes)
            counter = np.zeros(8, np.int64)
            together(
                threads,
                lambda member, i=image, p=planes, c=counter: self._steps(  # type: ignore[misc]
                    i, p, outputs, (c, member, threads)
                ),
                lambda c=counter: c.__setitem__(1, 1),  # type: ignore[misc]
            )
            self._unload(image, planes, outputs)

    def time(self, seconds: float) -> float:
        """Seconds that the steps of one image take, on this thread: the least of several runs.

        Args:
            seconds: for all runs together; at least two are made.
        """
        planes = _buffers.borrow(("one", self.plan.places.key), self.plan.places.size)
        outputs = [tensor[:1].numpy() for tensor in self.results(torch.empty(0))]
        self._load(0, planes)
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while len(taken) < 2 or time.perf_counter() < end:
            start = time.perf_counter()
            self._steps(0, planes, outputs, (_ALONE, 0, 1))
            taken.append(time.perf_counter() - start)
        return min(taken)

    def _image(
        self, image: int, planes: np.ndarray, outputs: list[np.ndarray], team: tuple[int, int]
    ) -> None:
        self._load(image, planes)
        self._steps(image, planes, outputs, (_ALONE, *team))
        self._unload(image, planes, outputs)

    def _load(self, image: int, planes: np.ndarray) -> None:
        for picture, at, grid in zip(
            self.pictures, self.plan.input_at, self.plan.input_grids, strict=True
        ):
            load_planes(picture[image], planes, at, grid, self.plan.mode)

    def _steps(
        self,
        image: int,
        planes: np.ndarray,
        outputs: list[np.ndarray],
        team: tuple[np.ndarray, int, int],
    ) -> None:
        out = outputs[-1][image].reshape(-1) if self.program.head.size else _NOTHING
        forward_image(self.plan.steps, self.plan.offsets, self.numbers, planes, out, team)

    def _unload(self, image: int, planes: np.ndarray, outputs: list[np.ndarray]) -> None:
        named = outputs[: len(self.plan.output_at)]
        for at, grid, out in zip(self.plan.output_at, self.plan.output_grids, named, strict=True):
            unload_planes(planes, at, grid, out[image])

    def backward(
        self, grads: Sequence[Tensor], held: np.ndarray, threads: int, to_images: bool
    ) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
        """Gradients of images (none unless ``to_images``), taps, biases, head and head biases."""
        program, plan = self.program, backward_plan(self.program, self.sizes)
        mirror, size = plan.mirror, self.plan.places.size
        if held.dtype != np.float32 or held.size != self.batch * size:
            raise ModelError(
                f"got {held.size} activations of {held.dtype}: the pictures need "
                f"{self.batch * size} of float32, as planes_forward returned them"
            )
        given = [tensor.detach().contiguous().numpy() for tensor in grads]
        taps, _, head, _ = self.numbers
        matrix = np.zeros((plan.head_planes.size, program.head_outputs), np.float32)
        np.add.at(matrix, plan.rows, head.reshape(program.head_outputs, program.head.size).T)
        sums = (
            np.zeros((self.batch, taps.size)),
            np.zeros((self.batch, len(program.steps))),
            np.zeros((self.batch, plan.head_planes.size, program.head_outputs)),
            np.zeros((self.batch, program.head_outputs)),
        )
        inputs = [torch.empty(p.shape) for p in self.pictures] if to_images else []
        pictures = [tensor.numpy() for tensor in inputs]
        mirrored = taps[mirror.taps]
        forward_steps = (*self.plan.steps[:3], program.taps_at)
        backward_steps = (mirror.steps, mirror.windows, mirror.taps_at, mirror.first_taps)

        def work(i: int) -> None:
            planes = _buffers.borrow(("gradients", plan.places.key), plan.places.size)
            for grad, at, grid, again in zip(
                given, plan.output_at, self.plan.output_grids, plan.again, strict=False
            ):
                add_output(grad[i], planes, at, grid, again)
            seeds = _NOTHING
            if program.head.size:
                key = ("seeds", program.head_outputs, plan.seed_layout)
                seeds = _buffers.borrow(key, plan.seed_size)
                grid = plan.offsets[7][plan.offsets[8]]
                add_output(
                    given[-1][i], seeds, plan.offsets[6], grid, np.zeros_like(plan.offsets[6])
                )
            backward_image(
                forward_steps,
                backward_steps,
                plan.offsets,
                (mirrored, matrix),
                (held[i * size : (i + 1) * size], planes, seeds),
                (sums[0][i], sums[1][i], sums[2][i], sums[3][i]),
            )
            channel = 0
            for picture, grid in zip(pictures, self.plan.input_grids, strict=False):
                count = picture.shape[1]
                at = plan.places.at[channel : channel + count]
                unload_planes(planes, at, grid, picture[i])
                channel += count

        each(self.batch, threads, work)
        of_taps, of_bias, of_columns, of_head_bias = (part.sum(0) for part in sums)
        of_head = np.empty((program.head_outputs, program.head.size))
        of_head[:, self.plan.columns] = of_columns[plan.rows].T  # a plane may be read twice
        found = (np.ascontiguousarray(part, np.float32) for part in (of_taps, of_bias, of_head))
        return (inputs, *map(torch.from_numpy, (*found, of_head_bias.astype(np.float32))))  # type: ignore[return-value]


_NOTHING = np.zeros(1, np.float32)
_ALONE = np.zeros(1, np.int64)
