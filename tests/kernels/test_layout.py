"""Planes in a buffer: they do not overlap, and what is read around them is theirs or zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanline.errors import ModelError
from leanline.kernels.layout import LINE, Geometry, Places, grid_sizes
from leanline.kernels.program import PlaneProgram
from leanline.kernels.schedule import schedule
from leanline.kernels.windows import CONVOLVE, SPREAD, Window
from plane_programs import Draft, drafts


def cells(at: int, layout: Geometry, far: int) -> np.ndarray:
    """Offsets of a plane's pixels and of ``far`` pixels around them."""
    rows = np.arange(-far, layout.height + far)[:, None] * layout.stride
    return (at + rows + np.arange(-far, layout.width + far)).reshape(-1)


def apart(program: PlaneProgram) -> np.ndarray:
    return np.asarray([np.sum(program.grid[:i] == g) for i, g in enumerate(program.grid)], np.int64)


@settings(max_examples=60)
@given(draft=drafts(), shared=st.booleans())
def test_planes_do_not_overlap(draft: Draft, shared: bool) -> None:
    program = draft.make().program
    slots = schedule(program).slots if shared else apart(program)
    places = Places(program, tuple(draft.sizes), slots)
    at = {}
    for plane, grid in enumerate(program.grid.tolist()):
        at.setdefault((grid, int(slots[plane])), int(places.at[plane]))
        assert at[grid, int(slots[plane])] == places.at[plane]
    assert len(set(at.values())) == len(at)
    written = np.zeros(places.size, np.int64)
    for (grid, _), begin in at.items():
        layout = places.layouts[grid]
        filled = cells(begin, layout, layout.filled)
        assert filled.min() >= 0 and filled.max() < places.size
        assert np.unique(filled).size == filled.size
        written[filled] += 1
    assert written.max() == 1
    for (grid, _), begin in at.items():  # what is read around a picture is no picture
        layout = places.layouts[grid]
        around = np.setdiff1d(cells(begin, layout, layout.halo), cells(begin, layout, 0))
        if around.size:
            assert around.min() >= 0 and around.max() < places.size
        for (other, _), there in at.items():
            assert not np.isin(around, cells(there, places.layouts[other], 0)).any()


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 2000),
    halo=st.integers(0, 300),
    filled=st.integers(0, 300),
)
def test_rows_and_planes_keep_their_distance(
    height: int, width: int, halo: int, filled: int
) -> None:
    layout = Geometry(height, width, max(halo, filled), filled)
    assert layout.stride % LINE == layout.origin % LINE == layout.pitch % LINE == 0
    assert layout.stride % 256
    assert layout.stride >= width + layout.halo
    assert layout.origin >= layout.halo * (layout.stride + 1)
    last = layout.origin + (height - 1 + layout.halo) * layout.stride + width - 1 + layout.halo
    assert last < layout.pitch + layout.origin - layout.halo * (layout.stride + 1)


def two_inputs(
    windows: list[Window], steps: list[tuple[int, ...]], grid: list[int]
) -> PlaneProgram:
    source = [step[0] % 2 for step in steps]
    rows = [(*step, i, i + 1, 0, 0) for i, step in enumerate(steps)]
    none = np.zeros(0, np.int64)
    return PlaneProgram(
        np.asarray([(0, 1), (1, 1)]), np.asarray(grid), np.asarray([w.row for w in windows]),
        np.asarray(rows).reshape(-1, 6), np.asarray(source, np.int64), (np.asarray([0]),), none, 0,
        "zeros",
    )  # fmt: skip


def test_sizes_follow_the_windows() -> None:
    windows = [Window(CONVOLVE, 3, 3, 2, 2, top=1, left=1, bottom=1, right=1),
               Window(SPREAD, 2, 2, 2, 2)]  # fmt: skip
    program = two_inputs(windows, [(2, 0), (3, 1)], [0, 1, 2, 0])
    program.check()
    with pytest.raises(ModelError, match="pictures of 20 x 31, 10 x 15 do not fit this network: it "
                       "joins channels of 20 x 31 and of 20 x 30 pixels"):  # fmt: skip
        grid_sizes(program, ((20, 31), (10, 15)))
    assert grid_sizes(program, ((20, 30), (10, 15))) == ((20, 30), (10, 15), (10, 15))


def test_too_small_pictures_are_named() -> None:
    program = two_inputs([Window(CONVOLVE, 5, 5)], [(2, 0)], [0, 1, 2])
    assert grid_sizes(program, ((5, 9), (4, 4))) == ((5, 9), (4, 4), (1, 5))
    with pytest.raises(ModelError, match="pictures of 4 x 9, 4 x 4 are too small for this network"):
        grid_sizes(program, ((4, 9), (4, 4)))
