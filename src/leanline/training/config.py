"""The settings of a training run."""

import math
from dataclasses import dataclass

from leanline.errors import ConfigError

PRECISIONS = ("32-true", "bf16-mixed")
LR_SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained: Adam as in section 4.5.2, data order, device.

    Attributes:
        iterations: steps of the optimiser, in a training run or in each stage of retraining.
        batch_size: pictures a step, over all devices together.
        lr: step size of Adam.
        lr_schedule: "constant", as in section 4.5.2, or "cosine": over `iterations` steps the step
            size rises linearly in the first 2 %, then falls to 0 as half a cosine; each stage of
            retraining begins anew.
        betas: decay rates of Adam's moments.
        weight_decay: L2 penalty.
        seed: of the order of the pictures, and of their crops and flips. Step t reads the same
            pictures in every run.
        precision: "32-true" or "bf16-mixed", in Lightning Fabric's words.
        accelerator: "cpu", "cuda", "mps", or "auto" for the best there is.
        devices: how many; more than one trains data-parallel (DDP).
        workers: processes that make pictures ahead; 0 makes them ahead in a thread.

    Raises:
        ConfigError: a value out of range.
    """

    iterations: int = 1000
    batch_size: int = 5
    lr: float = 1e-3
    lr_schedule: str = "constant"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "cpu"
    devices: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        least = {"iterations": 0, "batch_size": 1, "seed": 0, "devices": 1, "workers": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value < bound:
                raise ConfigError(f"{name}={value}: must be at least {bound}")
        if not self.lr > 0:
            raise ConfigError(f"lr={self.lr}: must be above 0")
        if self.lr_schedule not in LR_SCHEDULES:
            raise ConfigError(
                f"lr_schedule={self.lr_schedule!r}: must be one of {', '.join(LR_SCHEDULES)}"
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas={self.betas}: must be two numbers in [0, 1)")
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay={self.weight_decay}: must not be negative")
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"precision={self.precision!r}: must be one of {', '.join(PRECISIONS)}"
            )
        if self.batch_size % self.devices:
            raise ConfigError(
                f"batch_size={self.batch_size} is not divisible by devices={self.devices}"
            )

    def lr_at(self, step: int) -> float:
        """Step size of step `step`, counted from 0."""
        if self.lr_schedule == "constant":
            return self.lr
        length = max(self.iterations, 1)
        place = (step % length + 0.5) / length
        return self.lr * min(1.0, place / 0.02) * 0.5 * (1 + math.cos(math.pi * place))
