"""What LEAN keeps of a U-Net4 that is trained, pruned and retrained, as users do it.

In a network that nobody has trained LEAN ranks filters by their norm alone, and those of layers
with few input channels, which are the layers of high resolution, come first. Pruning and retraining
in turns raises the norms of what is left, and chains decide.

The training is short, so the answer is not the best network, but its filters are where LEAN leaves
them. It takes about ten minutes, once: the masks are kept in the user's cache folder.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor, nn

import leanline as ll
from leanline.records.code_cache import user_cache
from leanline.records.tensors import load_tensors, save_tensors
from leanline.runtime import trainable
from leanline.training import Retrain, Trainer, TrainingConfig

log = logging.getLogger(__name__)

VERSION = 1
SIDE = 128
SCHEDULE = ll.Schedule(keep=0.01, steps=10)
TRAINING = TrainingConfig(iterations=150, batch_size=4)
RETRAINING = TrainingConfig(iterations=25, batch_size=4)
THREADS = 2


@dataclass(frozen=True)
class _Quarters:
    """The corner of each Circle-Square picture."""

    whole: ll.data.CircleSquare
    task = "segmentation"
    in_channels = 1
    out_channels = 5

    def split(self, name: str) -> list[tuple[Tensor, Tensor]]:
        return self._made[name]

    @cached_property
    def _made(self) -> dict[str, list[tuple[Tensor, Tensor]]]:
        return {
            name: [
                (image[:, :SIDE, :SIDE].contiguous(), labels[:SIDE, :SIDE].contiguous())
                for image, labels in (self.whole.split(name)[i] for i in range(length))
            ]
            for name, length in (("train", 200), ("val", 20))
        }


@cache
def retrained_masks() -> dict[float, dict[str, Tensor]]:
    """Masks of `UNet4(1, 5)` by the fraction that is kept."""
    path = user_cache() / "leanline" / f"benchmark-unet4-{VERSION}.safetensors"
    if not path.exists():
        log.warning("training and pruning a U-Net4, once, for about ten minutes")
        found, metrics = _prune()
        flat = {
            f"{keep}:{name}": mask for keep, masks in found.items() for name, mask in masks.items()
        }
        save_tensors(path, flat, {"metrics": json.dumps(metrics)})
    tensors, about = load_tensors(path)
    log.warning("U-Net4 pruned by LEAN while it was trained: %s", about["metrics"])
    masks: dict[float, dict[str, Tensor]] = {}
    for key, mask in tensors.items():
        keep, _, name = key.partition(":")
        masks.setdefault(float(keep), {})[name] = mask
    return masks


def _prune() -> tuple[dict[float, dict[str, Tensor]], dict[str, float]]:
    data = _Quarters(ll.data.CircleSquare(train=200, val=20, test=1))
    torch.manual_seed(0)
    model = ll.models.UNet4(1, 5)
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        trainer = Trainer(model, data, TRAINING)
        trainer.fit()
        metrics = {"1": trainer.evaluate("val")["accuracy"]}
        example = data.split("val")[0][0][None]
        retrain = Retrain(data, RETRAINING, forward=lambda m: trainable(m, example, THREADS))
        masks = {}
        for stage in ll.prune(model, example, retrain, ll.Lean(), SCHEDULE):
            metrics[f"{stage.keep:.3g}"] = stage.metrics["accuracy"]
            masks[round(stage.keep, 6)] = {k: v.clone() for k, v in ll.get_masks(model).items()}
        return masks, metrics
    finally:
        torch.set_num_threads(before)


def lean_retrained(model: nn.Module, image: Tensor, keep: float) -> dict[str, Tensor]:
    """As `leanline.select`, for the benchmarks' U-Net4."""
    return retrained_masks()[keep]
