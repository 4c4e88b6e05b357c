from collections import Counter

import numpy as np
import pytest

from leanline.errors import ConfigError
from leanline.training import TrainingConfig
from leanline.training.order import batch_indices, batches, epoch_order


def test_every_epoch_is_another_permutation():
    first, second = epoch_order(3, 0, 40), epoch_order(3, 1, 40)
    assert sorted(first) == sorted(second) == list(range(40))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, epoch_order(3, 0, 40))
    assert not np.array_equal(first, epoch_order(4, 0, 40))


@pytest.mark.parametrize(("length", "batch_size"), [(7, 3), (6, 3), (2, 5), (1, 1)])
def test_all_pictures_are_read_equally_often(length, batch_size):
    steps = [batch_indices(0, step, batch_size, length) for step in range(2 * length)]
    assert {len(step) for step in steps} == {batch_size}
    counts = Counter(index for step in steps for index in step)
    assert set(counts.values()) == {2 * batch_size}


def test_devices_share_a_batch():
    split = [(np.float32(i), np.float32(-i)) for i in range(9)]
    config = TrainingConfig(batch_size=4, devices=2, seed=5)
    for step in range(5):
        parts = [next(batches(split, config, range(step, step + 1), rank))[0] for rank in range(2)]
        together = sorted(int(i) for part in parts for i in part)
        assert together == sorted(batch_indices(5, step, 4, 9))


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"iterations": -1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"betas": (0.9, 1.0)},
        {"weight_decay": -0.1},
        {"precision": "16"},
        {"batch_size": 5, "devices": 2},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TrainingConfig(**settings)
