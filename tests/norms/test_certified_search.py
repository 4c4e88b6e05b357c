"""The search for the largest response against the whole grid, by the FFT in double precision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leanline.norms import operator_norm
from leanline.norms.grid import Axis, search
from leanline.norms.peak import largest_responses


def full_grid(filters: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Largest magnitude of the transform, of filters that may be larger than the picture."""
    axes = tuple(range(1, filters.ndim))
    folded = np.zeros((len(filters), *size))
    for place in np.ndindex(*filters.shape[1:]):
        inside = tuple(p % n for p, n in zip(place, size, strict=True))
        folded[(slice(None), *inside)] += filters[(slice(None), *place)]
    return np.abs(np.fft.fftn(folded, axes=axes)).max(axis=axes)


def check(filters: np.ndarray, size: tuple[int, ...]) -> None:
    found = operator_norm(torch.from_numpy(filters)[:, None], size)[:, 0].numpy()
    np.testing.assert_allclose(found, full_grid(filters, size), rtol=1e-9)


@pytest.mark.parametrize(
    "kernel, size",
    [
        ((3, 3), (256, 256)),
        ((3, 3), (251, 300)),
        ((5, 5), (256, 256)),
        ((7, 7), (255, 512)),
        ((15, 15), (400, 400)),
        ((1, 9), (256, 256)),
        ((9, 1), (512, 4)),
        ((3,), (30_000,)),
        ((11,), (9_999,)),
        ((3, 3, 3), (64, 64, 64)),
        ((3, 1, 5), (63, 8, 65)),
        ((1, 3, 3), (5, 256, 256)),
    ],
)
def test_random_and_smooth_filters(kernel: tuple[int, ...], size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(sum(kernel))
    rough = rng.standard_normal((4, *kernel))
    window = np.ones(kernel)
    for axis, k in enumerate(kernel):
        shape = [1] * len(kernel)
        shape[axis] = k
        window = window * np.exp(-(np.linspace(-1, 1, k) ** 2)).reshape(shape)
    check(np.concatenate([rough, rough * window**4, window[None]]), size)


@pytest.mark.parametrize("kernel, size, count", [(3, 256, 400), (5, 200, 200), (2, 301, 100)])
def test_many_filters(kernel: int, size: int, count: int) -> None:
    generator = torch.Generator().manual_seed(kernel)
    weight = torch.randn(count, 1, kernel, kernel, dtype=torch.float64, generator=generator)
    expected = torch.cat(
        [torch.fft.rfft2(part, s=(size, size)).abs().amax((-2, -1)) for part in weight.split(20)]
    )
    torch.testing.assert_close(operator_norm(weight, size), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", [256, 257, 300])
@pytest.mark.parametrize("kernel", [3, 7, 15])
def test_narrow_maxima_between_the_samples(kernel: int, size: int) -> None:
    place = np.arange(kernel)
    rng = np.random.default_rng(kernel)
    waves = []
    for u, v in rng.integers(0, size, (6, 2)):  # a cosine of one frequency of the grid
        angle = 2 * np.pi * (u * place[:, None] + v * place) / size
        waves.append(np.cos(angle + rng.uniform(0, np.pi)))
    other = np.roll(waves, 1, axis=0) * (1 + 1e-7 * rng.standard_normal((6, 1, 1)))
    check(np.array([*waves, *(np.array(waves) + other)]), (size, size))


def test_ties_and_flat_spectra() -> None:
    point, pair, board = np.zeros((3, 3, 3))
    point[1, 2] = 0.7  # |F| is the same everywhere
    pair[0, 0] = pair[2, 2] = 1.0  # ... or along lines
    board[:] = 1 - 2 * (np.indices((3, 3)).sum(0) % 2)  # largest at pi, which an odd grid lacks
    almost = point + 1e-9 * board
    for size in (256, 301):
        check(np.array([point, pair, board, almost, np.ones((3, 3))]), (size, size))


def responses(filters: np.ndarray, size: tuple[int, ...], samples: tuple[int, ...]) -> np.ndarray:
    """The search with numbers of samples that `plan` would not choose; 0: the grid itself."""
    axes = [Axis.of(n, 1, 1, k) for n, k in zip(size, filters.shape[1:], strict=True)]
    counts = [m or axis.points for m, axis in zip(samples, axes, strict=True)]
    slack = sum(a.lags * math.pi / (2 * m) for a, m in zip(axes, samples, strict=True) if m)
    halves = (True, axes[0].lags == 0, True)
    searches = [search(*given) for given in zip(axes, counts, halves, strict=True)]
    out = np.empty(len(filters))
    largest_responses(filters, *searches, slack, out)
    return out


@settings(max_examples=60)
@given(st.data())
def test_any_samples_find_the_maximum(data: st.DataObject) -> None:
    """More samples than points, numbers without a common divisor, a grid in one axis."""
    axes = data.draw(st.integers(1, 3))
    kernel = [1] * (3 - axes) + [data.draw(st.integers(1, 5 - axes)) for _ in range(axes)]
    size = [data.draw(st.integers(1, 40)) if k > 1 else 1 for k in kernel]
    lags = sum(k - 1 for k in kernel)
    samples = [
        0 if k == 1 or data.draw(st.booleans()) else 2 * data.draw(st.integers(lags + 1, 30))
        for k in kernel
    ]
    samples = [0 if m == n else m for m, n in zip(samples, size, strict=True)]
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    filters = rng.standard_normal((20, *kernel))
    filters[0] = np.round(filters[0])  # ties
    found = responses(filters, tuple(size), tuple(samples))
    np.testing.assert_allclose(found, full_grid(filters, tuple(size)), rtol=1e-9, atol=1e-9)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 6),
    st.floats(1e-3, 1.0),
)
def test_the_bound_of_the_proof(seed: int, axes: int, step: int, kernel: int, reach: float) -> None:
    """arccos(sqrt(p / U)) moves by at most sum of L |d| / 2, for the lags that a stride leaves."""
    rng = np.random.default_rng(seed)
    filter_ = rng.standard_normal((kernel,) * axes)
    places = np.array(list(np.ndindex(*filter_.shape)))
    lags = (kernel - 1) // step

    def response(x: np.ndarray) -> np.ndarray:
        total = np.zeros(len(x))
        for part in np.ndindex(*(step,) * axes):  # polyphase parts
            own = (places % step == part).all(1)
            phase = (places[own] // step) @ x.T
            total += np.abs(filter_.ravel()[own] @ np.exp(1j * phase)) ** 2
        return total

    x = rng.uniform(0, 2 * np.pi, (200, axes))
    d = rng.uniform(-reach, reach, (200, axes))
    here, there = response(x), response(x + d)
    grids = np.meshgrid(*(np.linspace(0, 2 * np.pi, {1: 4000, 2: 60, 3: 16}[axes]),) * axes)
    dense = response(np.stack([g.ravel() for g in grids], 1)).max()
    # the dense grid may miss the supremum, so that U takes the cells' own bound
    slack = axes * lags * np.pi / {1: 4000, 2: 60, 3: 16}[axes] / 2 * 1.05
    bound = max(dense / np.cos(min(slack, 1.5)) ** 2, here.max(), there.max())
    psi = np.arccos(np.sqrt(np.clip(np.array([here, there]) / bound, 0, 1)))
    assert (np.abs(psi[1] - psi[0]) <= lags * np.abs(d).sum(1) / 2 + 1e-6).all()
