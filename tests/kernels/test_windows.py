"""Windows against PyTorch's shapes, and against all pairs of pixels that they join."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from leanline.kernels.windows import COLUMNS, CONVOLVE, LARGEST, SPREAD, Window

PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))
AROUND = st.tuples(st.integers(0, 5), st.integers(0, 5))
SIZE = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(size=SIZE, taps=PAIR, step=PAIR, gap=PAIR, around=AROUND)
def test_a_convolution_is_as_large_as_pytorchs(
    size: tuple[int, int],
    taps: tuple[int, int],
    step: tuple[int, int],
    gap: tuple[int, int],
    around: tuple[int, int],
) -> None:
    window = Window(CONVOLVE, *taps, *step, *gap, *around, *around)
    picture = torch.empty(1, 1, *size, device="meta")
    kernel = torch.empty(1, 1, *taps, device="meta")
    fits = all(n + 2 * a > g * (t - 1) for n, a, g, t in zip(size, around, gap, taps, strict=True))
    assert fits == (min(window.output(*size)) >= 1)
    if fits:
        out = functional.conv2d(picture, kernel, None, step, around, gap)
        assert window.output(*size) == tuple(out.shape[2:])


@given(size=SIZE, taps=PAIR, step=PAIR, gap=PAIR, around=AROUND, more=AROUND)
def test_a_transposed_convolution_is_as_large_as_pytorchs(
    size: tuple[int, int],
    taps: tuple[int, int],
    step: tuple[int, int],
    gap: tuple[int, int],
    around: tuple[int, int],
    more: tuple[int, int],
) -> None:
    more = tuple(min(m, max(s, g) - 1) for m, s, g in zip(more, step, gap, strict=True))
    ends = [a - m for a, m in zip(around, more, strict=True)]
    window = Window(SPREAD, *taps, *step, *gap, *around, *ends)
    have = window.output(*size)
    picture = torch.empty(1, 1, *size, device="meta")
    kernel = torch.empty(1, 1, *taps, device="meta")
    if min(have) >= 1:
        out = functional.conv_transpose2d(picture, kernel, None, step, around, more, 1, gap)
        assert have == tuple(out.shape[2:])


@given(size=SIZE, taps=PAIR, step=PAIR, gap=PAIR)
def test_pooling_is_as_large_as_pytorchs(
    size: tuple[int, int], taps: tuple[int, int], step: tuple[int, int], gap: tuple[int, int]
) -> None:
    around = (taps[0] // 2, taps[1] // 2)
    window = Window(LARGEST, *taps, *step, *gap, *around, *around)
    if min(window.output(*size)) >= 1:
        out = functional.max_pool2d(torch.empty(1, 1, *size), taps, step, around, gap)
        assert window.output(*size) == tuple(out.shape[2:])
    assert window.taps == 0


def pairs(window: Window, source: int, target: int) -> set[tuple[int, int, int]]:
    """Rows that a window joins: of the source, of the target, tap; also outside the source."""
    found = set()
    for tap in range(window.rows):
        if window.kind == SPREAD:
            for y in range(source):
                found.add((y, y * window.row_step + tap * window.row_dilation - window.top, tap))
        else:
            for y in range(target):
                found.add((y * window.row_step + tap * window.row_dilation - window.top, y, tap))
    return found


ROWS = st.builds(
    lambda kind, rows, step, gap, top, bottom: Window(
        kind, rows, 1, step, 1, gap, 1, top, 0, bottom, 0
    ),
    st.sampled_from([CONVOLVE, SPREAD]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(-2, 4),
    st.integers(-2, 4),
)


@given(window=ROWS, source=st.integers(1, 12))
def test_reach_is_how_far_outside_the_sources_it_looks(window: Window, source: int) -> None:
    target, _ = window.output(source, 5)
    if target < 1:
        return
    looked = [y for y, _, _ in pairs(window, source, target)]
    far = max(0, -min(looked), max(looked) - (source - 1))
    assert window.reach((source, 5), (target, 5)) == far
    turned = Window(window.kind, 1, window.rows, 1, window.row_step, 1, window.row_dilation,
                    0, window.top, 0, window.bottom)  # fmt: skip
    assert turned.reach((5, source), (5, target)) == far


@given(window=ROWS, source=st.integers(1, 12))
def test_the_mirrored_window_joins_the_same_pixels(window: Window, source: int) -> None:
    target, _ = window.output(source, 5)
    if target < 1:
        return
    there = {
        (a, b, tap)
        for a, b, tap in pairs(window, source, target)
        if 0 <= a < source and 0 <= b < target
    }
    mirror = window.mirrored
    turned = mirror.kind == window.kind  # then the taps come in the opposite order
    back = {
        (b, a, window.rows - 1 - tap if turned else tap)
        for a, b, tap in pairs(mirror, target, source)
        if 0 <= a < target and 0 <= b < source
    }
    assert back == there
    if window.row_step == 1 and window.kind == CONVOLVE:
        assert mirror.output(target, 5) == (source, 5)
        assert mirror.mirrored == window


@pytest.mark.parametrize("kind", [CONVOLVE, SPREAD, LARGEST])
def test_a_row_holds_everything(kind: int) -> None:
    window = Window(kind, *range(2, COLUMNS + 1))
    assert len(window.row) == COLUMNS
    assert Window(*window.row) == window
