"""The statistics against SciPy, against counts by hand, and against made-up truths."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leanline import tuning
from leanline.errors import ConfigError
from leanline.tuning.statistics.recommend import corrected_p_values


def runs_of(samples: dict[tuple[str, str, int], list[float]], **more: object) -> pd.DataFrame:
    """A table of runs from fractions by optimiser, space and budget."""
    rows = [
        (*cell, run, fraction)
        for cell, fractions in samples.items()
        for run, fraction in enumerate(fractions)
    ]
    columns = ["optimiser", "space", "budget", "run", "fraction"]
    return pd.DataFrame(rows, columns=columns).assign(**more)


def normal(mean: float, seed: int, runs: int = 40, spread: float = 0.02) -> list[float]:
    drawn = np.random.default_rng(seed).normal(mean, spread, runs)
    return np.clip(drawn, 0, 1).tolist()


def contest() -> pd.DataFrame:
    """Two spaces: A is best, B as good, C far worse, D was run on one space only."""
    samples = {}
    for at, space in enumerate(("s", "t")):
        samples["A", space, 50] = normal(0.902, at)
        samples["B", space, 50] = normal(0.900, 10 + at)
        samples["C", space, 50] = normal(0.700, 20 + at)
    samples["D", "s", 50] = normal(0.95, 30)
    return runs_of(samples)


def test_holm_by_hand():
    # sorted .01 .02 .03 .04: times 4, 3, 2, 1, then never below the one before
    adjusted = tuning.holm(np.array([0.04, 0.01, np.nan, 0.03, 0.02]))
    assert adjusted[[1, 4, 3, 0]] == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert np.isnan(adjusted[2])
    assert tuning.holm(np.array([0.6, 0.5])).tolist() == [1, 1]
    assert len(tuning.holm(np.empty(0))) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_below_bonferroni(p):
    given_p = np.array(p)
    adjusted = tuning.holm(given_p)
    assert (adjusted >= given_p).all()
    assert (adjusted <= np.minimum(1, len(p) * given_p) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(given_p, kind="stable")]) >= 0).all()


def test_intervals_are_those_of_scipy_and_hold_the_mean():
    skewed = (1 - np.random.default_rng(3).exponential(0.05, 60).clip(0, 1)).tolist()
    samples = {
        ("A", "s", 25): skewed,
        ("A", "s", 50): [0.5] * 60,
        ("B", "s", 25): [0.9],
        ("B", "s", 50): normal(0.8, 0, 30),
    }
    found = tuning.bootstrap_intervals(runs_of(samples), seed=1).set_index(["optimiser", "budget"])
    expected = stats.bootstrap((skewed,), np.mean, n_resamples=9999, rng=0).confidence_interval
    low, high = found.loc[("A", 25), ["low", "high"]]
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=2e-3)
    assert low < np.mean(skewed) < high <= 1
    assert tuple(found.loc[("A", 50), ["mean", "low", "high"]]) == (0.5, 0.5, 0.5)
    assert found.loc[("B", 25), ["low", "high"]].isna().all()
    assert found.loc[("B", 50), "runs"] == 30
    again = tuning.bootstrap_intervals(runs_of(samples), seed=1).set_index(["optimiser", "budget"])
    pd.testing.assert_frame_equal(found, again)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    draws = rng.beta(8, 2, (400, 30))
    samples = {("A", str(at), 25): row.tolist() for at, row in enumerate(draws)}
    found = tuning.bootstrap_intervals(runs_of(samples), level=0.9, resamples=500)
    held = found["low"].le(0.8) & found["high"].ge(0.8)
    assert 0.85 < held.mean() < 0.95


def test_a12_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, 30) / 5, rng.integers(1, 7, 20) / 6
    expected = stats.mannwhitneyu(first, second).statistic / (30 * 20)
    assert tuning.a12(first, second) == pytest.approx(expected)
    assert tuning.a12(np.array([2.0, 3.0]), np.array([1.0])) == 1
    table = tuning.effect_sizes(contest(), "C").set_index(["optimiser", "space"])["a12"]
    assert (table > 0.99).all() and set(table.index.get_level_values(0)) == {"A", "B", "D"}
    with pytest.raises(ConfigError, match="no optimiser"):
        tuning.effect_sizes(contest(), "E")


def test_success_counts_only_the_optimum():
    table = runs_of({("A", "s", 25): [1.0, 1.0, 0.9999999, 0.5], ("B", "s", 25): [0.5]})
    rates = tuning.success_rates(table).set_index("optimiser")
    assert rates["rate"].tolist() == [0.5, 0.0]
    expected = stats.binomtest(2, 4).proportion_ci(0.95, "wilson")
    assert tuple(rates.loc["A", ["low", "high"]]) == pytest.approx((expected.low, expected.high))


def test_ranks_are_friedman_s_and_nemenyi_s():
    rng = np.random.default_rng(0)
    means = rng.integers(1, 9, (8, 4)) / 10  # with ties
    samples = {
        (name, f"space {at}", 25): [means[at, column]] * 2
        for at in range(8)
        for column, name in enumerate("ABCD")
    }
    ranks = tuning.mean_ranks(runs_of(samples), 25)
    assert ranks.p == pytest.approx(stats.friedmanchisquare(*means.T).pvalue)
    expected = stats.rankdata(-means, axis=1).mean(axis=0)
    assert ranks.mean[list("ABCD")].tolist() == pytest.approx(expected)
    # Demsar (2006), Table 5: q of four classifiers at .05 is 2.569
    assert ranks.critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 8)), abs=1e-3)
    assert ranks.spaces == 8
    alike = runs_of({(name, space, 25): [0.5] for name in "AB" for space in "st"})
    assert tuning.mean_ranks(alike, 25).p == 1
    with pytest.raises(ConfigError, match="two of each"):
        tuning.mean_ranks(alike, 50)


def test_the_recommendation_tells_equal_from_worse():
    table = tuning.recommend(contest()).set_index("optimiser")
    verdicts = table["verdict"].to_dict()
    assert {verdicts["A"], verdicts["B"]} == {"best", "not distinguishable"}
    assert verdicts["C"] == "worse" and verdicts["D"] == "incomplete"
    assert table.index[0] in "AB" and table["verdict"].iloc[0] == "best"
    assert table.loc["C", "p"] < 1e-6 and table.loc["C", "better"] > 0.99
    assert np.isnan(table["p"].iloc[0]) and np.isnan(table.loc["D", "p"])
    assert (table["low"] < table["mean"]).all() and (table["mean"] < table["high"]).all()


def test_on_one_space_the_test_is_welch_s():
    first, second = np.array(normal(0.8, 0, 20)), np.array(normal(0.82, 1, 35, 0.1))
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert corrected_p_values([[first], [second]])[0, 1] == pytest.approx(expected)
    third = np.array(normal(0.7, 2))
    corrected = corrected_p_values([[first], [second], [third]])
    assert (corrected == corrected.T).all() and (np.diag(corrected) == 1).all()
    assert corrected[0, 1] >= expected


def test_equals_are_rarely_called_worse():
    """Eight equal optimisers on two spaces: the chance of any "worse" stays below alpha."""
    rng = np.random.default_rng(0)
    wrong = sum(
        (corrected_p_values([list(each) for each in rng.beta(8, 2, (8, 2, 30))]) < 0.05).any()
        for _ in range(200)
    )
    assert wrong <= 18  # of 200; 5 % is 10, and 18 is beyond 99 % of what chance gives


def test_runs_without_spread_or_fellows():
    equal = {("A", "s", 25): [1.0] * 3, ("B", "s", 25): [1.0] * 3, ("C", "s", 25): [0.5] * 3}
    table = runs_of(equal, evaluations=25)
    table.loc[table["optimiser"] == "B", "evaluations"] = 7
    found = tuning.recommend(table)
    # of two that are equal, the one that needs fewer evaluations comes first
    assert found["optimiser"].tolist() == ["B", "A", "C"]
    assert found["verdict"].tolist() == ["best", "not distinguishable", "worse"]
    single = tuning.recommend(runs_of({("A", "s", 25): [0.9], ("B", "s", 25): [0.1]}))
    assert single["verdict"].tolist() == ["best", "not distinguishable"]
    assert single["p"].isna().all()
    nobody = runs_of({("A", "s", 25): [0.9, 0.8], ("B", "t", 25): [0.1, 0.2]})
    assert set(tuning.recommend(nobody)["verdict"]) == {"incomplete"}


@pytest.mark.parametrize(
    "statistic",
    [
        tuning.bootstrap_intervals,
        tuning.success_rates,
        tuning.recommend,
        tuning.competition,
        lambda table: tuning.effect_sizes(table, "A"),
        lambda table: tuning.mean_ranks(table, 50),
    ],
)
def test_protocols_are_never_mixed(statistic):
    table = contest()
    paper = pd.concat([table.assign(protocol="paper"), table.assign(protocol="valid")])
    drawn = pd.concat([table.assign(times="mean"), table.assign(times="drawn")])
    for mixed, what in ((paper, "protocol"), (drawn, "times")):
        with pytest.raises(ConfigError, match=f"mixes runs of different {what}"):
            statistic(mixed)
    if statistic is not tuning.competition:  # which also takes summaries
        for wrong, words in (
            (pd.concat([table, table]), "twice"),
            (table.assign(fraction=1.5), "between 0 and 1"),
            (table.drop(columns="budget"), "no column 'budget'"),
            (table[:0], "no runs"),
        ):
            with pytest.raises(ConfigError, match=words):
                statistic(wrong)


def test_levels_that_cannot_be():
    for options in ({"level": 1.0}, {"resamples": 3}):
        with pytest.raises(ConfigError):
            tuning.bootstrap_intervals(contest(), **options)
    with pytest.raises(ConfigError):
        tuning.recommend(contest(), alpha=0)
