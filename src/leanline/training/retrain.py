"""Retraining between the stages of pruning (Algorithm 1)."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from leanline.data.dataset import ImagingDataset
from leanline.errors import ConfigError
from leanline.training.config import TrainingConfig
from leanline.training.fabric import Forward, as_it_is, process_rank
from leanline.training.loop import Trainer
from leanline.training.losses import Loss

BATCH_NORM_BATCHES = 8
"""On how many training batches batch norms are measured anew by default."""


@runtime_checkable
class Kept(Protocol):
    """What retraining reads of a stage of pruning."""

    @property
    def keep(self) -> float:
        """Fraction of the filters that remains, in (0, 1]."""
        ...


class Retrain:
    """What `leanline.prune` calls after each stage: trains, evaluates, and goes on next time.

    Each call trains for `config.iterations` steps, or for more the fewer filters remain (`growth`):
    on sparse kernels a step of a smaller network takes less time, and small networks need more of
    them. Adam's moments and the place in the data order go on from call to call, as in the
    reference implementation of LEAN; pruned filters lose their moments.

    Args:
        dataset: pictures and task.
        config: see `TrainingConfig`.
        evaluate_on: the split to judge each stage on, or None for none.
        pictures: judge on the first so many pictures only.
        forward: makes from the pruned model what is run in its place, such as a sparse runtime that
            shares its parameters; called once a stage.
        loss: by default that of the task.
        growth: a stage that keeps a fraction k of the filters trains for
            `config.iterations` * k ** -growth steps: 0 gives all stages the same number, as in
            Algorithm 1, 1 about the same arithmetic.
        batch_norm_batches: before a stage is trained, the running mean and variance of batch norms
            are measured anew on so many training batches, for pruning changes them at once; 0
            leaves them to training, whose moving average follows within some tens of steps.

    Raises:
        ConfigError: a negative number of batches, growth outside [0, 1], or with a step size that
            is not constant.
    """

    def __init__(
        self,
        dataset: ImagingDataset,
        config: TrainingConfig | None = None,
        evaluate_on: str | None = "val",
        pictures: int | None = None,
        forward: Forward = as_it_is,
        loss: Loss | None = None,
        growth: float = 0.0,
        batch_norm_batches: int = BATCH_NORM_BATCHES,
    ) -> None:
        self.dataset = dataset
        self.config = config or TrainingConfig()
        self.evaluate_on = evaluate_on
        self.pictures = pictures
        self.forward = forward
        self.loss = loss
        if not 0 <= growth <= 1:
            raise ConfigError(f"growth={growth}: must be between 0 and 1")
        if growth and self.config.lr_schedule != "constant":
            raise ConfigError(
                f"growth={growth} with lr_schedule={self.config.lr_schedule!r}: stages of unequal "
                "length need a constant step size"
            )
        self.growth = growth
        if batch_norm_batches < 0:
            raise ConfigError(f"batch_norm_batches={batch_norm_batches}: must not be negative")
        self.batch_norm_batches = batch_norm_batches
        self._trainer: Trainer | None = None
        self._state: Mapping[str, Tensor] = {}

    @property
    def processes(self) -> int:
        """Processes that train together, each on a device of its own."""
        return self.config.devices

    @property
    def rank(self) -> int:
        """The number of this process among them."""
        return process_rank(self.config)

    @property
    def description(self) -> dict[str, object]:
        """What makes two of them the same in the eyes of a run folder."""
        return {
            "training": dataclasses.asdict(self.config),
            "evaluate_on": self.evaluate_on,
            "pictures": self.pictures,
            "growth": self.growth,
            "batch_norm_batches": self.batch_norm_batches,
        }

    def __call__(self, model: nn.Module, stage: Kept | None = None) -> dict[str, float]:
        """Retrains a model in place, and judges it.

        Args:
            model: the pruned model; as a rule the same one at every call.
            stage: passed by `leanline.prune`: what is kept decides how long to train.

        Returns:
            "train_loss", the mean over the steps, and what `Trainer.evaluate` returns.
        """
        trainer = self._bound_to(model)
        return self._train(trainer, stage, 0, 1) | self._judge(trainer)

    def train(
        self, model: nn.Module, stage: Kept | None = None, part: int = 0, parts: int = 1
    ) -> dict[str, float]:
        """Does one of so many equal parts of a stage's training.

        Returns:
            "train_loss", the mean over the steps; nothing if there is no step to do.

        Raises:
            ConfigError: there is no such part.
        """
        if not 0 <= part < parts:
            raise ConfigError(f"Retrain.train(part={part}, parts={parts}): parts count from 0")
        return self._train(self._bound_to(model), stage, part, parts)

    def judge(self, model: nn.Module) -> dict[str, float]:
        """What `Trainer.evaluate` returns of a model; nothing without `evaluate_on`."""
        return self._judge(self._bound_to(model))

    def _train(
        self, trainer: Trainer, stage: Kept | None, part: int, parts: int
    ) -> dict[str, float]:
        if part == 0:
            trainer.measure_batch_norms(self.batch_norm_batches)
        total = round(self.config.iterations * (1.0 if stage is None else stage.keep**-self.growth))
        steps = total * (part + 1) // parts - total * part // parts
        return {"train_loss": trainer.fit(steps)} if steps else {}

    def _judge(self, trainer: Trainer) -> dict[str, float]:
        if self.evaluate_on is None:
            return {}
        return trainer.evaluate(self.evaluate_on, self.pictures)

    def state_dict(self) -> dict[str, Tensor]:
        """The step and Adam's moments (see `Trainer.state_dict`); empty before the first call."""
        return dict(self._state) if self._trainer is None else self._trainer.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a state of `state_dict` at the next call, whatever was done before."""
        self._state = dict(state)
        self._trainer = None

    def _bound_to(self, model: nn.Module) -> Trainer:
        if self._trainer is not None and self._trainer.model is model:
            self._trainer.rebind()
            return self._trainer
        state = self.state_dict()
        trainer = Trainer(model, self.dataset, self.config, self.forward, self.loss)
        if state:
            trainer.load_state_dict(state)
        self._trainer, self._state = trainer, {}
        return trainer
