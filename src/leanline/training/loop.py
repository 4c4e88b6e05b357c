"""The training loop."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leanline.data.dataset import ImagingDataset
from leanline.errors import CheckpointError, ConfigError, ModelError
from leanline.records.progress import bar
from leanline.training.batch_norm import has_batch_norms, reestimate
from leanline.training.config import TrainingConfig
from leanline.training.fabric import Forward, Runner, as_it_is, make_fabric
from leanline.training.losses import Loss
from leanline.training.moments import make_adam, plain_parameters, read_moments, write_moments
from leanline.training.order import batches, in_order
from leanline.training.task import loss_for, meter_for

_REPORT_EVERY = 10  # steps; reading a loss makes a GPU wait


class Trainer:
    """Trains a model in place, on a data set, with Adam.

    All of its state is the model's parameters and `state_dict()`: a trainer that is made anew and
    given both goes on exactly where the other stopped.

    Args:
        model: what to train; it stays the caller's and is moved to the device.
        dataset: pictures and task.
        config: see `TrainingConfig`.
        forward: makes from the model what is run in its place (a faster runtime that shares its
            parameters); made again by `rebind`.
        loss: by default that of the task.

    Attributes:
        step: steps done, over all calls of `fit`.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: ImagingDataset,
        config: TrainingConfig | None = None,
        forward: Forward = as_it_is,
        loss: Loss | None = None,
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.config = config or TrainingConfig()
        self.step = 0
        self._forward = forward
        self._loss = loss or loss_for(dataset)
        self._fabric = make_fabric(self.config)
        self._bind({})

    def rebind(self) -> None:
        """Takes notice of a change in the model: call it after pruning.

        What is run is made anew; Adam goes on with its moments, which become zero for filters that
        are masked now.
        """
        self._bind(read_moments(self._optimizer, self._parameters))

    def fit(self, iterations: int | None = None, epochs: float | None = None) -> float:
        """Trains, and returns the mean loss of the steps (NaN of none).

        Args:
            iterations: number of steps; by default `config.iterations`.
            epochs: instead of iterations: passes over the training pictures, rounded up to steps.

        Raises:
            ConfigError: both are given, or one is negative, or there are no training pictures.
            ModelError: the loss became NaN or infinite.
        """
        split = self.dataset.split("train")
        if not len(split):
            raise ConfigError("the data set has no training pictures")
        count = self._count(iterations, epochs, len(split))
        steps = range(self.step, self.step + count)
        rank, total, shown = self._fabric.global_rank, 0.0, []
        self._module.train()
        with bar("train", total=count) as report:
            for number, (images, targets) in enumerate(
                batches(split, self.config, steps, rank), start=1
            ):
                shown.append(self._one_step(images, targets))
                if number % _REPORT_EVERY == 0 or number == count:
                    losses = torch.stack(shown).tolist()
                    total += sum(losses)
                    report.advance(len(losses), loss=losses[-1])
                    shown = []
                    if not math.isfinite(losses[-1]):
                        raise ModelError(
                            f"the loss is {losses[-1]} after {self.step} steps: training has "
                            f"diverged; use a smaller step than lr={self.config.lr:g}, or look "
                            "for NaN in the network's weights"
                        )
        mean = torch.tensor([total / count if count else math.nan], dtype=torch.float64)
        return float(self._sum_over_devices(mean) / self._fabric.world_size)

    def measure_batch_norms(self, count: int) -> None:
        """Replaces the running statistics of batch norms by those of the next training batches.

        On several devices all read the same, whole batches, so that they end with the same values.

        Args:
            count: how many batches; 0, or a model without batch norms, changes nothing.
        """
        split = self.dataset.split("train")
        if count and len(split) and has_batch_norms(self.model):
            whole = dataclasses.replace(self.config, devices=1)
            steps = range(self.step, self.step + count)
            reestimate(
                self.model,
                (self._fabric.to_device(images) for images, _ in batches(split, whole, steps)),
            )

    def evaluate(self, split: str = "val", pictures: int | None = None) -> dict[str, float]:
        """Judges the model on a split, in evaluation mode and without gradients.

        Args:
            split: "train", "val" or "test".
            pictures: only the first so many; None takes all.

        Returns:
            For segmentation loss, accuracy, miou and f1; for denoising loss, psnr (dB) and ssim,
            in the units of the files (see `leanline.training.metrics`).

        Raises:
            ConfigError: there are no pictures to judge on.
        """
        data, fabric = self.dataset.split(split), self._fabric
        length = len(data) if pictures is None else min(pictures, len(data))
        if length < 1:
            raise ConfigError(f"no pictures to evaluate on: {length} of split {split!r}")
        meter = meter_for(self.dataset)
        losses = torch.zeros(2, dtype=torch.float64)
        was_training = self.model.training
        self._module.eval()
        own_batch = self.config.batch_size // self.config.devices
        with torch.no_grad():
            for images, targets in in_order(
                data, own_batch, length, fabric.global_rank, fabric.world_size
            ):
                images, targets = fabric.to_device((images, targets))
                output = self._module(images)
                loss = float(self._loss(output, targets))
                losses += torch.tensor([loss * len(images), len(images)], dtype=torch.float64)
                meter.update(output, targets)
        self._module.train(was_training)
        sums = self._sum_over_devices(torch.cat((losses, meter.sums().cpu())))
        return {"loss": float(sums[0] / sums[1]), **meter.compute(sums[2:])}

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the model's own parameters: the step and Adam's moments, on the CPU.

        Names are those of the unmasked model, so that masks may come and go in between.
        """
        moments = read_moments(self._optimizer, self._parameters)
        state = {f"adam.{name}": value.cpu() for name, value in moments.items()}
        return {"step": torch.tensor(self.step), **state}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a state of `state_dict`; the model's parameters are the caller's to load.

        Raises:
            CheckpointError: the state is of another network, or incomplete.
        """
        if "step" not in state:
            raise CheckpointError("this is no state of a training run: it has no 'step'")
        moments = {
            name.removeprefix("adam."): value
            for name, value in state.items()
            if name.startswith("adam.")
        }
        self._bind(moments)
        self.step = int(state["step"])

    def _bind(self, moments: Mapping[str, Tensor]) -> None:
        self._fabric.to_device(self.model)
        self._parameters = plain_parameters(self.model)
        self._optimizer = make_adam(self.model, self.config)
        write_moments(self._optimizer, self.model, moments)
        runner = Runner(self.model, self._forward(self.model))
        setup: tuple[Any, Any] = self._fabric.setup(runner, self._optimizer)
        self._module, self._stepper = setup

    def _sum_over_devices(self, numbers: Tensor) -> Tensor:
        if self._fabric.world_size == 1:
            return numbers
        reduced = self._fabric.all_reduce(numbers.to(self._fabric.device), reduce_op="sum")
        assert isinstance(reduced, Tensor)
        return reduced.cpu()

    def _one_step(self, images: Tensor, targets: Tensor) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.lr_at(self.step)
        images, targets = self._fabric.to_device((images, targets))
        loss = self._loss(self._module(images), targets)
        self._fabric.backward(loss)
        self._stepper.step()
        self._stepper.zero_grad()
        self.step += 1
        return loss.detach()

    def _count(self, iterations: int | None, epochs: float | None, length: int) -> int:
        if iterations is not None and epochs is not None:
            raise ConfigError(f"fit(iterations={iterations}, epochs={epochs}): give one of them")
        if epochs is not None:
            iterations = math.ceil(epochs * length / self.config.batch_size)
        count = self.config.iterations if iterations is None else iterations
        if count < 0:
            raise ConfigError(f"fit: {count} steps; give at least 0")
        return count
