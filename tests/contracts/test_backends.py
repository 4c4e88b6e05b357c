"""What every backend keeps to: outputs are checked, and what fails fails alone, with its reason."""

import math

import pytest

from leanline import tuning
from tuning_kernels import (
    CUDA,
    FAILURES,
    NUMBERED,
    OPENCL,
    needs_cuda,
    needs_opencl,
    python_kernel,
    source_kernel,
    triton_kernel,
)

BACKENDS = {
    "python": ("compile", "runtime", "correctness", "timeout", "crash", "exit"),
    "opencl": ("compile", "runtime", "correctness", "timeout", "crash"),
    "cuda": ("compile", "runtime", "correctness", "timeout", "crash"),
    "triton": ("runtime", "correctness"),
}
"""The ways to fail of each backend that a test can bring about."""


def make(name):
    ways = BACKENDS[name]
    if name == "python":
        return python_kernel(ways)
    if name == "opencl":
        needs_opencl()
        return source_kernel(tuning.OpenCLKernel, OPENCL, ways)
    if name == "cuda":
        needs_cuda()
        return source_kernel(tuning.CudaKernel, CUDA, ways)
    pytest.importorskip("triton", reason="needs Triton: leanline[gpu]")
    return triton_kernel(ways)


def configuration(name, way):
    if name == "python":
        return {"way": way, "size": 1}
    if name == "triton":
        # a block of 48 is no power of two
        return {"BLOCK": 48 if way == "runtime" else 16, "WRONG": int(way == "correctness")}
    # no device has work-groups of a million
    return {"WAY": NUMBERED[way], "block_size_x": 1 << 20 if way == "runtime" else 16}


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(request):
    kernel = make(request.param)
    yield request.param, kernel
    kernel.close()


def test_what_fails_fails_alone(backend):
    name, kernel = backend
    fine = kernel.space.encode(configuration(name, "fine"))
    for way in BACKENDS[name]:
        outcome = kernel.sample(kernel.space.encode(configuration(name, way)))
        # drivers differ in when they refuse what cannot be launched
        refused = ("compile", "runtime") if way == "runtime" else (FAILURES[way],)
        assert outcome.failure in refused, (way, outcome)
        assert outcome.detail and math.isinf(outcome.time) and not outcome.samples
        after = kernel.sample(fine)
        assert not after.failure, (way, after)
        assert math.isfinite(after.time) and after.time > 0


def test_a_search_names_one_that_runs(backend):
    _, kernel = backend
    trace = tuning.minimize(kernel, tuning.RandomSampling(), budget=4, seed=1)
    assert trace.evaluations == 4
    if trace.best_config is not None:
        codes = [code for code in trace.spreads if kernel.sample(code).failure == ""]
        assert trace.best_code == next(iter(trace.spreads)) and trace.best_code in codes
        first = trace.spreads[trace.best_code]
        assert trace.best_time == first.median and first.runs == kernel.policy.rounds
        low, high = first.quartiles
        assert low <= first.median <= high


def test_leaders_are_measured_in_turn(backend):
    name, kernel = backend
    fine = kernel.space.encode(configuration(name, "fine"))
    wrong = kernel.space.encode(configuration(name, "correctness"))
    found = kernel.in_turn([fine, wrong])
    assert len(found[fine].samples) == kernel.policy.rounds
    assert found[wrong].failure == "correctness"


def test_the_device_says_what_it_is(backend):
    _, kernel = backend
    assert kernel.about["device"]
    kernel.close()
    kernel.close()
    assert kernel.about["device"]


def test_a_python_function_in_this_process_fails_alone(tmp_path):
    """`Callable` is not isolated; what it raises is recorded where measurements are kept."""
    from tuning_kernels import in_process

    tuned = tuning.tune(in_process(), tuning.BruteForce(), tmp_path / "out", budget=192)
    assert tuned.failures == {"runtime": 24}
    assert "out of resources" in tuned.details["runtime"]
