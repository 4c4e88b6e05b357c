"""Which pictures a step reads: a pure function of seed and step, so that a run can be resumed.

The same holds for crops and flips, which depend on the seed and on a picture's position in the
stream of all pictures that the run reads, not on who reads it or what was read before.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from leanline.data.augmentation import Augmentation
from leanline.data.dataset import Split
from leanline.training.config import TrainingConfig

_AHEAD = 2  # batches that are read while a step is computed


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, length: int) -> Int[np.ndarray, "length"]:
    """The order in which an epoch reads a split: a permutation that depends on its arguments."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    return rng.permutation(length)


def batch_indices(seed: int, step: int, batch_size: int, length: int) -> list[int]:
    """The pictures of a step.

    Epochs follow one another without a gap: a batch may hold the end of one and the beginning of
    the next, so that every picture is read equally often and all batches are of one size.
    """
    positions = range(step * batch_size, (step + 1) * batch_size)
    return [int(epoch_order(seed, p // length, length)[p % length]) for p in positions]


def stream_rng(seed: int, position: int) -> np.random.Generator:
    """What crops and flips of the picture at a position of the stream are drawn from."""
    # a key of two numbers: those of one number belong to `epoch_order`
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, position)))


class _Steps(Sampler[list[tuple[int, int]]]):
    """(position, index) of what the steps read; of each step, this process's share."""

    def __init__(self, config: TrainingConfig, steps: range, length: int, rank: int) -> None:
        self.config, self.steps, self.length, self.rank = config, steps, length, rank

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size = self.config.batch_size
        for step in self.steps:
            indices = batch_indices(self.config.seed, step, size, self.length)
            numbered = list(enumerate(indices, start=step * size))
            yield numbered[self.rank :: self.config.devices]


class _Stream(Dataset[tuple[Any, Any]]):
    """The pairs of a split (arrays will do), augmented where the split says so."""

    def __init__(self, split: Split, seed: int) -> None:
        self.split, self.seed = split, seed
        self.augmentation: Augmentation | None = getattr(split, "augmentation", None)

    def __getitem__(self, numbered: tuple[int, int]) -> tuple[Any, Any]:
        position, index = numbered
        image, target = self.split[index]
        if self.augmentation is None:
            return image, target
        return self.augmentation.apply(image, target, stream_rng(self.seed, position))


def batches(
    split: Split, config: TrainingConfig, steps: range, rank: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The (images, targets) of the given steps, augmented, with a batch axis in front."""
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        _Stream(split, config.seed),
        batch_sampler=_Steps(config, steps, len(split), rank),
        num_workers=config.workers,
        generator=torch.Generator().manual_seed(0),  # else the global generator would be advanced
    )
    for pair in _ahead(loader) if config.workers == 0 else loader:
        yield pair[0], pair[1]


def _ahead(loader: Iterable[Any]) -> Iterator[Any]:
    """Goes through a loader in order, reading the next batches in a thread meanwhile."""
    source = iter(loader)
    with ThreadPoolExecutor(1, "leanline-pictures") as reader:
        waiting = deque(reader.submit(next, source, None) for _ in range(_AHEAD))
        try:
            while (pair := waiting.popleft().result()) is not None:
                waiting.append(reader.submit(next, source, None))
                yield pair
        finally:
            for later in waiting:
                later.cancel()


def in_order(
    split: Split, batch_size: int, length: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `length` pictures of a split in order, those that fall to this process."""
    own = range(rank, length, world)
    for start in range(0, len(own), batch_size):
        pairs = [split[index] for index in own[start : start + batch_size]]
        yield torch.stack([image for image, _ in pairs]), torch.stack([t for _, t in pairs])
