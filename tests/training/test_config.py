"""Training settings."""

import pytest

from leanline.errors import ConfigError
from leanline.training import TrainingConfig


def test_the_cosine_falls_from_lr_to_zero_and_begins_anew():
    config = TrainingConfig(iterations=100, lr=0.5, lr_schedule="cosine")
    rates = [config.lr_at(step) for step in range(200)]
    assert rates[:100] == rates[100:]
    assert max(rates) == rates[2]
    assert rates[0] < rates[1] < rates[2] < 0.5
    assert rates[2:100] == sorted(rates[2:100], reverse=True)
    assert 0 < rates[99] < 0.5e-3
    assert rates[50] == pytest.approx(0.25, rel=0.02)


def test_a_constant_rate_is_constant():
    assert {TrainingConfig(lr=0.5).lr_at(step) for step in range(50)} == {0.5}


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ConfigError, match="constant, cosine"):
        TrainingConfig(lr_schedule="linear")
