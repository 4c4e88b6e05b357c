"""What is minimised: the negative log likelihood of the labels, or the squared error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from leanline.errors import ConfigError

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(output of the network, target) to a scalar to minimise."""


@runtime_checkable
class Weighted(Protocol):
    """A loss that is a mean in which not all pictures weigh the same."""

    def weight(self, targets: Tensor) -> float:
        """What the loss of a batch counts in the mean over several batches."""
        ...


@dataclass(frozen=True)
class NLL:
    """Mean negative log likelihood of the labels, from logits (section 4.5.2).

    Args:
        ignore: label of pixels that do not count; a batch without any other pixel has loss 0.
        weights: of the classes, or None for equal weights; as in PyTorch, the mean is weighted.

    Raises:
        ConfigError: a weight that is negative.
    """

    ignore: int | None = None
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and min(self.weights, default=0) < 0:
            raise ConfigError(f"NLL(weights={self.weights}): class weights must not be negative")

    def __call__(
        self, logits: Float[Tensor, "batch classes *size"], labels: Int[Tensor, "batch *size"]
    ) -> Float[Tensor, ""]:
        """The loss of one batch."""
        weights = None
        if self.weights is not None:
            if len(self.weights) != logits.shape[1]:
                raise ConfigError(
                    f"{len(self.weights)} class weights for {logits.shape[1]} classes"
                )
            weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        if self.ignore is None:
            return F.cross_entropy(logits, labels, weights)
        if not bool((labels != self.ignore).any()):
            return logits.sum() * 0.0
        return F.cross_entropy(logits, labels, weights, ignore_index=self.ignore)

    def weight(self, targets: Int[Tensor, "batch *size"]) -> float:
        """The sum of the weights of all pixels that count."""
        counted = targets if self.ignore is None else targets[targets != self.ignore]
        if self.weights is None:
            return float(counted.numel())
        pixels = torch.bincount(counted.flatten(), minlength=len(self.weights)).cpu().double()
        return float(pixels @ torch.tensor(self.weights, dtype=torch.float64))


@dataclass(frozen=True)
class MSE:
    """Mean squared error over all pixels and channels."""

    def __call__(
        self, output: Float[Tensor, "batch channels *size"], target: Float[Tensor, "..."]
    ) -> Float[Tensor, ""]:
        """The loss of one batch."""
        return F.mse_loss(output, target)
