"""`leanline tune`, on PoCL where it is installed."""

import json

import pytest

from leanline import tuning
from leanline.cli.tune import _gist
from tuning_kernels import needs_opencl

SMALL = {
    "convolution": (
        ["width=40", "height=24", "filter_size=5"],
        ["block_size_x=8,16", "block_size_y=8", "tile_size_x=1,2", "tile_size_y=1"],
    ),
    "gemm": (
        ["m=32", "n=64", "k=64"],
        ["MWG=16,32", "NWG=32", "MDIMC=8", "NDIMC=8", "MDIMA=8", "NDIMB=8", "VWM=1,2", "VWN=2"],
    ),
    "point-in-polygon": (
        ["points=300", "vertices=20"],
        ["block_size_x=32,64", "tile_size=1,4", "use_method=1"],
    ),
}


def arguments(kernel):
    sizes, values = SMALL[kernel]
    given = [word for size in sizes for word in ("--set", size)]
    return [kernel, *given, *(word for value in values for word in ("--values", value))]


@pytest.mark.parametrize("kernel", list(SMALL))
def test_the_kernels_tune_end_to_end(kernel, leanline, tmp_path):
    needs_opencl()
    out = tmp_path / "run"
    call = ["tune", *arguments(kernel), "--backend", "opencl", "--out", out, "--json"]
    call += ["--seconds", 0.1]
    outcome = leanline(*call, "--budget", 4, "--algorithm", "first-ils")
    assert outcome.code == 0, outcome.stderr
    found = outcome.json
    assert found["evaluations"] == 4 and found["failures"] == {}
    assert found["device"] and found["best_ms"] > 0
    first = found["leaders"][0]
    assert first["configuration"] == found["best_configuration"]
    assert first["median_ms"] == found["best_ms"]
    assert [row["median_ms"] for row in found["leaders"]] == sorted(
        row["median_ms"] for row in found["leaders"]
    )
    # the folder replays, and another search begins with what it holds
    replay = tuning.Replay(out / "space.parquet")
    assert replay.name and len(replay.measurements.codes) == 4
    trace = tuning.minimize(replay, tuning.BruteForce(), budget=1000)
    assert trace.best_code in replay.measurements.codes and trace.fraction_of_optimum == 1.0
    before = (out / "measured.jsonl").read_text()
    again = leanline(*call, "--budget", 4)
    assert again.json["best_configuration"] == found["best_configuration"]
    assert (out / "measured.jsonl").read_text() == before


def test_own_kernels_tune(leanline, tmp_path):
    out = tmp_path / "run"
    call = ["tune", "tuning_kernels:in_process", "--out", out, "--algorithm", "BruteForce"]
    outcome = leanline(*call, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["evaluations"] == 192
    assert outcome.json["failures"] == {"runtime": 24}
    names = [path.rsplit("/", 1)[-1] for path in outcome.json["files"]]
    assert names == ["space.parquet", "kernel-tuner.json", "t4.json"]
    shown = leanline(*call).stdout
    assert "192 of 192 configurations" in shown and "runtime: 24" in shown
    assert "out of resources" in shown
    about = json.loads((out / "kernel.json").read_text())
    assert about["kernel"] == "in_process"
    # a search that misses the best of the folder says that it is there
    assert "another search" not in shown
    missed = leanline("tune", "tuning_kernels:in_process", "--out", out, "--budget", 2).stdout
    assert "another search into this folder measured less: " in missed
    # the folder stands for its space
    call = ["tune-bench", out, "--optimisers", "random-sampling,FirstMLS"]
    bench = leanline(*call, "--budgets", 4, "--runs", 2, "--out", tmp_path / "bench", "--json")
    assert bench.code == 0, bench.stderr
    assert bench.json["runs"] == 2 * 2
    # of another kernel only that is told
    other = leanline("tune", "tuning_kernels:misnamed", "--out", out)
    assert 'kernel was "in_process", now "misnamed". Choose' in other.stderr


def test_of_a_compiler_the_error_is_shown():
    said = "RuntimeError: " + 20 * "clBuildProgram failed: " + "error: a.cl:1:2: no variable 'x'"
    assert _gist(said) == "error: a.cl:1:2: no variable 'x'"
    assert _gist("OutOfMemory") == "OutOfMemory"
    assert len(_gist(1000 * "a")) < 210


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convolutoin"], "did you mean 'convolution'"),
        (["tuning_kernels:nothing", "--algorithm", "climb"], "there is no optimiser 'climb'"),
        (["gemm", "--set", "width=3"], "has no setting 'width'"),
        (["gemm", "--set", "m=three"], "must be a whole number"),
        (["gemm", "--values", "MWG=17"], "MWG has no value '17'"),
        (["gemm", "--values", "WGM=16"], "there is no parameter 'WGM'"),
        (["gemm", "--algorithm", "first-isl"], "did you mean 'first-ils'"),
        (["tuning_kernels:in_process", "--values", "a=1"], "has its own lists"),
        (["tuning_kernels:in_process", "--backend", "opencl"], "says its own"),
        (["tuning_kernels:in_process", "--device", "1"], "takes no 'device'"),
        (["tuning_kernels:in_process", "--time-out", "5"], "takes no 'policy'"),
        (["tuning_kernels:nothing"], "has no function 'nothing'"),
    ],
)
def test_bad_usage(words, message, leanline, tmp_path):
    outcome = leanline("tune", *words, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert message in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_no_such_device(leanline, tmp_path):
    needs_opencl()
    outcome = leanline("tune", *arguments("gemm"), "--device", 77, "--out", tmp_path / "run")
    assert outcome.code == 1
    assert "there is no OpenCL device 0:77 (platform:device); there are 0:0 " in outcome.stderr
