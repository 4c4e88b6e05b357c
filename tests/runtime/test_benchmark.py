import json

import pytest
import torch
from torch import nn

from leanline.errors import ConfigError
from leanline.runtime import benchmark


def test_interleaves_and_reports_medians_and_ratios() -> None:
    calls = []
    table = benchmark(
        {"a": lambda x: calls.append("a"), "b": lambda x: calls.append("b")},
        torch.zeros(1),
        seconds=0.0,
    )
    assert calls == ["a", "a", "b", "b"] * 5  # the second of each counts
    assert table.rounds == 5
    assert [row.name for row in table.rows] == ["a", "b"]
    first = table.rows[0]
    assert first.speedup == first.speedup_low == first.speedup_high == 1.0
    for row in table.rows:
        assert 0 < row.low <= row.median <= row.high
        assert row.speedup_low <= row.speedup <= row.speedup_high
    assert json.loads(json.dumps(table.to_dict()))["rounds"] == 5
    assert "interleaved" in str(table)


def test_stops_after_the_rounds_and_records_no_gradients() -> None:
    seen = []
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda module, given, out: seen.append(out.requires_grad))
    table = benchmark({"one": model}, (torch.zeros(1, 2),), seconds=100, rounds=3)
    assert table.rounds == 3
    assert seen == [False] * 6


def test_times_what_takes_no_tensor_first() -> None:
    image = torch.zeros(1)
    seen = []
    benchmark({"a": lambda given, flag: seen.append(given["image"])}, ({"image": image}, 2), 0.0)
    assert all(one is image for one in seen) and seen
    benchmark({"a": lambda number: seen.append(number)}, (2,), 0.0)


@pytest.mark.parametrize(
    "bad", [{"models": {}}, {"rounds": 0}, {"seconds": -1.0}, {"seconds": float("nan")}]
)
def test_nothing_to_time(bad: dict) -> None:
    with pytest.raises(ConfigError, match="benchmark"):
        benchmark(**{"models": {"a": nn.Identity()}, "example_inputs": torch.zeros(1), **bad})


def test_times_in_eval_mode_and_leaves_the_module_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    benchmark({"net": model}, torch.ones(2, 1, 8, 8), seconds=0.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert [part.training for part in model.modules()] == [True, True, True, False]
