"""The custom operators around the kernels: buffers, threads, autograd, compilation."""

import contextlib
import gc
import os
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels import ops
from leanline.kernels.layout import Geometry
from leanline.kernels.ops import planes_backward, planes_forward, planes_infer
from leanline.kernels.program import PlaneProgram
from leanline.kernels.reference import run_reference
from plane_programs import Case, assert_close, cases, make_case


def chain(padding: str = "zeros", depth: int = 3, head: bool = True) -> PlaneProgram:
    """One input, each plane reads all before it; dilations 1, 2, ..."""
    rows, source = [], []
    for plane in range(1, depth + 1):
        rows.append((plane, plane, len(source), len(source) + plane, 1))
        source += range(plane)
    ids = np.arange(depth + 1)
    return PlaneProgram(
        1, depth + 1, np.asarray(rows), np.asarray(source), ids if head else ids[:0],
        2 if head else depth + 1, ids[:0] if head else ids, padding,
    )  # fmt: skip


def gradients(case: Case, numbers: tuple[Tensor, ...], threads: int) -> list[Tensor]:
    out, _ = planes_forward(*numbers, case.program.encode(), threads)
    out.square().sum().backward()
    return [out.detach(), *(t.grad for t in numbers if t.grad is not None)]


@settings(max_examples=40)
@given(case=cases())
def test_any_thread_count_and_reused_buffers_give_the_same_bits(case: Case) -> None:
    first = gradients(case, case.cast(torch.float32), 1)
    for threads in (1, 2, 3):
        again = gradients(case, case.cast(torch.float32), threads)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        infer = planes_infer(*case.numbers, case.program.encode(), threads)
        assert torch.equal(first[0], infer)


