"""Losses, metrics, and the training loop."""

from leanline.training import metrics
from leanline.training.config import TrainingConfig
from leanline.training.loop import Trainer
from leanline.training.losses import MSE, NLL
from leanline.training.retrain import Retrain
from leanline.training.run import Checkpointing, load_best, train

__all__ = [
    "MSE",
    "NLL",
    "Checkpointing",
    "Retrain",
    "Trainer",
    "TrainingConfig",
    "load_best",
    "metrics",
    "train",
]
