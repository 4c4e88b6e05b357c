"""Comparison at equal filters and equal time, against NumPy's interpolation and by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanline.experiments.compare import (
    at_equal,
    differences,
    judged,
    place_of,
    summarise,
    value_at,
)
from leanline.experiments.results import DENSE


@given(
    st.lists(st.floats(0.001, 1), min_size=2, max_size=8, unique=True),
    st.data(),
)
def test_interpolation_is_linear_on_a_log_axis(places, data):
    places = sorted(places, reverse=True)
    numbers = st.floats(-1, 1)
    values = data.draw(st.lists(numbers, min_size=len(places), max_size=len(places)))
    target = data.draw(st.floats(places[-1], places[0]))
    want = np.interp(-math.log(target), -np.log(places), values)
    assert value_at(places, values, target) == pytest.approx(want, abs=1e-6)


def test_outside_a_run_there_is_nothing():
    assert math.isnan(value_at([1.0, 0.5], [1.0, 2.0], 0.4))
    assert math.isnan(value_at([0.9, 0.5], [1.0, 2.0], 1.0))
    assert math.isnan(value_at([], [], 1.0))


def test_gaps_are_bridged_and_the_first_crossing_counts():
    assert value_at([4.0, math.nan, 1.0], [0.0, 9.0, 1.0], 2.0) == pytest.approx(0.5)
    assert value_at([4.0, 1.0, 3.0, 0.5], [0.0, 1.0, 5.0, 6.0], 2.0) == pytest.approx(0.5)


def table() -> pd.DataFrame:
    rows = [dict(criterion=DENSE, seed=0, stage=0, live=1.0, value=0.9, speedup=2.0, eager_ms=8.0)]
    for rule, gain in (("lean", 0.1), ("other", 0.0)):
        for seed in (0, 1):
            for stage, live in ((1, 0.1), (2, 0.01)):
                rows.append(
                    dict(
                        criterion=rule,
                        seed=seed,
                        stage=stage,
                        live=live,
                        value=0.8 - 0.2 * stage + gain * stage + 0.01 * seed,
                        speedup=4.0**stage,
                    )
                )
    return pd.DataFrame(rows).assign(network="n", data="d", keep=lambda t: t["live"])


def test_equal_filters():
    values = at_equal(table(), "live", [0.1, math.sqrt(0.001), 0.5], "value")
    means = summarise(values).set_index(["target", "criterion"])
    assert means.loc[(0.1, "lean"), "mean"] == pytest.approx(0.705)
    assert means.loc[(0.1, "lean"), "low"] == pytest.approx(0.70)
    assert means.loc[(0.1, "other"), "high"] == pytest.approx(0.61)
    assert means.loc[(math.sqrt(0.001), "lean"), "mean"] == pytest.approx((0.705 + 0.605) / 2)
    assert (means["runs"] == 2).all()


def test_equal_time_is_by_ratios_to_the_dense_network():
    found = table()
    assert list(place_of(found, "ms")[:3]) == [4.0, 2.0, 0.5]
    values = at_equal(found, "ms", [2.0, 1.0, 0.1], "value")
    means = summarise(values).set_index(["target", "criterion"])["mean"]
    assert means[2.0, "lean"] == pytest.approx(0.705)
    assert means[1.0, "lean"] == pytest.approx((0.705 + 0.605) / 2)
    assert (0.1, "lean") not in means.index
    assert np.isnan(place_of(found.drop(columns="speedup"), "ms")).all()


def test_differences_are_seed_by_seed():
    gaps = differences(judged(table(), "value"), "lean").set_index("target")
    assert gaps.loc[0.1, "mean"] == pytest.approx(0.1)
    assert gaps.loc[0.1, "low"] == pytest.approx(gaps.loc[0.1, "high"])
    assert gaps.loc[0.1, "apart"] == 1
    close = table().assign(value=lambda t: t["value"].where(t["criterion"] != "lean", 0.605))
    gaps = differences(judged(close, "value"), "lean").set_index("target")
    assert gaps.loc[0.1, "apart"] == 0
    assert gaps.loc[0.01, "apart"] == 1
    assert differences(judged(close, "value"), "other").set_index("target").loc[0.01, "apart"] == -1
