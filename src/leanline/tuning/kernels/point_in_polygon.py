"""Which points lie inside a polygon."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32

from leanline.tuning.kernels.source import at_least, source_of, with_constants
from leanline.tuning.measuring.bench import Expected
from leanline.tuning.measuring.gpu_kernels import Device, OpenCLKernel
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.paper_spaces import paper_space
from leanline.tuning.space import SearchSpace

CLEARANCE = 1e-3
"""Least distance of a point from the edges, along x: rounding cannot change the side that it is
on."""

CHUNK = 1 << 16
"""Points that are looked at together."""


def point_in_polygon(
    points: int = 20_000_000,
    vertices: int = 600,
    *,
    space: SearchSpace | None = None,
    device: Device = Device(),  # noqa: B008 - frozen
    policy: TimingPolicy = TimingPolicy(),  # noqa: B008 - frozen
) -> OpenCLKernel:
    """Return the point-in-polygon test of Table A.1, as OpenCL C.

    Args:
        points: Number of points.
        vertices: Number of the polygon's vertices.
        space: The configurations; by default those of Table A.1.
        device: Which device, and how to compile for it.
        policy: How often to repeat, and when to give up.

    Raises:
        ConfigError: There is no point, or fewer than three vertices.
    """
    at_least("point_in_polygon", 1, points=points)
    at_least("point_in_polygon", 3, vertices=vertices)
    corners = polygon(vertices)
    places, inside = points_apart(corners, points)
    last = np.roll(corners, 1, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # a level edge is never crossed
        slopes = (corners[:, 0] - last[:, 0]) / (corners[:, 1] - last[:, 1])

    def grid(given: dict[str, Any]) -> tuple[int]:
        return (-(-points // (given["block_size_x"] * given["tile_size"])),)

    return OpenCLKernel(
        source_of("point_in_polygon"),
        "point_in_polygon",
        (np.full(points, -1, dtype=np.int32), places, corners, slopes, np.int32(points)),
        grid=grid,
        space=with_constants(space or paper_space("point-in-polygon"), {"VERTICES": vertices}),
        expected=Expected((inside, None, None, None, None)),
        device=device,
        policy=policy,
    )


def polygon(vertices: int) -> Float32[np.ndarray, "vertices 2"]:
    """Return a jagged polygon around the origin, without self-crossings: x and y of each vertex."""
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, vertices))
    radii = rng.uniform(0.4, 1.0, vertices)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1).astype(np.float32)


def points_apart(
    corners: Float32[np.ndarray, "vertices 2"], number: int
) -> tuple[Float32[np.ndarray, "points 2"], Int32[np.ndarray, "points"]]:
    """Draw points that are clear of the edges; return them, and which lie inside."""
    rng = np.random.default_rng(1)
    places: list[np.ndarray] = []
    inside: list[np.ndarray] = []
    found = 0
    while found < number:
        drawn = rng.uniform(-1, 1, (min(CHUNK, 2 * number), 2)).astype(np.float32)
        within, clearance = point_in_polygon_reference(corners, drawn)
        clear = clearance > CLEARANCE
        places.append(drawn[clear])
        inside.append(within[clear])
        found += int(clear.sum())
    return np.concatenate(places)[:number], np.concatenate(inside)[:number]


def point_in_polygon_reference(
    corners: Float32[np.ndarray, "vertices 2"], points: Float32[np.ndarray, "points 2"]
) -> tuple[Int32[np.ndarray, "points"], Float64[np.ndarray, "points"]]:
    """Tell which points lie inside (1) or outside (0), in double precision.

    Returns:
        That, and the least distance along x of each point from an edge.
    """
    x, y = points.T.astype(np.float64)
    crossings = np.zeros(len(points), dtype=np.int32)
    clearance = np.full(len(points), np.inf)
    edges = np.concatenate([np.roll(corners, 1, axis=0), corners], axis=1).astype(np.float64)
    for x0, y0, x1, y1 in edges:
        beside = (y0 > y) != (y1 > y)
        at = x0 + (y[beside] - y0) * (x1 - x0) / (y1 - y0)
        crossings[beside] += x[beside] < at
        clearance[beside] = np.minimum(clearance[beside], np.abs(x[beside] - at))
    return crossings & 1, clearance
