"""The report of a tuning benchmark: the numbers of its figures, and the page."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from leanline import tuning
from leanline.errors import RunError
from leanline.experiments.tune_bench.facts import space_facts
from leanline.experiments.tune_bench.run import RESULTS, SETTINGS
from leanline.report.tune_bench import build_tune_bench
from leanline.report.tune_bench.heatmaps import heatmap_data, splits_of
from leanline.report.tune_bench.page import sentences
from leanline.report.tune_bench.scores import score_data
from leanline.report.tune_bench.traces import FAMILIES, trace_data
from tuning_spaces import measured, small_space

from .test_build import EVIL, Page

FOURTEEN = tuple(name for names in FAMILIES.values() for name in names)[:14]


def made_up(optimisers=("A", "B"), spaces=("s",), budgets=(25, 400), runs=6) -> pd.DataFrame:
    """Runs of which the first optimiser's are the best, and the last's the worst."""
    rng = np.random.default_rng(0)
    rows = [
        (name, space, budget, run, 0.95 - 0.04 * place + 0.03 * rng.random(), budget - run)
        for place, name in enumerate(optimisers)
        for space in spaces
        for budget in budgets
        for run in range(runs)
    ]
    columns = ["optimiser", "space", "budget", "run", "fraction", "evaluations"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(kernel=table["space"].str[:1], protocol="valid", times="mean")


def folder_of(path, table, names=None):
    """A folder as the command leaves it, of a made-up table."""
    spaces = []
    for seed, name in enumerate(table["space"].unique()):
        measurements = replace(measured(small_space(), seed), kernel=str(name), device="")
        file = path / f"{seed}.parquet"
        path.mkdir(exist_ok=True)
        file.write_bytes(bytes(seed))
        spaces.append(space_facts(file, tuning.Replay(measurements)))
    optimisers = list(table["optimiser"].unique())
    config = {"runs": 6, "seed": 3, "protocol": "valid", "times": "mean", "alpha": 0.05}
    settings = {
        "config": {**config, "test_runs": None, "optimisers": optimisers},
        "settings": {name: {"walk": 0.1} for name in optimisers},
        "spaces": spaces,
        "versions": {"leanline": "1.2.3"},
        "command": "leanline tune-bench x.parquet",
    }
    (path / SETTINGS).write_text(json.dumps(settings))
    table.to_parquet(path / RESULTS)
    return path


def test_lines_are_means_with_the_error_bars_that_they_name():
    table = made_up()
    found = trace_data(table, "s", "deviation")
    assert found.bars == "one standard deviation of 6 runs, up and down"
    line = found.lines[0]
    cell = table[(table["optimiser"] == "A") & (table["budget"] == 400)]
    assert line.name == "A" and line.evaluations == (22.5, 397.5)
    assert line.mean[1] == pytest.approx(np.mean(cell["fraction"]))
    assert line.high[1] - line.mean[1] == pytest.approx(np.std(cell["fraction"], ddof=1))
    interval = trace_data(table, "s", "interval")
    assert "bootstrap intervals of the mean of 6 runs" in interval.bars
    assert interval.lines[0].low[1] < line.mean[1] < interval.lines[0].high[1]


def test_every_optimiser_is_in_one_panel():
    few = trace_data(made_up(FOURTEEN[:6]), "s", "deviation").panels()
    assert list(few) == [""] and len(few[""]) == 6
    names = (*FOURTEEN, *(f"mine {index}" for index in range(8)))
    panels = trace_data(made_up(names), "s", "deviation").panels()
    assert sorted(line.name for lines in panels.values() for line in lines) == sorted(names)
    assert max(map(len, panels.values())) <= 6
    assert [*FAMILIES, "Others (1)", "Others (2)"] == list(panels)


def test_maps_are_the_competition_s():
    table = made_up(("A", "B", "C"), ("s", "t"))
    found = heatmap_data(table, 200, 0.05, None, "none")
    low, high = found.maps
    expected = tuning.competition(table, 200)
    assert low.counts.tolist() == expected.low.to_numpy().tolist()
    assert (low.budgets, high.budgets, low.cells) == ("budget 25", "budget 400", 2)
    assert low.counts[2, 0] == 2 and low.counts[0, 2] == 0  # the column wins
    assert found.runs == "the true n = 6"
    assert heatmap_data(table, 200, 0.05, 100, "holm").runs == "n = 100 (the true n = 6)"
    assert splits_of([25, 400]) == (200, 100)
    assert splits_of([25, 50]) == (50,)
    assert len(heatmap_data(table, 400, 0.05, None, "none").maps) == 1


def test_a_space_that_a_later_call_added_has_no_section_yet(tmp_path):
    folder = folder_of(tmp_path / "run", made_up(("A", "B"), ("s", "t")))
    made_up(("A", "B"), ("s",)).to_parquet(folder / RESULTS)
    text = build_tune_bench(folder).read_text()
    assert 'id="space-s-' in text and 'id="space-t-' not in text


def test_scores_and_sentences():
    table = made_up(("A", "B"), budgets=(25, 50, 100))
    table.loc[(table["budget"] == 100) & (table["optimiser"] == "A"), "fraction"] -= 0.5
    recommended = tuning.recommend(table)
    assert sentences(recommended) == [
        "For 25 to 50 evaluations use A.",
        "For 100 evaluations use B.",
    ]
    alike = made_up(tuple("ABCDEFG"), budgets=(25,)).assign(fraction=0.5)
    assert sentences(tuning.recommend(alike)) == [
        "For 25 evaluations use A; as good, as far as can be told: 6 others."
    ]
    scores = score_data(recommended)
    assert scores.names == ("B", "A")  # over all budgets
    assert [score.verdict for score in scores.budgets[25]] == ["best", "worse"]


@pytest.mark.parametrize(
    "table",
    [
        made_up(FOURTEEN[4:12], ("conv X", "gemm X"), (25, 100, 200, 400)),
        made_up(("A",)),
        made_up(("A", "B"), budgets=(25,), runs=1),
        made_up().assign(fraction=0.0),
        made_up().assign(fraction=1.0, evaluations=1),
    ],
    ids=["full", "one optimiser", "one run", "nothing ran", "all found"],
)
def test_a_page_stands_alone_and_is_accessible(tmp_path, table):
    file = build_tune_bench(folder_of(tmp_path / "x", table))
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not re.search(r"url\(\s*['\"]?(?!#)", text) and "@import" not in text
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert all(page.images)
    assert all(scope in ("col", "row", "rowgroup") for scope in page.cells)
    assert page.tags.count("h1") == 1
    assert all(name in page.words for name in table["optimiser"].unique())
    assert "leanline tune-bench x.parquet" in page.words and "1.2.3" in page.words
    figures = sorted(each.name for each in (file.parent / "figures").glob("*.svg"))
    assert "scores.svg" in figures
    assert len([name for name in figures if name.startswith("space-")]) == 2 * len(
        table["space"].unique()
    )


def test_what_comes_from_files_is_escaped(tmp_path):
    page = Page(
        build_tune_bench(folder_of(tmp_path / "x", made_up((EVIL, "B"), (EVIL, "t")))).read_text()
    )
    assert "script" not in page.tags
    assert page.tags.count("style") == 1
    assert page.words.count('<script>alert("x")</script>') > 5


def test_unfinished_and_damaged_folders(tmp_path):
    folder = folder_of(tmp_path / "x", made_up())
    (folder / RESULTS).unlink()
    assert "Not finished" in Page(build_tune_bench(folder).read_text()).words
    (folder / RESULTS).write_bytes(b"cut")
    with pytest.raises(RunError, match="cannot be read"):
        build_tune_bench(folder)
    (folder / SETTINGS).write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        build_tune_bench(folder)
    with pytest.raises(RunError, match="cannot be read"):
        build_tune_bench(tmp_path)
