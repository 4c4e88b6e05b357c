"""Random plane programs, and a program as a function of all its numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from leanline.kernels.program import PlaneProgram
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window

SIZES = st.sampled_from([1, 2, 3, 5, 7, 11, 15, 16, 17, 31, 33, 63, 64, 65, 70])


@dataclass(frozen=True, eq=False)
class Case:
    """A program with numbers and pictures to run it on."""

    program: PlaneProgram
    images: tuple[Tensor, ...]
    numbers: tuple[Tensor, ...]  # taps, bias, head, head bias
    threads: int

    def cast(self, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        """Images and numbers as leaves that want gradients."""
        return tuple(  # type: ignore[return-value]
            [t.to(dtype).clone().requires_grad_() for t in part]
            for part in (self.images, self.numbers)
        )


class Drawn:
    """A program that grows plane by plane, at random."""

    def __init__(
        self, rng: np.random.Generator, sizes: list[tuple[int, int]], padding: str
    ) -> None:
        self.rng, self.padding = rng, padding
        self.sizes: list[tuple[int, int]] = []  # of each grid
        self.grid: list[int] = []
        self.relu: list[bool] = []
        self.windows: list[Window] = [Window(CONVOLVE, 1, 1)]
        self.steps: list[tuple[int, ...]] = []
        self.source: list[int] = []
        self.filled: dict[int, int] = {}
        self.inputs = []
        for size in sizes:
            count = int(rng.integers(1, 4))
            self.inputs.append((self.grid_of(size), count))
            self.grid += [self.inputs[-1][0]] * count
            self.relu += [False] * count

    def grid_of(self, size: tuple[int, int]) -> int:
        if size not in self.sizes:
            self.sizes.append(size)
        return self.sizes.index(size)

    def planes_of(self, grid: int) -> np.ndarray:
        return np.flatnonzero(np.asarray(self.grid) == grid)

    def window(self, source: int) -> Window:
        """A window that fits the sources' size."""
        rng = self.rng
        kind = rng.choice(["same", "same", "same", "any", "spread", "double", "half", "largest"])
        if kind == "double":
            return Window(SPREAD, 2, 2, 2, 2)
        if kind == "half":
            return Window(CONVOLVE, 2, 2, 2, 2)
        if kind == "same":
            d = int(rng.choice([1, 1, 2, 3, 10]))
            return Window(CONVOLVE, 3, 3, 1, 1, d, d, d, d, d, d)
        shape = [int(n) for n in rng.integers(1, 5, 2)]
        step = [int(n) for n in rng.integers(1, 4, 2)]
        gap = [int(n) for n in rng.integers(1, 3, 2)]
        around = [int(n) for n in rng.integers(0, 3, 4)]
        if kind == "largest":
            around = [0] * 4
        names = {"any": CONVOLVE, "spread": SPREAD, "largest": LARGEST}
        return Window(names[str(kind)], *shape, *step, *gap, *around)

    def grow(self, density: float) -> None:
        """Add one plane."""
        source = int(self.rng.choice(self.grid))
        window = self.window(source)
        size = window.output(*self.sizes[source])
        if min(size) < 1 or max(size) > 80:
            return
        far = window.reach(self.sizes[source], size)
        if self.padding == "reflect" and far >= min(self.sizes[source]):
            return
        known = self.planes_of(source)
        known = known[self.rng.random(known.size) < density]
        if self.rng.random() < 0.1:  # the same plane twice, as after torch.cat([x, x])
            known = np.concatenate([known, known[:1]])
        if window.kind == LARGEST:
            known = known[:1]
        if not known.size:  # a constant plane, on a grid that is there
            window, target = self.windows[0], source
        else:
            target = self.grid_of(size)
        if window not in self.windows:
            self.windows.append(window)
        number = self.windows.index(window)
        relu = bool(self.rng.random() < 0.6)
        end = len(self.source) + known.size
        shape = int(self.rng.integers(0, 3))
        self.steps.append((len(self.grid), number, len(self.source), end, relu, shape))
        self.source += known.tolist()
        self.grid.append(target)

    def finish(self, outputs: int, head: int) -> PlaneProgram:
        """End with some outputs, and a head where ``head`` is not 0."""
        groups = []
        for _ in range(outputs):
            planes = self.planes_of(int(self.rng.choice(self.grid)))
            groups.append(self.rng.choice(planes, int(self.rng.integers(1, planes.size + 1))))
        read = np.zeros(0, np.int64)
        if head:
            planes = self.planes_of(int(self.rng.choice(self.grid)))
            read = self.rng.choice(planes, int(self.rng.integers(1, planes.size + 5)))
        return PlaneProgram(
            inputs=np.asarray(self.inputs, np.int64),
            grid=np.asarray(self.grid, np.int64),
            windows=np.asarray([window.row for window in self.windows], np.int64),
            steps=np.asarray(self.steps, np.int64).reshape(-1, 6),
            source=np.asarray(self.source, np.int64),
            outputs=tuple(group.astype(np.int64) for group in groups),
            head=read.astype(np.int64),
            head_outputs=head,
            padding=self.padding,
        )


@dataclass(frozen=True)
class Draft:
    """What a case is made from. (Made in the test: the checks of shapes use random numbers.)"""

    seed: int
    padding: str
    sizes: list[tuple[int, int]]
    density: float
    planes: int
    head: int
    outputs: int
    batch: int
    threads: int

    def make(self) -> Case:
        rng = np.random.default_rng(self.seed)
        drawn = Drawn(rng, self.sizes, self.padding)
        for _ in range(self.planes):
            drawn.grow(self.density)
        program = drawn.finish(self.outputs if self.head else max(1, self.outputs), self.head)
        return make_case(program, self.batch, self.sizes, self.seed, self.threads)


def drafts(
    sizes: st.SearchStrategy[int] = SIZES, planes: int = 12, batch: int = 3
) -> st.SearchStrategy[Draft]:
    """Programs of any structure that the kernels take, pruned at random; pictures; numbers."""
    return st.builds(
        Draft,
        seed=st.integers(0, 2**31),
        padding=st.sampled_from(["zeros", "zeros", "replicate", "reflect"]),
        sizes=st.lists(st.tuples(sizes, sizes), min_size=1, max_size=2),
        density=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
        planes=st.integers(0, planes),
        head=st.sampled_from([0, 1, 2, 3, 5, 6, 11]),
        outputs=st.integers(0, 2),
        batch=st.integers(1, batch),
        threads=st.integers(1, 3),
    )


def make_case(
    program: PlaneProgram, batch: int, sizes: list[tuple[int, int]], seed: int, threads: int = 1
) -> Case:
    """Numbers for a program, such that activations neither grow nor vanish."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    taps = int(program.taps_at[-1])
    fan_in = max(1.0, taps / max(1, len(program.steps)))
    images = [
        draw(batch, channels, *size)
        for (_, channels), size in zip(program.inputs.tolist(), sizes, strict=True)
    ]
    numbers = (
        draw(taps) * (2 / fan_in) ** 0.5,
        draw(len(program.steps)) * 0.3,
        draw(program.head_outputs, program.head.size),
        draw(program.head_outputs),
    )
    return Case(program, tuple(images), numbers, threads)


def assert_close(have: Tensor, want: Tensor, what: str, tolerance: float = 1e-5) -> None:
    """Equal to ``tolerance`` of the largest value."""
    assert have.shape == want.shape, what
    if want.numel() == 0:
        return
    error = (have.double() - want.double()).abs().max().item()
    scale = want.double().abs().max().item()
    assert error <= tolerance * scale + 1e-30, f"{what}: error {error:.2e} of {scale:.2e}"
