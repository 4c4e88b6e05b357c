"""Lightning Fabric: where a network is trained and in which precision."""

import os
from collections.abc import Callable
from typing import TypeAlias

from lightning_fabric import Fabric
from torch import Tensor, nn

from leanline.errors import ConfigError
from leanline.training.config import TrainingConfig

Run: TypeAlias = Callable[[Tensor], Tensor]
"""What is called on a batch of pictures: a model, or something faster that computes the same."""

Forward: TypeAlias = Callable[[nn.Module], Run]
"""Makes from a model what is called on its behalf, using the model's own parameters."""


def as_it_is(model: nn.Module) -> Run:
    """Runs the model itself."""
    return model


def process_rank(config: TrainingConfig) -> int:
    """The number of this process among those that train together, known before they have met.

    It is what torchrun, Lightning's own launcher or Slurm say in the environment.
    """
    if config.devices == 1:
        return 0
    given = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((int(value) for value in given if value is not None), 0)


def make_fabric(config: TrainingConfig) -> Fabric:
    """The Fabric of a configuration, launched.

    Raises:
        ConfigError: the device or precision is not to be had here.
    """
    strategy = "auto" if config.devices == 1 else "ddp_find_unused_parameters_true"
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            precision=config.precision,  # type: ignore[arg-type]  # checked by the config
            strategy=strategy,
        )
        fabric.launch()
    except (ValueError, RuntimeError) as error:  # Lightning's own errors derive from these
        raise ConfigError(
            f"accelerator={config.accelerator!r}, devices={config.devices}, "
            f"precision={config.precision!r} cannot be had here: {error}"
        ) from error
    return fabric


class Runner(nn.Module):
    """A model whose forward pass is computed by something else with the same parameters.

    Fabric wraps it as it would the model: for the precision, and for adding up the gradients of
    several devices.
    """

    def __init__(self, model: nn.Module, run: Run) -> None:
        super().__init__()
        self.model = model
        self._run = (run,)  # in a tuple, so that a module in it is not registered a second time

    def forward(self, images: Tensor) -> Tensor:
        """The output of the model."""
        return self._run[0](images)
