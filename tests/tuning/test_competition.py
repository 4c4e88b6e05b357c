"""Competition counts against SciPy's t-test, and by hand; the benchmark's table."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from leanline import tuning
from leanline.errors import ConfigError
from leanline.records.cluster import Cluster
from leanline.tuning.competition import p_values
from tuning_spaces import replay


def made_up() -> pd.DataFrame:
    """Three optimisers, two spaces, budgets 25 and 400; A is far better than B, C in between."""
    rows = []
    for space in ("s", "t"):
        for budget in (25, 400):
            for name, mean in (("A", 0.9), ("B", 0.5), ("C", 0.89 if space == "s" else 0.7)):
                rows.append((name, space, budget, mean, 0.1, 50))
    columns = ["optimiser", "space", "budget", "mean", "std", "runs"]
    return pd.DataFrame(rows, columns=columns)


def test_counts_by_hand():
    # sd .1, n 50: the error of a difference is .02, so .01 apart is nothing and .2 is ten of them
    result = tuning.competition(made_up(), split=200)
    expected = [[0, 0, 0], [2, 0, 2], [1, 0, 0]]
    assert result.low.to_numpy().tolist() == result.high.to_numpy().tolist() == expected
    assert list(result.low.index) == list(result.low.columns) == ["A", "B", "C"]
    assert result.low.to_numpy().dtype.kind == "i"
    assert tuning.competition(made_up(), split=400).low.loc["B", "A"] == 4
    # the error with n = 1000 is .0045: .01 apart counts now
    assert tuning.competition(made_up(), n=1000).low.loc["C", "A"] == 2


def test_p_values_are_those_of_scipy():
    rng = np.random.default_rng(0)
    mean, std = rng.uniform(0.8, 0.9, 6), rng.uniform(0.0, 0.1, 6)
    runs = np.array([5.0, 20, 50, 50, 50, 100])
    for i in range(6):
        for j in range(6):
            expected = stats.ttest_ind_from_stats(
                mean[i], std[i], runs[i], mean[j], std[j], runs[j]
            ).pvalue
            assert p_values(mean, std, runs)[i, j] == pytest.approx(expected, rel=1e-9)
    certain = p_values(np.array([1.0, 1.0, 0.5]), np.zeros(3), np.full(3, 50.0))
    assert certain.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_a_missing_optimiser_counts_nowhere():
    table = made_up()
    table = table[~((table["optimiser"] == "A") & (table["budget"] == 400))]
    assert tuning.competition(table).high.loc["B"].tolist() == [0, 0, 2]


def test_what_is_refused():
    for options in ({"alpha": 0.0}, {"alpha": 1.5}, {"n": 1}):
        with pytest.raises(ConfigError):
            tuning.competition(made_up(), **options)
    with pytest.raises(ConfigError, match="no column"):
        tuning.competition(pd.DataFrame({"mean": [1.0]}))
    with pytest.raises(ConfigError, match="twice"):
        tuning.competition(pd.concat([made_up(), made_up()]))
    runs = pd.DataFrame(
        {"optimiser": "A", "space": "s", "budget": 25, "run": [0, 1], "fraction": 0.5}
    )
    with pytest.raises(ConfigError, match="a run twice"):
        tuning.competition(pd.concat([runs, runs]))


def test_the_benchmark_s_table(tmp_path):
    contestants = [tuning.RandomSampling(), tuning.FirstMLS]
    asked = dict(budgets=(3, 25), runs=4, seed=1, protocol="paper")
    table = tuning.benchmark(contestants, [replay()], **asked)
    assert len(table) == 2 * 2 * 4
    assert (table["evaluations"] <= table["budget"]).all()
    assert table["fraction"].between(0, 1).all()
    kept = tuning.benchmark(contestants, [replay()], out=tmp_path, **asked)
    again = tuning.benchmark(contestants, [replay()], out=tmp_path, **asked)
    pd.testing.assert_frame_equal(kept, again)  # the seconds too: nothing was run
    same = [name for name in table.columns if name != "seconds"]
    pd.testing.assert_frame_equal(table[same], kept[same])
    summary = tuning.summarise(table)
    cell = table[(table["optimiser"] == "FirstMLS") & (table["budget"] == 25)]["fraction"]
    row = summary[(summary["optimiser"] == "FirstMLS") & (summary["budget"] == 25)].iloc[0]
    assert (row["mean"], row["runs"]) == (pytest.approx(cell.mean()), 4)
    assert row["std"] == pytest.approx(np.std(cell, ddof=1))
    with pytest.raises(ConfigError, match="none twice"):
        tuning.benchmark([tuning.FirstMLS, tuning.FirstMLS()], [replay()])
    with pytest.raises(ConfigError, match="no settings"):
        tuning.benchmark([tuning.GaussianProcess], [replay()], runs=1)


def test_the_paper_s_settings():
    assert tuning.paper_settings(tuning.FirstILS, budget=200) == tuning.FirstILS(
        walk=1.0, no_improve=25, neighbourhood="hamming", after_move="continue"
    )
    assert tuning.paper_settings(tuning.GeneticAlgorithm, budget=1600).population == 320
    # in between: those of the next larger budget
    assert tuning.paper_settings(tuning.FirstTabu, 30) == tuning.FirstTabu(tabu_size=4)
    with pytest.raises(ConfigError, match="at least 1"):
        tuning.paper_settings(tuning.FirstMLS, 0)


def test_workers_make_the_same_table(tmp_path):
    asked = dict(budgets=(5, 20), runs=3, protocol="paper", out=tmp_path)
    contestants = [tuning.RandomSampling, tuning.DifferentialEvolution]
    there = tuning.benchmark(contestants, [replay()], cluster=Cluster(workers=1), **asked)
    kept = tuning.benchmark(contestants, [replay()], **asked)
    pd.testing.assert_frame_equal(there, kept)  # from the folder
    here = tuning.benchmark(contestants, [replay()], **{**asked, "out": None})
    same = [name for name in here.columns if name != "seconds"]
    pd.testing.assert_frame_equal(there[same], here[same])


def test_holm_takes_chance_wins_away():
    rows = [("A", 0.90), ("B", 0.90), ("C", 0.858), ("D", 0.2)]
    table = pd.DataFrame(
        [(name, "s", 25, mean, 0.1, 50) for name, mean in rows],
        columns=["optimiser", "space", "budget", "mean", "std", "runs"],
    )
    # .042 apart with an error of .02: p = .038, and thrice that or more after correction
    assert tuning.competition(table).low.loc["C"].tolist() == [1, 1, 0, 0]
    corrected = tuning.competition(table, correction="holm").low
    assert corrected.loc["C"].tolist() == [0, 0, 0, 0]
    assert corrected.loc["D"].tolist() == [1, 1, 1, 0]
