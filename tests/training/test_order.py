import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from leanline.data import Augmentation
from leanline.errors import ConfigError, DataError
from leanline.training import TrainingConfig
from leanline.training.order import batch_indices, batches, epoch_order, in_order


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


class Augmented:
    """Twelve numbered pictures of 6 x 8 with crops and flips."""

    augmentation = Augmentation((3, 4), True)

    def __len__(self):
        return 12

    def __getitem__(self, index):
        target = 100 * index + torch.arange(48).reshape(6, 8)
        return target[None].float(), target


def stream(config, steps, split=None):
    return [targets for _, targets in batches(split or Augmented(), config, steps)]


def test_crops_and_flips_depend_on_seed_and_step_alone():
    config = TrainingConfig(batch_size=5, seed=2)
    whole = stream(config, range(12))
    # a run that is taken up in the middle, and one that reads ahead in another process
    for later in (stream(config, range(7, 12)), stream(replace(config, workers=1), range(7, 12))):
        assert all(torch.equal(a, b) for a, b in zip(whole[7:], later, strict=True))
    other = stream(replace(config, seed=3), range(12))
    assert not all(torch.equal(a, b) for a, b in zip(whole, other, strict=True))
    # five epochs read five different parts of a picture
    parts = {int(t.min()) for batch in whole for t in batch if int(t.min()) // 100 == 4}
    assert len(parts) > 2
    read = Counter(int(t.min()) // 100 for batch in whole for t in batch)
    assert set(read.values()) == {5}


def test_devices_augment_as_one_does():
    config = TrainingConfig(batch_size=4, devices=2, seed=5)
    alone = stream(replace(config, devices=1), range(3))
    for step in range(3):
        parts = [
            next(batches(Augmented(), config, range(step, step + 1), rank))[1] for rank in range(2)
        ]
        assert torch.equal(torch.stack([parts[0], parts[1]], 1).flatten(0, 1), alone[step])


def test_evaluation_reads_whole_pictures():
    image, _ = next(in_order(Augmented(), 3, 12))
    assert image.shape == (3, 1, 6, 8)


def test_pictures_are_read_ahead_but_not_beyond_the_last_step():
    read = []

    class Counted(Augmented):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    config = TrainingConfig(batch_size=3)
    assert len(stream(config, range(4), Counted())) == 4
    assert read == [i for step in range(4) for i in batch_indices(0, step, 3, 12)]
    read.clear()
    some = batches(Counted(), config, range(50))
    next(some)
    some.close()  # a run that is stopped leaves no thread behind
    assert len(read) <= 12
    assert not [t for t in threading.enumerate() if t.name.startswith("leanline-pictures")]


def test_a_picture_that_cannot_be_read_is_said_where_it_is_waited_for():
    class Broken(Augmented):
        def __getitem__(self, index):
            if index == batch_indices(0, 2, 3, 12)[1]:
                raise DataError(f"picture {index}")
            return super().__getitem__(index)

    some = batches(Broken(), TrainingConfig(batch_size=3), range(4))
    next(some), next(some)
    with pytest.raises(DataError, match="picture"):
        next(some)
