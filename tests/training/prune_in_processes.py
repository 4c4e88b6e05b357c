"""Prune and retrain in one of several processes: the script of test_processes.py.

Called as ``prune_in_processes.py DEVICES OUT``; process 0 writes OUT.
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from leanline.models import MSD
from leanline.pruning import GeometricMedian, Schedule, prune
from leanline.training import Retrain, TrainingConfig


class Bars:
    """Noisy pictures with a bright left part."""

    task, in_channels, out_channels = "segmentation", 1, 2

    def split(self, name):
        generator = torch.Generator().manual_seed(len(name))
        labels = torch.zeros(6, 12, 12, dtype=torch.int64)
        for index in range(6):
            labels[index, :, : 3 + index] = 1
        images = labels[:, None] + 0.3 * torch.randn(6, 1, 12, 12, generator=generator)
        return list(zip(images, labels, strict=True))


def main(devices: int, out: Path) -> None:
    """Prune a small network with the global batch over all processes."""
    torch.set_num_threads(1)
    model = MSD(4, 1, 2, seed=0)
    config = TrainingConfig(iterations=3, batch_size=4, lr=1e-3, devices=devices)
    stages = list(
        prune(
            model,
            torch.zeros(1, 1, 12, 12),
            Retrain(Bars(), config),
            GeometricMedian(),
            Schedule(0.5, 2),
        )
    )
    metrics = {
        f"{stage.index}.{name}": torch.tensor(value, dtype=torch.float64)
        for stage in stages
        for name, value in stage.metrics.items()
    }
    if int(os.environ.get("RANK", "0")) == 0:
        save_file({**model.state_dict(), **metrics}, out)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
