import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from leanline.errors import ConfigError
from leanline.tuning import TimingPolicy
from leanline.tuning.measuring.timing import median_interval


@given(st.integers(1, 200))
def test_interval_of_the_median_has_the_ranks_of_the_binomial(count):
    low, high = median_interval(list(range(1, count + 1)))
    rank = int(scipy.stats.binom.ppf(0.025, count, 0.5))  # the least r with P(X <= r) >= 0.025
    if rank == 0:
        assert (low, high) == (-math.inf, math.inf)
        assert count < 6
    else:
        # P(X <= rank - 1) < 0.025, so that the rank-th sample from either end will do
        assert (low, high) == (rank, count + 1 - rank)


def test_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for count in (6, 15, 40):
        draws = rng.lognormal(size=(4000, count))
        inside = [low <= 1.0 <= high for low, high in map(median_interval, draws.tolist())]
        assert np.mean(inside) >= 0.94


def test_repeats_until_narrow_or_a_limit():
    policy = TimingPolicy(least=7, most=20, narrow=0.02, seconds=1.0)
    steady, shaky = [1.0] * 7, [1.0, 2.0] * 10
    assert not policy.is_enough(steady[:6], 0.5)
    assert policy.is_enough(steady, 0.0)
    assert not policy.is_enough(shaky[:19], 0.5)
    assert policy.is_enough(shaky, 0.5)  # most
    assert policy.is_enough(shaky[:3], 1.0)  # seconds
    assert not policy.is_enough(shaky[:2], 9.0)


@pytest.mark.parametrize(
    "wrong", [{"least": 0}, {"narrow": 0.0}, {"most": 3}, {"leaders": -1}, {"run_limit": math.nan}]
)
def test_policies_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="TimingPolicy"):
        TimingPolicy(**wrong)
