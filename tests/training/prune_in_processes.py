"""Prune and retrain in one of several processes: the script of test_processes.py.

Called as ``prune_in_processes.py DEVICES OUT STEPS``; process 0 writes OUT. The run folder is
OUT.run; of its stages, the first STEPS are made, or gone on with.
"""

import os
import sys
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file

from leanline.models import MSD
from leanline.pruning import GeometricMedian, Schedule, prune
from leanline.training import Retrain, TrainingConfig


class Bars:
    """Noisy pictures with a bright left part, of which some pixels do not count."""

    task, in_channels, out_channels = "segmentation", 1, 2
    ignore, class_weights = 255, (0.3, 1.7)  # pictures do not weigh the same

    def split(self, name):
        generator = torch.Generator().manual_seed(len(name))
        labels = torch.zeros(6, 12, 12, dtype=torch.int64)
        for index in range(6):
            labels[index, :, : 3 + index] = 1
        images = labels[:, None] + 0.3 * torch.randn(6, 1, 12, 12, generator=generator)
        labels[:3, :6] = self.ignore
        return list(zip(images, labels, strict=True))[: 6 if name == "train" else 5]


def main(devices: int, out: Path, steps: int) -> None:
    """Prune a small network with the global batch over all processes."""
    torch.set_num_threads(1)
    model = MSD(4, 1, 2, seed=0)
    config = TrainingConfig(iterations=3, batch_size=2, lr=1e-3, devices=devices)
    run = prune(
        model,
        torch.zeros(1, 1, 12, 12),
        Retrain(Bars(), config),
        GeometricMedian(),
        Schedule(0.5, 2),
        out=out.with_suffix(".run"),
    )
    stages = list(islice(run, steps))
    run.close()
    metrics = {
        f"{stage.index}.{name}": torch.tensor(value, dtype=torch.float64)
        for stage in stages
        for name, value in stage.metrics.items()
    }
    if int(os.environ.get("RANK", "0")) == 0:
        save_file({**model.state_dict(), **metrics}, out)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
