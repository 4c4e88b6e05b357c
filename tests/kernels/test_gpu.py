"""The kernels for GPUs: on one where there is one, else in Triton's interpreter (conftest.py)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels import gpu, ops
from leanline.kernels.gpu import enqueue
from leanline.kernels.gpu.backward_plan import once
from leanline.kernels.gpu.waves import forward_waves, shared_places
from leanline.kernels.program import PlaneProgram
from leanline.kernels.reference import run_reference
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window
from plane_programs import Case, Draft, assert_close, drafts, make_case

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

WINDOWS = (
    Window(CONVOLVE, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1),
    Window(CONVOLVE, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2),
    Window(LARGEST, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1),
    Window(CONVOLVE, 4, 3, 2, 1, 1, 2, 2, 2, 2, 2),
    Window(SPREAD, 3, 2, 3, 2, 2, 1, 1, 0, 0, 1),
    Window(LARGEST, 2, 3, 2, 3, 2, 1, 1, 1, 0, 1),
)


def every_kind(padding: str) -> PlaneProgram:
    """Two planes in, each window once or twice, ReLUs before windows that look outside."""
    grids = [(9, 12)]

    def grid_of(source: int, window: int) -> int:
        size = WINDOWS[window].output(*grids[source])
        if size not in grids:
            grids.append(size)
        return grids.index(size)

    grid, steps, source = [0, 0], [], []  # type: ignore[var-annotated]
    for window, reads, relu in (
        *((0, [0, 1, 0], 1), (1, [2, 0], 1), (2, [3], 0), (2, [1], 1), (0, [3, 4, 5], 1)),
        *((3, [3, 6], 1), (4, [3, 2], 1), (5, [3], 0), (4, [7], 0), (5, [6], 1)),
    ):
        begin = len(source)
        source += reads
        steps.append((len(grid), window, begin, len(source), relu, 0))
        grid.append(grid_of(grid[reads[0]], window))
    return PlaneProgram(
        inputs=np.asarray([(0, 2)]),
        grid=np.asarray(grid),
        windows=np.asarray([window.row for window in WINDOWS]),
        steps=np.asarray(steps),
        source=np.asarray(source),
        outputs=(*(np.asarray([plane]) for plane in range(7, 12)), np.asarray([3, 6, 3])),
        head=np.asarray([6, 3, 1, 6]),
        head_outputs=3,
        padding=padding,
    )


def moved(case: Case) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    return [t.to(DEVICE) for t in case.images], tuple(t.to(DEVICE) for t in case.numbers)


def check(case: Case) -> None:
    """Outputs and all gradients equal those of plain PyTorch in float64."""
    program, (images, numbers) = case.program, moved(case)
    exact_images, exact = case.cast(torch.float64)
    wants = run_reference(program, exact_images, *exact)
    outputs, activations = gpu.forward(program, images, numbers)
    for index, (have, want) in enumerate(zip(outputs, wants, strict=True)):
        assert_close(have.cpu(), want.detach(), f"output {index}")
    for have, want in zip(gpu.infer(program, images, numbers), outputs, strict=True):
        assert torch.equal(have, want)  # places that are shared change nothing
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(want.shape, generator=generator) for want in wants]
    leaves = [*exact_images, *exact]
    wanted = torch.autograd.grad(wants, leaves, [u.double() for u in upstream])
    grads = [u.to(DEVICE) for u in upstream]
    found, of_images = gpu.backward(program, grads, activations, images, numbers, True)
    for index, (have, want) in enumerate(zip((*of_images, *found), wanted, strict=True)):
        assert_close(have.cpu(), want, f"gradient {index}")
    again, nothing = gpu.backward(program, grads, activations, images, numbers, False)
    assert not nothing
    assert all(torch.equal(a, b) for a, b in zip(again, found, strict=True))


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
def test_every_kind_of_step_forward_and_backward(padding: str) -> None:
    program = every_kind(padding)
    program.check()
    check(make_case(program, 1, [(9, 12)], 4))


def test_many_blocks_and_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enqueue, "BLOCK", 64)
    monkeypatch.setattr(enqueue, "PART", 1)
    monkeypatch.setattr(enqueue, "OUTPUTS", 2)
    check(make_case(every_kind("replicate"), 1, [(9, 12)], 4))
    check(make_case(small(), 2, [(17, 11)], 5))


def small(padding: str = "zeros") -> PlaneProgram:
    """A convolution with ReLU, the largest values of it, and a head."""
    return PlaneProgram(
        inputs=np.asarray([(0, 1)]),
        grid=np.asarray([0, 0, 0]),
        windows=np.asarray([WINDOWS[0].row, WINDOWS[2].row]),
        steps=np.asarray([(1, 0, 0, 1, 1, 0), (2, 1, 1, 2, 0, 0)]),
        source=np.asarray([0, 1]),
        outputs=(np.asarray([2]),),
        head=np.asarray([1, 2]),
        head_outputs=2,
        padding=padding,
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_spread_as_in_pytorch(value: float) -> None:
    program = small()
    case = make_case(program, 2, [(9, 20)], 0)
    case.images[0][0, 0, 4, 9] = value
    images, numbers = moved(case)
    wants = run_reference(program, list(case.images), *case.numbers)
    for have, want in zip(gpu.infer(program, images, numbers), wants, strict=True):
        assert torch.equal(have.isnan().cpu(), want.isnan())
        assert torch.equal(have.isinf().cpu(), want.isinf())
        assert_close(have[1].cpu(), want[1], "the other image")


def test_the_first_of_equal_pixels_gets_the_gradient() -> None:
    program = small()
    images = [torch.zeros(1, 1, 5, 6, device=DEVICE)]
    _, numbers = moved(make_case(program, 1, [(5, 6)], 0))
    leaves = [t.cpu().requires_grad_() for t in (*images, *numbers)]
    wants = run_reference(program, leaves[:1], *leaves[1:])
    wanted = torch.autograd.grad([w.sum() for w in wants], leaves, allow_unused=True)
    outputs, activations = gpu.forward(program, images, numbers)
    grads = [torch.ones_like(t) for t in outputs]
    found, of_images = gpu.backward(program, grads, activations, images, numbers, True)
    for index, (have, want) in enumerate(zip((*of_images, *found), wanted, strict=True)):
        assert want is not None
        assert_close(have.cpu(), want, f"gradient {index}")


def test_no_images() -> None:
    program = small()
    images, numbers = moved(make_case(program, 1, [(5, 6)], 0))
    outputs, activations = gpu.forward(program, [images[0][:0]], numbers)
    assert [tuple(t.shape) for t in outputs] == [(0, 1, 5, 6), (0, 2, 5, 6)]
    found, _ = gpu.backward(program, outputs, activations, [images[0][:0]], numbers, True)
    assert not any(grad.any() for grad in found)


@settings(max_examples=100)
@given(draft=drafts())
def test_waves_read_only_what_earlier_ones_wrote(draft: Draft) -> None:
    program = draft.make().program
    waves = forward_waves(program)
    slots = shared_places(program, waves)
    assert set(waves.tolist()) == set(range(int(waves.max(initial=-1)) + 1))
    held = {(int(program.grid[p]), int(slots[p])): p for p in range(program.channels)}
    assert len(held) == program.channels
    for wave in range(int(waves.max(initial=-1)) + 1):
        steps = program.steps[waves == wave].tolist()
        reads = [p for row in steps for p in program.source[row[2] : row[3]].tolist()]
        writes = {(int(program.grid[row[0]]), int(slots[row[0]])): row[0] for row in steps}
        assert len(writes) == len(steps)
        for plane in reads:
            place = (int(program.grid[plane]), int(slots[plane]))
            assert held[place] == plane and place not in writes
        held.update(writes)
    for plane in np.concatenate([*program.outputs, program.head]).tolist():
        assert held[int(program.grid[plane]), int(slots[plane])] == plane


def test_rounds_hold_no_plane_twice() -> None:
    rounds = once(np.asarray([4, 2, 4, 4, 7, 2]))
    assert [ids.tolist() for ids in rounds] == [[0, 1, 4], [2, 5], [3]]


@pytest.mark.parametrize(
    ("place", "wrong", "says"),
    [
        (0, torch.zeros(8), "taps is torch.float32 of shape"),
        (1, torch.zeros(2, dtype=torch.float64), "bias is torch.float64"),
        (2, torch.zeros(2, 2, device="meta"), "head is on meta, the images are on"),
    ],
)
def test_wrong_numbers_are_refused(place: int, wrong: Tensor, says: str) -> None:
    images, numbers = moved(make_case(small(), 1, [(5, 6)], 0))
    given = [*numbers[:place], wrong, *numbers[place + 1 :]]
    if wrong.device.type != "meta":
        given[place] = wrong.to(DEVICE)
    with pytest.raises(ModelError, match=says):
        gpu.infer(small(), images, tuple(given))


def test_wrong_images_are_refused() -> None:
    images, numbers = moved(make_case(small(), 1, [(5, 6)], 0))
    outputs, activations = gpu.forward(small(), images, numbers)
    with pytest.raises(ModelError, match="activations: the pictures need"):
        gpu.backward(small(), outputs, activations[1:], images, numbers, True)
    with pytest.raises(ModelError, match="takes 1"):
        gpu.infer(small(), images * 2, numbers)
    reflected = every_kind("reflect")
    images, numbers = moved(make_case(reflected, 1, [(2, 12)], 0))
    with pytest.raises(ModelError, match="too small"):
        gpu.infer(reflected, images, numbers)


def python(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *(["-c", code] if code else []), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_triton_is_needed_for_gpus_only() -> None:
    said = python(
        "import sys; sys.modules['triton'] = None\n"
        "import leanline, leanline.kernels.ops\n"
        "from leanline.errors import ModelError\n"
        "try:\n    import leanline.kernels.gpu\n"
        "except ModelError as problem:\n    print(problem)"
    )
    assert "pip install 'leanline[gpu]'" in said


def test_all_kernels_compile_for_nvidia_gpus(tmp_path: Path) -> None:
    script = Path(__file__).with_name("compile_gpu_kernels.py")
    said = python(
        "", str(script), "80", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path / "triton")
    )
    assert len({line.split()[0] for line in said.splitlines()}) == 11


@pytest.mark.parametrize("name", ["planes_infer", "planes_forward", "planes_backward"])
def test_the_operators_run_on_a_gpu(name: str) -> None:
    assert getattr(ops, name)._qualname == f"leanline::{name}"
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"leanline::{name}", "CUDA")
