"""Measured spaces through files: what comes back, and files that are damaged."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leanline.errors import ConfigError, DataError
from leanline.tuning import Measurements, Replay, SearchSpace, read_measurements, write_measurements
from tuning_spaces import measured, small_space

FILES = [("x.parquet", "parquet"), ("x.json", "kernel-tuner"), ("x.json.gz", "kernel-tuner")]
FILES += [("x.json", "t4"), ("x.json.gz", "t4")]


def rows(measurements: Measurements) -> dict:
    """Everything that was measured, by configuration, whatever the codes are."""
    return {
        tuple(sorted(measurements.space.decode(int(code)).items())): (
            float(time),
            tuple(samples.tolist()),
            measurements.failures.get(int(code), ""),
        )
        for code, time, samples in zip(
            measurements.codes, measurements.times, measurements.samples, strict=True
        )
    }


@pytest.mark.parametrize(("name", "kind"), FILES)
def test_what_is_written_is_read(tmp_path, name, kind):
    given = measured(small_space())
    write_measurements(given, tmp_path / name, kind)
    read = read_measurements(tmp_path / name)
    assert rows(read) == rows(given)
    assert (read.kernel, read.device, read.best_time) == ("kernel", "device", given.best_time)
    assert Replay(tmp_path / name).optimum == given.best_time


def test_a_chain_of_conversions_loses_nothing_measured(tmp_path):
    given = measured(small_space())
    now = given
    for at, (name, kind) in enumerate(FILES * 2):
        write_measurements(now, tmp_path / f"{at}-{name}", kind)
        now = read_measurements(tmp_path / f"{at}-{name}")
    assert rows(now) == rows(given)


def test_the_space_of_a_parquet_file_comes_back(tmp_path):
    given = measured(small_space())
    write_measurements(given, tmp_path / "x.parquet", "parquet")
    space = read_measurements(tmp_path / "x.parquet").space
    assert (space.names, space.values) == (given.space.names, given.space.values)
    assert space.valid_codes().tolist() == given.space.valid_codes().tolist()
    functions = SearchSpace({"a": [1, 2]}, [lambda row: row["a"] > 1])
    with pytest.raises(ConfigError, match="Python functions"):
        write_measurements(measured(functions), tmp_path / "y.parquet", "parquet")


def test_a_parameter_of_text_and_numbers(tmp_path):
    given = measured(SearchSpace({"tile": ["auto", 8, 16], "b": [1, 2]}, ["b == 1"]))
    for name, kind in FILES:
        write_measurements(given, tmp_path / name, kind)
        assert rows(read_measurements(tmp_path / name)) == rows(given)


@pytest.mark.parametrize(
    "about",
    [
        {"tune_params": {"x": 3}},
        {"tune_params": {"x": [1]}, "restrictions": "x > 0"},
        {"tune_params": {"x": [1]}, "restrictions": [None]},
        {"tune_params": {"x": [1]}, "fixed_params": [1]},
        {"tune_params": {"x": [1]}, "fixed_params": {"y": [1]}},
        {"tune_params": {"x": [1]}, "fixed_params": {"y": 10**400}},
    ],
)
def test_spaces_of_parquet_files_that_cannot_be(tmp_path, about):
    table = pa.table({"x": [1], "time_mean": [1.0]})
    table = table.replace_schema_metadata({"autotune_space": json.dumps(about)})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet"):
        read_measurements(tmp_path / "x.parquet")


def cache(**changes) -> dict:
    """A cache as Kernel Tuner writes it, by hand."""
    return {
        "device_name": "GPU",
        "kernel_name": "add",
        "tune_params_keys": ["x", "y"],
        "tune_params": {"x": [1, 2], "y": [1, 2]},
        "cache": {
            "1,1": {"x": 1, "y": 1, "time": 2.5, "times": [2.0, 3.0], "GFLOP/s": 3.0},
            "1,2": {"x": 1, "y": 2, "time": 1e20},
            "2,1": {"x": 2, "y": 1, "time": "CompilationFailedConfig"},
        },
    } | changes


def t4(**changes) -> dict:
    good = {"configuration": {"x": 1}, "times": {"runtimes": [2.0, 4.0]}, "correctness": 1}
    bad = {"configuration": {"x": 2}, "times": {}, "correctness": 0, "invalidity": "timeout"}
    return {"schema_version": "1.0.0", "results": [good | {"invalidity": "correct"}, bad]} | changes


def write(path, content) -> None:
    path.write_text(json.dumps(content))


def test_files_of_others(tmp_path):
    file = tmp_path / "x.json"
    write(file, cache())
    read = read_measurements(file)
    assert rows(read) == {
        (("x", 1), ("y", 1)): (2.5, (2.0, 3.0), ""),
        (("x", 1), ("y", 2)): (np.inf, (np.inf, np.inf), ""),
        (("x", 2), ("y", 1)): (np.inf, (np.inf, np.inf), "compile"),
    }
    write(file, t4())
    read = read_measurements(file)
    assert read.times.tolist() == [3.0, np.inf] and read.failures == {1: "timeout"}
    seconds = [{"name": "time", "value": 0.5, "unit": "seconds"}]
    write(file, t4(results=[t4()["results"][0] | {"measurements": seconds}]))
    assert read_measurements(file).times.tolist() == [500.0]


ONE = {"x": 1, "y": 1, "time": 1.0}
DAMAGED = [
    (cache(schema_version="2.0.0"), "version '2.0.0'"),
    (cache(schema_version=1), "version 1"),
    (t4(schema_version="0.9.0"), "version '0.9.0'"),
    (cache(tune_params={"x": [1]}), "no list of values for 'y'"),
    (cache(cache={}), "no configurations"),
    (cache(cache=[1]), "is a list"),
    (cache(cache={"k": 3}), "is a int"),
    (cache(cache={"k": {"x": 1, "time": 1.0}}), "no value of 'y'"),
    (cache(cache={"k": ONE | {"x": 7}}), "7"),
    (cache(cache={"a": ONE, "b": ONE}), "twice"),
    (cache(cache={"k": ONE | {"time": -1.0}}), "-1.0 ms"),
    (cache(cache={"k": ONE | {"time": 0}}), "0.0 ms"),
    (cache(cache={"k": ONE | {"time": float("nan")}}), "nan ms"),
    (cache(cache={"k": ONE | {"time": None}}), "a number is wanted"),
    (cache(cache={"k": ONE | {"times": [1.0, -2.0]}}), "-2.0 ms"),
    (cache(cache={"k": ONE | {"time": "RuntimeFailedConfig"}}), "no configuration that ran"),
    (cache(cache={"k": ONE | {"time": "2.0"}}), "is the text '2.0'"),
    (cache(cache={"k": ONE | {"time": 10**400}}), "too large"),
    (cache(cache={"k": ONE | {"x": [1]}}), r"given as \[1\]"),
    (cache(tune_params_keys=[["x"], "y"]), "is no name"),
    (t4(results=[]), "no configurations"),
    (t4(results=[{"configuration": {}}]), "invalidity"),
    (t4(results=[t4()["results"][1] | {"invalidity": "odd"}]), "'odd'"),
    (t4(results=[t4()["results"][0], t4()["results"][1] | {"configuration": {"z": 1}}]), "other"),
    ({"something": 1}, "neither"),
    (cache(cache={"k": ONE | {"time": 10**400}}), "too large to be a time"),
    (cache(cache={"k": ONE | {"times": [1e39]}}), "infinite single time"),
    (cache(cache={"k": ONE | {"x": [1]}}), "x was given as "),
    (cache(tune_params_keys=[{}]), "which is no name"),
    (cache(tune_params={"x": [1, [2]], "y": [1]}), "numbers, text and truth"),
    (t4(results=[t4()["results"][0] | {"configuration": {"x": None}}]), "gives x as None"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_what_cannot_be_is_refused(tmp_path, content, message):
    file = tmp_path / "x.json"
    write(file, content)
    with pytest.raises(DataError, match=message) as caught:
        read_measurements(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "kernel-tuner", "t4"])
@pytest.mark.parametrize("zipped", ["", ".gz"])
def test_cut_files(tmp_path, kind, zipped):
    if kind == "parquet" and zipped:
        return
    file = tmp_path / ("x.parquet" if kind == "parquet" else f"x.json{zipped}")
    write_measurements(measured(small_space()), file, kind)
    content = file.read_bytes()
    for length in (0, 1, 10, len(content) // 2, len(content) - 2):
        file.write_bytes(content[:length])
        with pytest.raises(DataError):
            read_measurements(file)


def test_files_that_are_something_else(tmp_path, monkeypatch):
    file = tmp_path / "x.json"
    others = ((b"\xff\xfe", "no JSON"), (b"[1]", "list"), (b"[" * 99999, "JSON"))
    for content, message in (*others, (b"9" * 5000, "no JSON")):
        file.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_measurements(file)
    with pytest.raises(DataError, match="there is no file"):
        read_measurements(tmp_path / "none.json")
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(DataError, match=r"\.parquet, \.json"):
        read_measurements(tmp_path / "x.csv")
    monkeypatch.setattr("leanline.tuning.files.text.LARGEST", 1000)
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(b" " * 100_000))
    with pytest.raises(DataError, match="more than"):
        read_measurements(bomb)


def test_the_paper_s_data(shared_data):
    replay = Replay(shared_data / "tuning_spaces" / "gemm_V100.parquet", times="drawn")
    assert replay.name == "gemm V100" and replay.optimum == 11.104825
    assert len(replay.measurements.codes) == len(replay.space.valid_codes()) == 17_956
    assert replay.measurements.samples.shape == (17_956, 32)
