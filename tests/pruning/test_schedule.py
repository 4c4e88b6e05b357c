"""The ratios of Algorithm 1."""

import itertools
import math

import pytest

from leanline.errors import ConfigError
from leanline.pruning import Schedule


def test_equal_ratios_down_to_the_end() -> None:
    schedule = Schedule(keep=0.01, steps=45)
    fractions = schedule.fractions()
    assert len(fractions) == 45 and fractions[-1] == 0.01
    ratio = math.exp(math.log(0.01) / 45)  # stepRatio of Algorithm 1
    assert fractions[0] == pytest.approx(ratio)
    assert all(b / a == pytest.approx(ratio) for a, b in itertools.pairwise(fractions))
    assert schedule.keep_at(45) == 0.01


def test_counts() -> None:
    assert Schedule(0.05, 3).counts(1275) == (470, 173, 64)
    assert Schedule(1e-6).counts(10) == (1,)
    assert Schedule(1.0, 2).counts(7) == (7, 7)


@pytest.mark.parametrize("bad", [0.0, -0.5, 1.5, math.nan])
def test_bad_keep(bad: float) -> None:
    with pytest.raises(ConfigError, match="keep is"):
        Schedule(keep=bad, steps=3)


@pytest.mark.parametrize("bad", [0, -1, True])
def test_bad_steps(bad: float) -> None:
    with pytest.raises(ConfigError, match="steps is"):
        Schedule(keep=0.5, steps=bad)
    with pytest.raises(ConfigError, match="stages 1 to 3"):
        Schedule(0.5, 3).keep_at(4)
