"""Small data sets that are learned in a few steps."""

import torch


class Blobs:
    """Noisy pictures with a bright half; labels, or the clean picture, as targets."""

    in_channels = 1

    def __init__(self, task="segmentation", train=6, size=12):
        self.task = task
        self.out_channels = 2 if task == "segmentation" else 1
        self.lengths = {"train": train, "val": 4, "test": 3}
        self.size = size

    def split(self, name):
        return [self._pair(name, index) for index in range(self.lengths[name])]

    def _pair(self, name, index):
        generator = torch.Generator().manual_seed(1000 * len(name) + ord(name[0]) + index)
        labels = torch.zeros(self.size, self.size, dtype=torch.int64)
        labels[:, : 3 + index] = 1
        clean = labels[None].float()
        image = clean + 0.4 * torch.randn(clean.shape, generator=generator)
        return image, labels if self.task == "segmentation" else clean
