"""The three search spaces of Table A.1, with the constraints of their kernels."""

from __future__ import annotations

from leanline.errors import ConfigError
from leanline.tuning.space import SearchSpace

POWERS = [1, 2, 4, 8, 16, 32]


def convolution() -> SearchSpace:
    """Two-dimensional convolution (Table A.1, every GPU but the MI50): 18,432, 9,400 valid."""
    return SearchSpace(
        {
            "block_size_x": [1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128],
            "block_size_y": POWERS,
            "tile_size_x": list(range(1, 9)),
            "tile_size_y": list(range(1, 9)),
            "use_padding": [0, 1],
            "read_only": [0, 1],
        },
        constraints=["block_size_x * block_size_y >= 64", "tile_size_x * tile_size_y < 30"],
    )


def convolution_mi50() -> SearchSpace:
    """Two-dimensional convolution on the MI50 (Table A.1), without the constraints of the others.

    The published results do not say which constraints were used there; give your own.
    """
    return SearchSpace(
        {
            "block_size_x": [16, 32, 48, 64, 80, 96, 112, 128],
            "block_size_y": POWERS,
            "tile_size_x": [1, 2, 4],
            "tile_size_y": [1, 2, 4],
            "use_padding": [0, 1],
        }
    )


def gemm() -> SearchSpace:
    """Matrix multiplication as in CLBlast (Table A.1): 82,944 configurations, 17,956 valid."""
    return SearchSpace(
        {
            "MWG": [16, 32, 64, 128],
            "NWG": [16, 32, 64, 128],
            "MDIMC": [8, 16, 32],
            "NDIMC": [8, 16, 32],
            "MDIMA": [8, 16, 32],
            "NDIMB": [8, 16, 32],
            "VWM": [1, 2, 4, 8],
            "VWN": [1, 2, 4, 8],
            "SA": [0, 1],
            "SB": [0, 1],
        },
        constraints=[
            "KWG % KWI == 0",
            "MWG % (MDIMC * VWM) == 0",
            "NWG % (NDIMC * VWN) == 0",
            "MWG % (MDIMA * VWM) == 0",
            "NWG % (NDIMB * VWN) == 0",
            "KWG % (MDIMC * NDIMC / MDIMA) == 0",
            "KWG % (MDIMC * NDIMC / NDIMB) == 0",
        ],
        constants={"KWG": 32, "KWI": 2},
    )


def point_in_polygon() -> SearchSpace:
    """Points inside a polygon (Table A.1): 8,184 configurations, none ruled out beforehand."""
    return SearchSpace(
        {
            "block_size_x": list(range(32, 993, 32)),
            "tile_size": [1, *range(2, 21, 2)],
            "between_method": [0, 1, 2, 3],
            "use_precomputed_slopes": [0, 1],
            "use_method": [0, 1, 2],
        }
    )


PAPER_SPACES = {
    "convolution": convolution,
    "convolution-mi50": convolution_mi50,
    "gemm": gemm,
    "point-in-polygon": point_in_polygon,
}


def paper_space(name: str) -> SearchSpace:
    """Return a space of Table A.1 by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in PAPER_SPACES:
        raise ConfigError(f"space {name!r} was asked for; there are {', '.join(PAPER_SPACES)}")
    return PAPER_SPACES[name]()
