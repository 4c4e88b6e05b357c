"""The custom operators around the kernels: buffers, threads, autograd, compilation."""

import copy
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels import call
from leanline.kernels.layout import Geometry
from leanline.kernels.ops import planes_backward, planes_forward, planes_infer
from leanline.kernels.program import PlaneProgram
from leanline.kernels.reference import run_reference
from leanline.kernels.registry import register
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window
from plane_programs import Case, Draft, assert_close, drafts, make_case

NO_IDS = np.zeros(0, np.int64)


def make_program(
    inputs: Sequence[tuple[int, int]],
    grid: Sequence[int],
    windows: Sequence[Window],
    steps: Sequence[tuple[int, ...]],
    source: Sequence[int],
    outputs: Sequence[Sequence[int]],
    head: Sequence[int] = (),
    head_outputs: int = 0,
    padding: str = "zeros",
) -> PlaneProgram:
    """A program from lists."""
    return PlaneProgram(
        inputs=np.asarray(inputs, np.int64),
        grid=np.asarray(grid, np.int64),
        windows=np.asarray([window.row for window in windows], np.int64),
        steps=np.asarray(steps, np.int64).reshape(-1, 6),
        source=np.asarray(source, np.int64),
        outputs=tuple(np.asarray(planes, np.int64) for planes in outputs),
        head=np.asarray(head, np.int64),
        head_outputs=head_outputs,
        padding=padding,
    )


def same(dilation: int = 1) -> Window:
    """3x3 taps that keep the size."""
    return Window(CONVOLVE, 3, 3, 1, 1, *[dilation] * 6)


def chain(padding: str = "zeros", depth: int = 3, head: bool = True) -> PlaneProgram:
    """One input, each plane reads all before it; dilations 1, 2, ..."""
    steps, source = [], []
    for plane in range(1, depth + 1):
        steps.append((plane, plane - 1, len(source), len(source) + plane, 1, plane % 3))
        source += range(plane)
    windows = [same(dilation) for dilation in range(1, depth + 1)]
    planes = list(range(depth + 1))
    return make_program(
        [(0, 1)], [0] * (depth + 1), windows, steps, source,
        [] if head else [planes], planes if head else [], 2 if head else 0, padding,
    )  # fmt: skip


def hourglass() -> PlaneProgram:
    """Two inputs of two sizes, three grids, every kind of window, two outputs and a head."""
    windows = [same(), Window(LARGEST, 2, 2, 2, 2), Window(SPREAD, 2, 2, 2, 2),
               Window(CONVOLVE, 3, 2, 2, 1, 1, 2, 1, 1, 1, 1)]  # fmt: skip
    steps = [(2, 0, 0, 1, 1, 0), (3, 1, 1, 2, 0, 0), (4, 0, 2, 4, 1, 1), (5, 2, 4, 6, 1, 0),
             (6, 3, 6, 8, 0, 0), (7, 0, 8, 11, 1, 2)]  # fmt: skip
    source = [0, 2, 3, 1, 4, 3, 5, 2, 5, 0, 2]
    return make_program(
        [(0, 1), (1, 1)], [0, 1, 0, 1, 1, 0, 2, 0], windows, steps, source,
        [[7, 0], [6]], [7, 2, 7], 3,
    )  # fmt: skip


def run(case: Case, threads: int, *, infer: bool = True) -> list[Tensor]:
    key = register(case.program)
    if infer:
        return planes_infer(list(case.images), *case.numbers, key, threads)
    return planes_forward(list(case.images), *case.numbers, key, threads)[:-1]


def outputs_and_gradients(case: Case, threads: int) -> list[Tensor]:
    images, numbers = case.cast(torch.float32)
    *outputs, _ = planes_forward(images, *numbers, register(case.program), threads)
    sum(out.square().sum() for out in outputs).backward()  # type: ignore[union-attr]
    leaves = [*images, *numbers]
    return [*(o.detach() for o in outputs), *(t.grad for t in leaves if t.grad is not None)]


def assert_same_bits(have: Sequence[Tensor], want: Sequence[Tensor]) -> None:
    assert len(have) == len(want)
    for a, b in zip(have, want, strict=True):
        assert a.shape == b.shape
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


