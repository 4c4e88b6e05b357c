"""The references of the kernels against other people's code, and the sizes that are refused."""

import matplotlib.path
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanline.errors import ConfigError
from leanline.tuning import paper_space
from leanline.tuning.kernels.convolution import convolution, convolution_reference
from leanline.tuning.kernels.gemm import gemm, gemm_reference
from leanline.tuning.kernels.point_in_polygon import (
    CLEARANCE,
    point_in_polygon,
    points_apart,
    polygon,
)
from leanline.tuning.kernels.registry import KERNELS, KernelChoice
from leanline.tuning.kernels.source import restricted, source_of


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4))
def test_convolution_is_the_sum_over_windows(height, width, rows, columns):
    rng = np.random.default_rng(height * 100 + width)
    image = rng.random((height + rows - 1, width + columns - 1), dtype=np.float32)
    weights = rng.random((rows, columns), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (rows, columns))
    wanted = np.einsum("yxji,ji->yx", windows.astype(np.float64), weights.astype(np.float64))
    np.testing.assert_allclose(convolution_reference(image, weights), wanted, rtol=1e-5, atol=1e-6)


def test_gemm_is_the_sum_over_k():
    rng = np.random.default_rng(0)
    a, b, c = (rng.random(shape, dtype=np.float32) for shape in ((7, 3), (7, 4), (4, 3)))
    wanted = [
        [1.5 * sum(float(a[k, m]) * float(b[k, n]) for k in range(7)) + 0.5 * c[n, m]
         for m in range(3)]
        for n in range(4)
    ]  # fmt: skip
    np.testing.assert_allclose(gemm_reference(a, b, c), wanted, rtol=1e-6)


@pytest.mark.parametrize("vertices", [3, 4, 50, 600])
def test_points_inside_are_those_of_matplotlib(vertices):
    corners = polygon(vertices)
    points, inside = points_apart(corners, 2000)
    assert points.shape == (2000, 2) and points.dtype == np.float32
    wanted = matplotlib.path.Path(corners, closed=False).contains_points(points)
    np.testing.assert_array_equal(inside.astype(bool), wanted)
    assert CLEARANCE < 0.01


def test_the_sources_name_every_parameter():
    for name in KERNELS:
        text = source_of(name.replace("-", "_"))
        for parameter in (*paper_space(name).names, *paper_space(name).constants):
            assert parameter in text, (name, parameter)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: convolution(0, 5), "width=0"),
        (lambda: gemm(100, 128, 128), "m=100 was given; a multiple of 128"),
        (lambda: gemm(128, 128, 33), "k=33 was given; a multiple of 32"),
        (lambda: point_in_polygon(5, 2), "vertices=2"),
        (lambda: KernelChoice("convolutoin").make(), "did you mean 'convolution'"),
        (lambda: KernelChoice("gemm", {"width": 5}).make(), "has no setting 'width'"),
        (lambda: KernelChoice("gemm", {"m": "x"}).make(), "must be a whole number"),
        (lambda: KernelChoice("gemm", values={"MWG": (17,)}).make(), "none of"),
        (lambda: KernelChoice("tuning_kernels:known_time").make(), "needs given"),
        (lambda: KernelChoice("tuning_kernels:needs_opencl").make(), "returned a NoneType"),
        (lambda: KernelChoice("no_such_module:x").make(), "cannot import"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        if "NoneType" in message:
            pytest.importorskip("pyopencl", reason="needs PyOpenCL: leanline[tune]")
        make()


def test_shorter_lists_keep_order_and_constraints():
    space = restricted(paper_space("convolution"), {"block_size_x": (64, 16)})
    assert space.values[0] == (16, 64)
    assert space.constraints == paper_space("convolution").constraints
