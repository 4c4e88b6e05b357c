"""Running statistics of batch norms, measured anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Images = Float[Tensor, "batch channels *size"]


def has_batch_norms(model: nn.Module) -> bool:
    """Whether a model has running statistics that can be measured."""
    return any(True for _ in _tracking(model))


@torch.no_grad()
def reestimate(model: nn.Module, batches: Iterable[Images]) -> None:
    """Replace the running mean and variance of all batch norms by those of some batches.

    They become the plain mean, over the batches, of each batch's mean and variance: what a network
    needs whose channels have changed at once, as by pruning, while its running averages are still
    those of before. Nothing else of the model changes; without batch norms nothing is run.

    Args:
        model: Any network; its statistics are changed in place, its mode is kept.
        batches: Inputs as it gets them in training.
    """
    norms = list(_tracking(model))
    if not norms:
        return
    with _modes_kept(model):
        model.eval()
        momenta = [norm.momentum for norm in norms]
        counts = [None if c is None else c.clone() for c in (n.num_batches_tracked for n in norms)]
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean
                norm.train()
            for images in batches:
                model(images)
        finally:
            for norm, momentum, count in zip(norms, momenta, counts, strict=True):
                norm.momentum = momentum
                if count is not None and norm.num_batches_tracked is not None:
                    norm.num_batches_tracked.copy_(count)


def _tracking(model: nn.Module) -> Iterator[_BatchNorm]:
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            yield module


@contextlib.contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
