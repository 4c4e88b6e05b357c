"""How good an output is: pixel accuracy, F1, mean IoU; PSNR and SSIM.

Predictions of classes are given as logits [batch, classes, height, width] or as class ids
[batch, height, width]; pictures as float [batch, channels, height, width].
"""

import math

import torch
from jaxtyping import Float, Int
from skimage.metrics import structural_similarity
from torch import Tensor

from leanline.errors import ConfigError

Prediction = Float[Tensor, "batch classes *size"] | Int[Tensor, "batch *size"]
Labels = Int[Tensor, "batch *size"]
Pictures = Float[Tensor, "batch channels height width"]


def global_accuracy(prediction: Prediction, labels: Labels, ignore: int | None = None) -> float:
    """Correctly classified pixels / all pixels, whatever the class (appendix A.1.1).

    Pixels with the label `ignore` do not count.
    """
    return _matrix_of(prediction, labels, ignore).accuracy


def f1(prediction: Prediction, labels: Labels, ignore: int | None = None) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) over all pixels of the batch together.

    With two classes, that of class 1. With more, the mean of those of the classes 1, 2, ... (the
    background 0 has none), without classes that are neither predicted nor there. 1 where there is
    nothing to find and nothing was found. Pixels with the label `ignore` do not count.

    The number of classes is that of the logits; of class ids, the largest plus one.
    """
    return _matrix_of(prediction, labels, ignore).f1


def miou(prediction: Prediction, labels: Labels, ignore: int | None = None) -> float:
    """Mean over the classes, background included, of TP / (TP + FP + FN).

    Over all pixels of the batch together, without classes that are neither predicted nor there.
    Pixels with the label `ignore` do not count.
    """
    return _matrix_of(prediction, labels, ignore).miou


def psnr(prediction: Pictures, clean: Pictures, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(data_range^2 / MSE), the mean over the pictures.

    Infinite where a picture is equal to the clean one.
    """
    errors = (prediction.double() - clean.double()).square().flatten(1).mean(1)
    return float((10 * torch.log10(data_range**2 / errors)).mean())


def ssim(prediction: Pictures, clean: Pictures, data_range: float = 1.0) -> float:
    """Structural similarity with the settings of Wang et al. (2004), the mean over the pictures.

    A Gaussian window of sigma 1.5, population covariance; by scikit-image. Pictures need at least
    11 x 11 pixels.
    """
    values = [
        structural_similarity(  # type: ignore[no-untyped-call]
            one.double().cpu().numpy(),
            other.double().cpu().numpy(),
            data_range=data_range,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for one, other in zip(prediction.detach(), clean.detach(), strict=True)
    ]
    return float(sum(values) / len(values))


class ConfusionMatrix:
    """Pixels by (true class, predicted class), added up over any number of batches.

    Attributes:
        counts: int64 [classes, classes], row = true class; may be summed over processes.
    """

    def __init__(self, classes: int, ignore: int | None = None) -> None:
        self.classes = classes
        self.ignore = ignore
        self.counts: Int[Tensor, "classes classes"] = torch.zeros(
            classes, classes, dtype=torch.int64
        )

    def update(self, prediction: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits [batch, classes, ...] or class ids, and labels [batch, ...].

        Raises:
            ConfigError: shapes do not fit, or a label or prediction is no class.
        """
        predicted = _classes(prediction.detach())
        if predicted.shape != labels.shape:
            raise ConfigError(
                f"prediction of shape {tuple(prediction.shape)} for labels of shape "
                f"{tuple(labels.shape)}: give logits [batch, classes, ...] or class ids of the "
                "labels' shape"
            )
        true, predicted = labels.flatten(), predicted.flatten()
        if self.ignore is not None:
            counted = true != self.ignore
            true, predicted = true[counted], predicted[counted]
        for what, values in (("label", true), ("prediction", predicted)):
            if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < self.classes:
                raise ConfigError(
                    f"a {what} lies outside 0 to {self.classes - 1}: the values reach from "
                    f"{int(values.min())} to {int(values.max())}"
                )
        pairs = torch.bincount(true * self.classes + predicted, minlength=self.classes**2)
        self.counts = self.counts.to(pairs.device) + pairs.view(self.classes, self.classes)

    @property
    def accuracy(self) -> float:
        """See `global_accuracy`; NaN without any pixel."""
        total = int(self.counts.sum())
        return int(self.counts.diagonal().sum()) / total if total else math.nan

    @property
    def f1(self) -> float:
        """See `f1`; NaN without any pixel."""
        hits, true, predicted = self._sums()
        if not sum(true):
            return math.nan
        scores = [
            2 * hits[k] / (true[k] + predicted[k])
            for k in range(1, self.classes)
            if true[k] + predicted[k]
        ]
        return sum(scores) / len(scores) if scores else 1.0

    @property
    def miou(self) -> float:
        """See `miou`; NaN without any pixel."""
        hits, true, predicted = self._sums()
        scores = [
            hits[k] / (true[k] + predicted[k] - hits[k])
            for k in range(self.classes)
            if true[k] + predicted[k]
        ]
        return sum(scores) / len(scores) if scores else math.nan

    def _sums(self) -> tuple[list[int], list[int], list[int]]:
        """Hits, true and predicted pixels of each class."""
        return (
            self.counts.diagonal().tolist(),
            self.counts.sum(1).tolist(),
            self.counts.sum(0).tolist(),
        )


def _classes(prediction: Tensor) -> Tensor:
    # max is six times faster than argmax on the CPU
    return prediction.max(1).indices if prediction.is_floating_point() else prediction


def _matrix_of(prediction: Prediction, labels: Labels, ignore: int | None) -> ConfusionMatrix:
    if prediction.is_floating_point():
        classes = prediction.shape[1]
    else:
        counted = labels if ignore is None else labels[labels != ignore]
        largest = [int(values.max()) for values in (prediction, counted) if values.numel()]
        classes = 1 + max(largest, default=0)
    matrix = ConfusionMatrix(classes, ignore)
    matrix.update(prediction, labels)
    return matrix
