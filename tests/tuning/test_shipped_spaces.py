"""The spaces that come with leanline: whole, and honest about where they are from."""

from importlib import resources

import numpy as np
import pytest

from leanline import tuning

FILES = sorted(
    each.name
    for each in resources.files("leanline.tuning").joinpath("spaces").iterdir()
    if each.name.endswith(".parquet")
)


def test_there_is_one_of_each_kernel():
    assert FILES == [
        "convolution-pocl.parquet",
        "gemm-pocl.parquet",
        "point-in-polygon-pocl.parquet",
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_space_is_whole(name):
    with resources.as_file(resources.files("leanline.tuning") / "spaces" / name) as file:
        measured = tuning.read_measurements(file)
        assert file.stat().st_size < 100_000
    assert measured.codes.tolist() == measured.space.valid_codes().tolist()
    # the medians of all runs, of which as many are kept as every configuration has
    kept = np.median(measured.samples, axis=1)
    assert np.median(np.abs(measured.times / kept - 1)) < 0.05
    about = measured.about
    assert about["statistic"] == "median of repeated runs" and "without other work" in about["note"]
    assert about["platform_name"] == "Portable Computing Language" and about["settings"]
    assert "/" not in str(about["settings"]) and measured.device == about["device"]
    paper = tuning.paper_space(name.removesuffix("-pocl.parquet"))
    assert measured.space.names == paper.names
    assert measured.space.constraints == paper.constraints
    full = paper.codes(
        np.array(
            [
                [
                    values.index(configuration[name])
                    for name, values in zip(paper.names, paper.values, strict=True)
                ]
                for configuration in map(measured.space.decode, measured.codes.tolist())
            ]
        )
    )
    assert paper.is_valid(full).all()
