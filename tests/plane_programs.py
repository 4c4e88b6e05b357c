"""Random plane programs, and a program as a function of all its numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from leanline.kernels.program import PlaneProgram


@dataclass(frozen=True, eq=False)
class Case:
    """A program with numbers and pictures to run it on."""

    program: PlaneProgram
    numbers: tuple[Tensor, ...]  # images, taps, bias, head, head bias
    threads: int

    def cast(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """The numbers as leaves that want gradients."""
        return tuple(t.to(dtype).clone().requires_grad_() for t in self.numbers)


@st.composite
def plane_programs(draw: st.DrawFn) -> PlaneProgram:
    """Any structure that the kernels take, pruned at random."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs = draw(st.integers(1, 3))
    computed = draw(st.integers(1, 10))
    density = draw(st.sampled_from([0.0, 0.2, 0.6, 1.0]))
    dilations = draw(st.sampled_from([(1,), (1, 2, 3), (10, 1), (4, 7), tuple(range(1, 11))]))
    planes = inputs + computed
    rows, source = [], []
    for plane in range(inputs, planes):
        known = np.flatnonzero(rng.random(plane) < density)
        if rng.random() < 0.1:  # the same plane twice, as after torch.cat([x, x])
            known = np.concatenate([known, known[:1]])
        dilation = int(rng.choice(dilations))
        rows.append((plane, dilation, len(source), len(source) + known.size, rng.random() < 0.7))
        source += known.tolist()
    outputs = draw(st.sampled_from([1, 2, 3, 5, 6, 11]))
    has_head = draw(st.booleans())
    read = rng.integers(0, planes, draw(st.integers(1, planes)))
    if not has_head:
        read = rng.integers(0, planes, outputs)
    return PlaneProgram(
        inputs=inputs,
        planes=planes,
        segments=np.asarray(rows, np.int64),
        source=np.asarray(source, np.int64),
        head=read.astype(np.int64) if has_head else np.zeros(0, np.int64),
        outputs=outputs,
        output_planes=np.zeros(0, np.int64) if has_head else read.astype(np.int64),
        padding=draw(st.sampled_from(["zeros", "zeros", "replicate", "reflect"])),
    )


SIZES = st.sampled_from([1, 2, 3, 5, 7, 11, 15, 16, 17, 31, 33, 63, 64, 65, 70])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A program, pictures of any size and numbers."""
    program = draw(plane_programs())
    height, width = draw(SIZES), draw(SIZES)
    if program.padding == "reflect":
        height, width = (max(side, program.border + 1) for side in (height, width))
    batch = draw(st.integers(1, 3))
    return make_case(
        program, (batch, height, width), draw(st.integers(0, 2**31)), draw(st.integers(1, 3))
    )


def make_case(
    program: PlaneProgram, shape: tuple[int, int, int], seed: int, threads: int = 1
) -> Case:
    """Numbers for a program, such that activations neither grow nor vanish."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    batch, height, width = shape
    fan_in = 9 * max(1, program.source.size / len(program.segments))
    return Case(
        program,
        (
            draw(batch, program.inputs, height, width),
            draw(program.source.size, 9) * (2 / fan_in) ** 0.5,
            draw(len(program.segments)) * 0.3,
            draw(program.outputs, program.head.size),
            draw(program.outputs),
        ),
        threads,
    )


def assert_close(have: Tensor, want: Tensor, what: str, tolerance: float = 1e-5) -> None:
    """Equal to ``tolerance`` of the largest value."""
    assert have.shape == want.shape, what
    if want.numel() == 0:
        return
    error = (have.double() - want.double()).abs().max().item()
    scale = want.double().abs().max().item()
    assert error <= tolerance * scale + 1e-30, f"{what}: error {error:.2e} of {scale:.2e}"