@settings(max_examples=25)
@given(draft=drafts())
def test_any_thread_count_and_reused_buffers_give_the_same_bits(draft: Draft) -> None:
    case = draft.make()
    first = outputs_and_gradients(case, 1)
    count = len(case.program.outputs) + (case.program.head.size > 0)
    for threads in (1, 2, 4):  # more than images: rows go to threads
        assert_same_bits(outputs_and_gradients(case, threads), first)
        assert_same_bits(run(case, threads), first[:count])


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("height", [2, 14, 34, 62])
def test_rows_on_threads_give_the_same_bits(threads: int, height: int) -> None:
    case = make_case(hourglass(), 2, [(height, 40), (height // 2, 20)], height)
    assert_same_bits(run(case, threads), run(case, 1))
    assert_same_bits(run(case, threads, infer=False), run(case, 1))


@pytest.mark.parametrize("more", [1, 2, 3])
def test_rows_on_threads_where_a_transposed_convolution_pads_its_output(more: int) -> None:
    window = Window(SPREAD, 2, 2, 2, 2, bottom=-more, right=-more)
    program = make_program([(0, 2)], [0, 0, 1], [window], [(2, 0, 0, 2, 1, 0)], [0, 1], [[2]])
    case = make_case(program, 1, [(9, 11)], more)
    want = run(case, 1)
    assert_close(want[0], run_reference(program, list(case.images), *case.numbers)[0], "output")
    for threads in (2, 3, 5):
        assert_same_bits(run(case, threads), want)


def outside(layouts: Sequence[Geometry], counts: Sequence[int], size: int, border: bool) -> Any:
    """What of an image's buffer no kernel may write: all but pictures (and filled borders)."""
    mask = np.ones(size, bool)
    start = 0
    for layout, count in zip(layouts, counts, strict=True):
        far = layout.filled if border else 0
        for place in range(count):
            first = start + place * layout.pitch + layout.origin
            for y in range(-far, layout.height + far):
                begin = first + y * layout.stride
                mask[begin - far : begin + layout.width + far] = False
        start += count * layout.pitch
    return mask


@settings(max_examples=20)
@given(draft=drafts())
def test_what_lies_outside_the_pictures_stays_zero(draft: Draft) -> None:
    call._buffers._free.clear()
    call._buffers._held = 0
    case = draft.make()
    run(case, draft.threads)
    outputs_and_gradients(case, draft.threads)
    assert call._buffers.held
    kinds = set()
    for key, stack in call._buffers._free.items():
        kind, *what = key  # type: ignore[misc]
        kinds.add(kind)
        if kind == "seeds":
            outputs, layout = what
            shape = ([layout], [outputs])
            size = outputs * layout.pitch
            mask = outside(*shape, size, border=False)
        else:
            layouts, counts, size, _ = what[-1]
            mask = outside(layouts, counts, size, border=kind != "gradients")
            if kind == "all":
                mask = np.tile(mask, what[0])
        for owner in stack:
            skip = (-owner.ctypes.data // 4) % 16
            assert not owner[skip : skip + mask.size][mask].any(), kind
    assert kinds >= {"one", "all", "gradients"}


def test_two_forwards_then_two_backwards_do_not_share_buffers() -> None:
    case = make_case(chain(), 2, [(20, 30)], 0)
    key = register(case.program)
    (image,), numbers = case.cast(torch.float32)
    other = make_case(case.program, 2, [(20, 30)], 1).images[0]
    wanted = []
    for one in (image, other):
        out, _ = planes_forward([one], *numbers, key, 1)
        wanted.append(torch.autograd.grad(out.square().sum(), numbers))
    outs = [planes_forward([one], *numbers, key, 1)[0] for one in (image, other)]
    for _ in range(3):  # other calls in between take buffers too
        run(case, 2)
    for out, want in zip(outs, wanted, strict=True):
        assert_same_bits(torch.autograd.grad(out.square().sum(), numbers), want)


def test_retained_graph_gives_the_same_gradients_again() -> None:
    case = make_case(chain("replicate"), 2, [(9, 9)], 0)
    images, numbers = case.cast(torch.float32)
    out, _ = planes_forward(images, *numbers, register(case.program), 1)
    loss = out.square().sum()
    first = torch.autograd.grad(loss, [*images, *numbers], retain_graph=True)
    outputs_and_gradients(case, 1)
    assert_same_bits(torch.autograd.grad(loss, [*images, *numbers]), first)


def test_freed_activations_are_used_again() -> None:
    case = make_case(chain(), 1, [(21, 22)], 0)
    images, numbers = case.cast(torch.float32)
    out, activations = planes_forward(images, *numbers, register(case.program), 1)
    place = activations.data_ptr()
    del out, activations
    gc.collect()
    again = planes_forward(images, *numbers, register(case.program), 1)
    assert again[1].data_ptr() == place


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("head", [True, False])
def test_the_reference_passes_gradcheck(padding: str, head: bool) -> None:
    program = chain(padding, 2, head)
    images, numbers = make_case(program, 2, [(4, 5)], 3).cast(torch.float64)
    assert torch.autograd.gradcheck(
        lambda image, *rest: run_reference(program, [image], *rest), [*images, *numbers]
    )


def test_the_reference_passes_gradcheck_with_every_kind_of_window() -> None:
    program = hourglass()
    images, numbers = make_case(program, 1, [(4, 6), (2, 3)], 2).cast(torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, b, *rest: run_reference(program, [a, b], *rest), [*images, *numbers]
    )


def test_opcheck() -> None:
    case = make_case(hourglass(), 2, [(12, 10), (6, 5)], 0)
    key = register(case.program)
    torch.library.opcheck(planes_infer, (list(case.images), *case.numbers, key, 2))
    torch.library.opcheck(
        planes_forward, (*case.cast(torch.float32)[:1], *case.cast(torch.float32)[1], key, 2)
    )
    *outputs, activations = planes_forward(list(case.images), *case.numbers, key, 1)
    for to_images in (True, False):
        given = (outputs, activations, list(case.images), *case.numbers, key, 1, to_images)
        torch.library.opcheck(planes_backward, given)


@pytest.mark.parametrize("padding", ["replicate", "reflect"])
def test_opcheck_of_other_padding(padding: str) -> None:
    case = make_case(chain(padding), 2, [(12, 9)], 0)
    images, numbers = case.cast(torch.float32)
    torch.library.opcheck(planes_forward, (images, *numbers, register(case.program), 2))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_graph_breaks_forward_and_backward(dynamic: bool) -> None:
    program = hourglass()
    key = register(program)

    def loss(images: list[Tensor], numbers: list[Tensor]) -> Tensor:
        *outputs, _ = planes_forward(images, *numbers, key, 1)
        held = planes_infer([t.detach() for t in images], *(n.detach() for n in numbers), key, 1)
        return sum((out.square().mean() for out in outputs), held[0].sum())

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for size in ((12, 10), (18, 14)) if dynamic else ((12, 10),):
        case = make_case(program, 2, [size, (size[0] // 2, size[1] // 2)], 0)
        plain, fast = case.cast(torch.float32), case.cast(torch.float32)
        loss(*plain).backward()
        compiled(*fast).backward()
        for a, b in zip([*plain[0], *plain[1]], [*fast[0], *fast[1]], strict=True):
            assert a.grad is not None and b.grad is not None
            assert_close(b.grad, a.grad, "gradient", 1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("program", [chain(), chain("replicate"), hourglass()])
def test_nan_and_inf_spread_as_in_pytorch(value: float, program: PlaneProgram) -> None:
    sizes = [(40, 70), (20, 35)][: len(program.inputs)]
    case = make_case(program, 2, sizes, 0)
    images = [image.clone() for image in case.images]
    images[0][0, 0, 20, 33] = value
    wants = run_reference(program, images, *case.numbers)
    for threads in (1, 3):
        haves = planes_infer(images, *case.numbers, register(program), threads)
        for have, want in zip(haves, wants, strict=True):
            assert torch.equal(have.isfinite(), want.isfinite())
            assert torch.equal(have.isnan(), want.isnan())
            assert_close(have[1], want[1], "the other image")
        assert all(out.isfinite().all() for out in run(case, threads))  # nothing stays behind


@pytest.mark.parametrize("around", [0, 1])
@pytest.mark.parametrize("size", [(10, 20), (3, 3), (6, 31)])
def test_nan_in_a_plane_that_nothing_reads_does_not_spoil_gradients(
    around: int, size: tuple[int, int]
) -> None:
    window = Window(CONVOLVE, 3, 3, 1, 1, 1, 1, around, around, around, around)
    program = make_program(
        [(0, 2)], [0, 0, 1 - around], [window], [(2, 0, 0, 1, 1, 0)], [0], [], [2], 1
    )
    images, numbers = make_case(program, 1, [size], 0).cast(torch.float32)
    with torch.no_grad():
        images[0][:, 1] = float("nan")
    out, _ = planes_forward(images, *numbers, register(program), 1)
    found = torch.autograd.grad(out.sum(), [*images, *numbers])
    assert all(g.isfinite().all() for g in found)
    wanted = torch.autograd.grad(
        run_reference(program, images, *numbers)[0].sum(), [*images, *numbers]
    )
    for have, want in zip(found, wanted, strict=True):
        assert_close(have, want, "gradient")


def test_the_callers_denormals_survive() -> None:
    tiny = torch.tensor([1e-40])
    case = make_case(chain(), 2, [(12, 9)], 0)
    outputs_and_gradients(case, 1)
    run(case, 3)
    assert (tiny * 0.5).item() > 0
    assert float(np.float32(1e-40) * np.float32(0.5)) > 0


def test_channels_last_strided_and_expanded_pictures() -> None:
    program = make_program([(0, 2)], [0, 0, 0], [same()], [(2, 0, 0, 2, 1, 0)], [0, 1], [[0, 2]])
    case = make_case(program, 2, [(12, 10)], 0)
    (want,) = run(case, 1)
    (images,), key = case.images, register(program)
    for equal in (
        images.to(memory_format=torch.channels_last),
        images.repeat_interleave(2, 3)[..., ::2],
        images.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        assert torch.equal(planes_infer([equal], *case.numbers, key, 1)[0], want)
    wide = images[:1].expand(3, -1, -1, -1)
    (have,) = planes_infer([wide], *case.numbers, key, 2)
    assert torch.equal(have, want[:1].expand_as(have))


def test_strided_and_expanded_gradients_and_numbers() -> None:
    case = make_case(chain(head=False), 2, [(12, 10)], 0)
    (images,), (taps, *rest) = case.cast(torch.float32)
    apart = taps.detach().repeat_interleave(2)[::2].requires_grad_()
    out, _ = planes_forward([images], apart, *rest, register(case.program), 1)
    weights = torch.ones(1).expand_as(out)
    have = torch.autograd.grad(out, [images, apart], weights)
    again, _ = planes_forward([images], taps, *rest, register(case.program), 1)
    assert_same_bits(have, torch.autograd.grad(again.sum(), [images, taps]))


def test_the_default_dtype_does_not_matter() -> None:
    case = make_case(chain(), 1, [(8, 8)], 0)
    want = outputs_and_gradients(case, 1)
    try:
        torch.set_default_dtype(torch.float64)
        have = run(case, 1)
        both = outputs_and_gradients(case, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(t.dtype == torch.float32 for t in (*have, *both))
    assert_same_bits(both, want)
    assert_same_bits(have, want[:1])


def test_inference_mode() -> None:
    with torch.inference_mode():
        case = make_case(chain(), 1, [(8, 8)], 0)
        (have,) = run(case, 1)
    images, numbers = ([t.clone() for t in part] for part in (case.images, case.numbers))
    assert_close(have, run_reference(case.program, images, *numbers)[0], "output")


def test_no_images_at_all() -> None:
    case = make_case(hourglass(), 0, [(12, 10), (6, 5)], 0)
    have = outputs_and_gradients(case, 2)
    assert [tuple(t.shape) for t in have[:3]] == [(0, 2, 12, 10), (0, 1, 6, 10), (0, 3, 12, 10)]
    assert not any(gradient.any() for gradient in have[3:])


@pytest.mark.parametrize("wanted", range(5))
def test_only_the_gradients_that_are_wanted(wanted: int) -> None:
    case = make_case(chain(), 2, [(8, 8)], 0)
    found = []
    for backend in ("kernels", "reference"):
        leaves = [t.clone() for t in (*case.images, *case.numbers)]
        leaves[wanted].requires_grad_()
        if backend == "kernels":
            out = planes_forward(leaves[:1], *leaves[1:], register(case.program), 1)[0]
        else:
            out = run_reference(case.program, leaves[:1], *leaves[1:])[0]
        out.square().sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [i == wanted for i in range(5)]
        found.append(leaves[wanted].grad)
    assert_close(found[0], found[1], "gradient")


def test_only_some_outputs_and_one_input_want_gradients() -> None:
    case = make_case(hourglass(), 2, [(12, 10), (6, 5)], 0)
    found = []
    for backend in ("kernels", "reference"):
        images = [case.images[0].clone(), case.images[1].clone().requires_grad_()]
        if backend == "kernels":
            outputs = planes_forward(images, *case.numbers, register(case.program), 1)[:-1]
        else:
            outputs = run_reference(case.program, images, *case.numbers)
        outputs[0].square().sum().backward()
        assert images[0].grad is None
        found.append(images[1].grad)
    assert found[0] is not None and found[0].any()
    assert_close(found[0], found[1], "gradient")


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
    case = make_case(chain(), 1, [(8, 8)], 0)
    values = [*case.images, *case.numbers]
    values[place] = wrong
    key = register(case.program)
    with pytest.raises(ModelError, match=says):
        planes_infer(values[:1], *values[1:], key, 1)
    with pytest.raises(ModelError, match=says):
        planes_forward(values[:1], *values[1:], key, 2)


def test_a_wrong_number_of_inputs_and_batches_that_differ_are_refused() -> None:
    case = make_case(hourglass(), 2, [(12, 10), (6, 5)], 0)
    key = register(case.program)
    for images in ([], list(case.images[:1]), [*case.images, case.images[0]]):
        with pytest.raises(ModelError, match=f"got {len(images)} tensors, the program takes 2"):
            planes_infer(images, *case.numbers, key, 1)
    with pytest.raises(ModelError, match=r"shape \(1, 1, 6, 5\).*\(2, 1, height, width\)"):
        planes_infer([case.images[0], case.images[1][:1]], *case.numbers, key, 1)
    with pytest.raises(ModelError, match="12 x 10, 7 x 5 do not fit this network"):
        planes_infer([case.images[0], torch.zeros(2, 1, 7, 5)], *case.numbers, key, 1)


def test_activations_of_another_call_are_refused() -> None:
    case = make_case(chain(), 2, [(12, 9)], 0)
    key = register(case.program)
    out, activations = planes_forward(list(case.images), *case.numbers, key, 1)
    with pytest.raises(ModelError, match="activations"):
        planes_backward([out], activations[:-1], list(case.images), *case.numbers, key, 1, True)


def test_too_small_for_reflect_padding() -> None:
    case = make_case(chain("reflect"), 1, [(3, 8)], 0)
    with pytest.raises(ModelError, match="at least 4 rows and columns"):
        run(case, 1)


def test_a_program_that_is_not_registered_is_named() -> None:
    case = make_case(chain(), 1, [(8, 8)], 0)
    with pytest.raises(ModelError, match=r"program 0123456789ab\.\.\. is not registered"):
        planes_infer(list(case.images), *case.numbers, "0123456789abcdef", 1)


def test_a_copy_of_a_program_gives_the_same_bits() -> None:
    case = make_case(hourglass(), 2, [(12, 10), (6, 5)], 0)
    want = outputs_and_gradients(case, 1)
    again = Case(copy.deepcopy(case.program), case.images, case.numbers, 1)
    del case
    gc.collect()
    assert_same_bits(outputs_and_gradients(again, 1), want)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("batch", [1, 3])
def test_a_forked_child_has_threads_of_its_own(batch: int) -> None:
    case = make_case(chain(), batch, [(8, 8)], 0)
    want = run(case, 2)
    child = os.fork()
    if child == 0:
        equal = torch.equal(run(case, 2)[0], want[0])
        os._exit(0 if equal else 1)
    assert os.waitpid(child, 0)[1] == 0