@settings(max_examples=40)
@given(case=cases())
def test_what_lies_outside_the_pictures_is_as_before(case: Case) -> None:
    program = case.program
    numbers = case.cast(torch.float32)
    out, activations = planes_forward(*numbers, program.encode(), 1)
    height, width = case.numbers[0].shape[2:]
    layout = Geometry.of(program, height, width)
    outside = np.ones(activations.shape[1], bool)
    border = 0 if program.padding == "zeros" else program.border
    for plane in range(program.planes):
        for y in range(-border, height + border):
            begin = plane * layout.pitch + layout.origin + y * layout.stride
            outside[begin - border : begin + width + border] = False
    assert not activations.detach().numpy()[:, outside].any()
    before = set(ops._buffers._free)
    out.sum().backward()
    assert before <= set(ops._buffers._free)
    for key, stack in ops._buffers._free.items():
        if key[0] == "gradients" and key[3:] == (layout, program.padding):
            planes = key[2]
            outside = np.ones(layout.size(planes), bool)
            for plane in range(planes):
                for y in range(height):
                    begin = plane * layout.pitch + layout.origin + y * layout.stride
                    outside[begin : begin + width] = False
            for owner in stack:
                skip = (-owner.ctypes.data // 4) % 16
                assert not owner[skip : skip + outside.size][outside].any()


def test_two_forwards_then_two_backwards_do_not_share_buffers() -> None:
    case = make_case(chain(), (2, 20, 30), 0)
    packed = case.program.encode()
    separate, together = case.cast(torch.float32), case.cast(torch.float32)
    other = make_case(case.program, (2, 20, 30), 1).numbers[0]
    wanted = []
    for images in (separate[0], other):
        out, _ = planes_forward(images, *separate[1:], packed, 1)
        wanted.append(torch.autograd.grad(out.square().sum(), separate[1:]))
    outs = [planes_forward(images, *together[1:], packed, 1)[0] for images in (together[0], other)]
    for _ in range(3):  # other calls in between take buffers too
        planes_infer(*case.numbers, packed, 2)
    for out, want in zip(outs, wanted, strict=True):
        for have, expected in zip(
            torch.autograd.grad(out.square().sum(), together[1:]), want, strict=True
        ):
            assert torch.equal(have, expected)


def test_retained_graph_gives_the_same_gradients_again() -> None:
    case = make_case(chain("replicate"), (2, 9, 9), 0)
    numbers = case.cast(torch.float32)
    out, _ = planes_forward(*numbers, case.program.encode(), 1)
    loss = out.square().sum()
    first = torch.autograd.grad(loss, numbers, retain_graph=True)
    planes_forward(*case.cast(torch.float32), case.program.encode(), 1)[0].sum().backward()
    second = torch.autograd.grad(loss, numbers)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_freed_activations_are_used_again() -> None:
    case = make_case(chain(), (1, 21, 22), 0)
    numbers = case.cast(torch.float32)
    out, activations = planes_forward(*numbers, case.program.encode(), 1)
    place = activations.data_ptr()
    del out, activations
    gc.collect()
    assert planes_forward(*numbers, case.program.encode(), 1)[1].data_ptr() == place


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("head", [True, False])
def test_the_reference_passes_gradcheck(padding: str, head: bool) -> None:
    program = chain(padding, 2, head)
    case = make_case(program, (2, 4, 5), 3)
    assert torch.autograd.gradcheck(
        lambda *numbers: run_reference(program, *numbers), case.cast(torch.float64)
    )


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_opcheck(padding: str) -> None:
    case = make_case(chain(padding), (2, 12, 9), 0)
    packed = case.program.encode()
    torch.library.opcheck(planes_infer, (*case.numbers, packed, 2))
    torch.library.opcheck(planes_forward, (*case.cast(torch.float32), packed, 2))
    images, taps, bias, head, _ = case.numbers
    out, activations = planes_forward(*case.numbers, packed, 1)
    for to_images in (True, False):
        arguments = (out, activations, images, taps, bias, head, packed, 1, to_images)
        torch.library.opcheck(planes_backward, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_graph_breaks_forward_and_backward(dynamic: bool) -> None:
    case = make_case(chain(), (2, 12, 9), 0)
    packed = case.program.encode()

    def loss(*numbers: Tensor) -> Tensor:
        out, _ = planes_forward(*numbers, packed, 1)
        return out.square().mean() + planes_infer(*(n.detach() for n in numbers), packed, 1).sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    plain, fast = case.cast(torch.float32), case.cast(torch.float32)
    loss(*plain).backward()
    compiled(*fast).backward()
    for a, b in zip(plain, fast, strict=True):
        assert_close(b.grad, a.grad, "gradient", 1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("padding", ["zeros", "replicate"])
def test_nan_and_inf_spread_as_in_pytorch(value: float, padding: str) -> None:
    case = make_case(chain(padding), (2, 40, 70), 0)
    images = case.numbers[0].clone()
    images[0, 0, 20, 33] = value
    want = run_reference(case.program, images, *case.numbers[1:])
    have = planes_infer(images, *case.numbers[1:], case.program.encode(), 1)
    assert torch.equal(have.isfinite(), want.isfinite())
    assert torch.equal(have.isnan(), want.isnan())
    assert_close(have[1], want[1], "the other image")
    clean = planes_infer(*case.numbers, case.program.encode(), 1)
    assert clean.isfinite().all()  # nothing stays behind in the buffers


def test_nan_in_a_plane_that_nothing_reads_does_not_spoil_gradients() -> None:
    program = PlaneProgram(
        2, 3, np.asarray([[2, 3, 0, 1, 1]]), np.asarray([0]), np.asarray([2]), 1,
        np.zeros(0, np.int64), "zeros",
    )  # fmt: skip
    case = make_case(program, (1, 10, 20), 0)
    exact = [t.detach().requires_grad_() for t in case.numbers]
    with torch.no_grad():
        exact[0][:, 1] = float("nan")
    out, _ = planes_forward(*exact, program.encode(), 1)
    found = torch.autograd.grad(out.sum(), exact)
    assert all(g.isfinite().all() for g in found)
    wanted = torch.autograd.grad(run_reference(program, *exact).sum(), exact)
    for have, want in zip(found, wanted, strict=True):
        assert_close(have, want, "gradient")


def test_the_callers_denormals_survive() -> None:
    tiny = torch.tensor([1e-40])
    case = make_case(chain(), (2, 12, 9), 0)
    out, _ = planes_forward(*case.cast(torch.float32), case.program.encode(), 1)
    out.sum().backward()
    assert (tiny * 0.5).item() > 0
    assert float(np.float32(1e-40) * np.float32(0.5)) > 0


def test_channels_last_strided_and_expanded_pictures() -> None:
    program = PlaneProgram(
        2, 3, np.asarray([[2, 1, 0, 2, 1]]), np.asarray([0, 1]), np.asarray([0, 2]), 2,
        np.zeros(0, np.int64), "zeros",
    )  # fmt: skip
    case = make_case(program, (2, 12, 10), 0)
    want = planes_infer(*case.numbers, program.encode(), 1)
    images = case.numbers[0]
    for same in (
        images.to(memory_format=torch.channels_last),
        images.repeat_interleave(2, 3)[..., ::2],
    ):
        assert torch.equal(planes_infer(same, *case.numbers[1:], program.encode(), 1), want)
    wide = images[:1].expand(3, -1, -1, -1)
    have = planes_infer(wide, *case.numbers[1:], program.encode(), 2)
    assert torch.equal(have, want[:1].expand_as(have))


def test_the_default_dtype_does_not_matter() -> None:
    case = make_case(chain(), (1, 8, 8), 0)
    want = planes_infer(*case.numbers, case.program.encode(), 1)
    try:
        torch.set_default_dtype(torch.float64)
        have = planes_infer(*case.numbers, case.program.encode(), 1)
        out, _ = planes_forward(*case.cast(torch.float32), case.program.encode(), 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert have.dtype == out.dtype == torch.float32
    assert torch.equal(have, want)


def test_inference_mode() -> None:
    with torch.inference_mode():
        case = make_case(chain(), (1, 8, 8), 0)
        have = planes_infer(*case.numbers, case.program.encode(), 1)
    want = run_reference(case.program, *(t.clone() for t in case.numbers))
    assert_close(have, want, "output")


def test_only_the_gradients_that_are_wanted() -> None:
    case = make_case(chain(), (2, 8, 8), 0)
    images, taps, *rest = case.numbers
    taps = taps.clone().requires_grad_()
    out, _ = planes_forward(images, taps, *rest, case.program.encode(), 1)
    out.sum().backward()
    want = taps.detach().clone().requires_grad_()
    run_reference(case.program, images, want, *rest).sum().backward()
    assert taps.grad is not None and want.grad is not None
    assert_close(taps.grad, want.grad, "gradient of taps")


@pytest.mark.parametrize(
    ("place", "wrong", "says"),
    [
        (0, torch.zeros(1, 2, 8, 8), "images"),
        (0, torch.zeros(1, 8, 8), "images"),
        (0, torch.zeros(1, 1, 8, 8, dtype=torch.float64), "float64"),
        (1, torch.zeros(1, 9), "taps"),
        (2, torch.zeros(2, dtype=torch.float64), "bias"),
        (3, torch.zeros(2, 3), "head"),
        (4, torch.zeros(3), "head_bias"),
    ],
)
def test_wrong_shapes_and_types_are_refused(place: int, wrong: Tensor, says: str) -> None:
    case = make_case(chain(), (1, 8, 8), 0)
    numbers = list(case.numbers)
    numbers[place] = wrong
    with pytest.raises(ModelError, match=says):
        planes_infer(*numbers, case.program.encode(), 1)
    with pytest.raises(ModelError, match=says):
        planes_forward(*numbers, case.program.encode(), 2)


def test_too_small_for_reflect_padding() -> None:
    case = make_case(chain("reflect"), (1, 3, 8), 0)
    with pytest.raises(ModelError, match="at least 4 rows and columns"):
        planes_infer(*case.numbers, case.program.encode(), 1)


@pytest.mark.parametrize("place", range(50))
def test_a_damaged_program_is_refused_or_harmless(place: int) -> None:
    case = make_case(chain(), (1, 8, 8), 0)
    packed = case.program.encode()
    packed[place % packed.numel()] = (-1, 77, 1 << 40)[place % 3]
    with contextlib.suppress(ModelError, MemoryError):
        planes_infer(*case.numbers, packed, 1)
    with pytest.raises(ModelError, match="damaged"):
        planes_infer(*case.numbers, packed[:4].clone(), 1)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    case = make_case(chain(), (3, 8, 8), 0)
    want = planes_infer(*case.numbers, case.program.encode(), 2)
    child = os.fork()
    if child == 0:
        same = torch.equal(planes_infer(*case.numbers, case.program.encode(), 2), want)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
