"""Which pictures a step reads: a pure function of seed and step, so that a run can be resumed."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from leanline.data.dataset import Split
from leanline.training.config import TrainingConfig


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


class _Steps(Sampler[list[int]]):
    """The indices of the steps from `start` on, of which this process reads its share."""

    def __init__(self, config: TrainingConfig, steps: range, length: int, rank: int) -> None:
        self.config, self.steps, self.length, self.rank = config, steps, length, rank

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            indices = batch_indices(self.config.seed, step, self.config.batch_size, self.length)
            yield indices[self.rank :: self.config.devices]


def batches(
    split: Split, config: TrainingConfig, steps: range, rank: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The (images, targets) of the given steps, with a batch axis in front."""
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        split,  # type: ignore[arg-type]  # any map-style sequence will do
        batch_sampler=_Steps(config, steps, len(split), rank),
        num_workers=config.workers,
        generator=torch.Generator().manual_seed(0),  # else the global generator would be advanced
    )
    for pair in loader:
        yield pair[0], pair[1]


def in_order(
    split: Split, batch_size: int, length: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `length` pictures of a split in order, those that fall to this process."""
    own = range(rank, length, world)
    for start in range(0, len(own), batch_size):
        pairs = [split[index] for index in own[start : start + batch_size]]
        yield torch.stack([image for image, _ in pairs]), torch.stack([t for _, t in pairs])
