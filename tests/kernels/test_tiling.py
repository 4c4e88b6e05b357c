"""However the work is cut, the output is the same, bit for bit."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leanline.errors import ModelError
from leanline.kernels.conv3 import SHAPES
from leanline.kernels.ops import planes_forward, planes_infer
from leanline.kernels.program import SHAPE, PlaneProgram
from leanline.kernels.reference import run_reference
from leanline.kernels.registry import register
from leanline.kernels.tiling import UNTUNED, Tiling
from plane_programs import Draft, assert_close, drafts

tilings = st.builds(
    Tiling,
    edges=st.sampled_from([0, 1, 2, 3, 4, 7, 100]),
    ahead=st.sampled_from([0, 1, 2, 5]),
    band_bytes=st.sampled_from([0, 1, 1 << 10, 1 << 14, 1 << 19]),
    head_planes=st.sampled_from([1, 2, 3, 8, 100]),
)


@settings(max_examples=150)
@given(
    draft=drafts(),
    tiling=tilings,
    shape=st.integers(0, len(SHAPES) - 1),
    threads=st.integers(1, 3),
)
def test_every_tiling_gives_the_same_output(
    draft: Draft, tiling: Tiling, shape: int, threads: int
) -> None:
    case = draft.make()
    images, numbers = list(case.images), case.numbers
    plain = planes_infer(images, *numbers, register(case.program), 1)
    steps = case.program.steps.copy()
    steps[:, SHAPE] = shape
    cut = dataclasses.replace(case.program, steps=steps, tiling=tiling)
    for call in (planes_infer, planes_forward):
        found = call(images, *numbers, register(cut), threads)
        assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=False))
    exact_images, exact_numbers = case.cast(torch.float64)
    want = run_reference(case.program, exact_images, *exact_numbers)
    for have, exact in zip(plain, want, strict=True):
        assert_close(have, exact.detach(), "output")


def test_programs_that_are_cut_otherwise_have_other_keys() -> None:
    program = _program()
    keys = {
        dataclasses.replace(program, tiling=tiling).key
        for tiling in (UNTUNED, Tiling(edges=1), Tiling(ahead=2), Tiling(4), Tiling(head_planes=1))
    }
    assert len(keys) == 5
    assert program.key in keys


@pytest.mark.parametrize(
    "tiling",
    [Tiling(edges=-1), Tiling(ahead=-1), Tiling(band_bytes=-1), Tiling(head_planes=0)],
)
def test_a_tiling_that_no_kernel_can_run_is_refused(tiling: Tiling) -> None:
    program = dataclasses.replace(_program(), tiling=tiling)
    with pytest.raises(ModelError, match=r"a tiling has .*; a whole number from [01] on is wanted"):
        register(program)


def _program() -> PlaneProgram:
    return Draft(0, "zeros", [(9, 9)], 0.6, 4, 2, 1, 1, 1).make().program
