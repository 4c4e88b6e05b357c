"""What a data set's task means for training: the loss, and how outputs are judged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from leanline.data.dataset import ImagingDataset
from leanline.training import metrics
from leanline.training.losses import MSE, NLL, Loss

Restore: TypeAlias = Callable[[Tensor], Tensor]


@runtime_checkable
class Meter(Protocol):
    """Collects outputs and targets and sums up how well they agree."""

    def update(self, output: Tensor, target: Tensor) -> None:
        """Adds a batch."""
        ...

    def sums(self) -> Float[Tensor, "numbers"]:
        """Everything collected, as numbers that may be added up over processes (float64)."""
        ...

    def compute(self, sums: Float[Tensor, "numbers"]) -> dict[str, float]:
        """The metrics of such sums."""
        ...


@dataclass
class SegmentationMeter:
    """Accuracy, mean IoU and F1 by a confusion matrix."""

    matrix: metrics.ConfusionMatrix

    def update(self, output: Tensor, target: Tensor) -> None:
        """Adds a batch of logits and labels."""
        self.matrix.update(output, target)

    def sums(self) -> Float[Tensor, "numbers"]:
        """The entries of the matrix."""
        return self.matrix.counts.flatten().double()

    def compute(self, sums: Float[Tensor, "numbers"]) -> dict[str, float]:
        """Accuracy, mean IoU and F1."""
        total = metrics.ConfusionMatrix(self.matrix.classes, self.matrix.ignore)
        total.counts = sums.round().long().view(total.counts.shape)
        return {"accuracy": total.accuracy, "miou": total.miou, "f1": total.f1}


class DenoisingMeter:
    """Mean PSNR and SSIM over the pictures, in the units of the files."""

    def __init__(self, restore: Restore, data_range: float) -> None:
        self.restore = restore
        self.data_range = data_range
        self._sums = torch.zeros(3, dtype=torch.float64)

    def update(self, output: Tensor, target: Tensor) -> None:
        """Adds a batch of pictures and clean pictures."""
        shown, clean = self.restore(output.float()), self.restore(target)
        pictures = len(output)
        values = (
            metrics.psnr(shown, clean, self.data_range) * pictures,
            metrics.ssim(shown, clean, self.data_range) * pictures,
            pictures,
        )
        self._sums += torch.tensor(values, dtype=torch.float64)

    def sums(self) -> Float[Tensor, "numbers"]:
        """Summed PSNR, summed SSIM, number of pictures."""
        return self._sums

    def compute(self, sums: Float[Tensor, "numbers"]) -> dict[str, float]:
        """Mean PSNR (dB) and SSIM."""
        psnr, ssim, pictures = sums.tolist()
        return {"psnr": psnr / pictures, "ssim": ssim / pictures}


def loss_for(dataset: ImagingDataset) -> Loss:
    """Negative log likelihood for segmentation, squared error for denoising.

    A data set may have the attributes `ignore`, the label of pixels that do not count, and
    `class_weights`, a number for each class.
    """
    if dataset.task == "denoising":
        return MSE()
    weights = getattr(dataset, "class_weights", None)
    return NLL(getattr(dataset, "ignore", None), None if weights is None else tuple(weights))


def meter_for(dataset: ImagingDataset) -> Meter:
    """The meter of a data set's task.

    For denoising, a data set may have `normalisation` (whose `undo` restores the units of the
    files) and `data_range`; without them PSNR is of the targets as they are, at a range of 1.
    """
    if dataset.task == "denoising":
        normalisation = getattr(dataset, "normalisation", None)
        restore: Restore = normalisation.undo if normalisation is not None else torch.clone
        return DenoisingMeter(restore, float(getattr(dataset, "data_range", 1.0)))
    ignore = getattr(dataset, "ignore", None)
    return SegmentationMeter(metrics.ConfusionMatrix(dataset.out_channels, ignore))
