import numpy as np
import pytest
from benchmarks import limits
from benchmarks.limits import Limits, measure_limits

from leanline.kernels import vector


def test_reading_adds_up_every_number() -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(-100, 100, 4 * limits.STREAMS * vector.LANES).astype(np.float32)
    result = np.zeros(limits.STREAMS * vector.LANES, np.float32)
    limits._read(data, result, 3)
    assert result.sum() == data.sum()  # whole numbers: exact


def test_each_chain_is_multiplied_in_every_turn() -> None:
    data = np.full(limits.CHAINS * vector.LANES, 0.25, np.float32)
    limits._multiply(data, 3)
    want = 0.25
    for _ in range(3):
        want = want * 0.25 + 0.25
    np.testing.assert_array_equal(data, np.float32(want))


def test_limits_are_those_of_a_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMORY_BYTES", 16 << 20)
    for threads in (1, 2):
        found = measure_limits(threads, seconds=0.01)
        assert found.threads == threads
        assert 1e8 < found.multiply_adds < 1e13 * threads
        assert 1e8 < found.memory_bytes < 1e13 * threads
        assert 1e8 < found.cache_bytes < 1e13 * threads
        assert Limits(**found.to_dict()) == found
