"""Measurements from a data frame; the spaces that come with leanline."""

import numpy as np
import pandas as pd
import pytest

from leanline import tuning
from leanline.errors import DataError
from leanline.tuning import embedded

SPACE = tuning.SearchSpace({"x": [16, 32, 64], "unit": ["a", "b"]}, ["x <= 32 or unit == 'a'"])


def test_rows_become_measurements(tmp_path):
    table = pd.DataFrame(
        {
            "x": [32, 16, 16, 64, 64, 32],
            "unit": ["a", "a", "a", "a", "a", "b"],
            "time": [2.0, 1.0, 3.0, 9.0, np.inf, None],
            "failure": ["", "", "", "", "timeout", None],
        }
    )
    found = tuning.from_table(SPACE, table.iloc[1:], kernel="blur", device="A100")
    assert found.name == "blur A100"
    assert found.time(SPACE.encode({"x": 16, "unit": "a"})) == 2.0
    assert found.samples.shape == (3, 2) and found.samples[0].tolist() == [1.0, 3.0]
    assert found.failures == {SPACE.encode({"x": 64, "unit": "a"}): "timeout"}
    assert np.isinf(found.time(SPACE.encode({"x": 32, "unit": "b"})))
    # a configuration of which only one time is known: there is nothing to draw
    assert tuning.from_table(SPACE, table, kernel="blur").samples.shape[1] == 0
    tuning.write_measurements(found, tmp_path / "blur.parquet", "parquet")
    again = tuning.Replay(tmp_path / "blur.parquet").measurements
    assert (again.times == found.times).all() and again.failures == found.failures


def test_tables_that_are_refused():
    good = pd.DataFrame({"x": [16], "unit": ["a"], "time": [1.0]})
    for wrong, words in (
        (good.drop(columns="unit"), "no column 'unit'"),
        (good.assign(time="fast"), "no numbers"),
        (good.assign(x=17), "none of its"),
        (good.assign(time=-1.0), "cannot be"),
        (good.assign(time=np.inf), "no configuration that ran"),
        (good[:0], "no configurations"),
        (good.assign(x="16"), r"'16', which is none of its 3 values \(16, 32, 64\)"),
        (good.assign(x=64, unit="b"), "1 ms .* breaks a constraint"),
    ):
        with pytest.raises(DataError, match=words):
            tuning.from_table(SPACE, wrong, kernel="blur")


def test_embedded_spaces_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path / "spaces")
    assert tuning.embedded_spaces() == ()
    (tmp_path / "spaces").mkdir()
    for name in ("b.parquet", "a.parquet", "readme.md"):
        (tmp_path / "spaces" / name).touch()
    assert [file.name for file in tuning.embedded_spaces()] == ["a.parquet", "b.parquet"]


def test_the_spaces_that_come_with_leanline_can_be_replayed():
    for file in tuning.embedded_spaces():
        assert tuning.Replay(file).name
