"""Networks as users write them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from leanline.masks import apply_masks


class ConcatMSD(nn.Module):
    """A mixed-scale dense network with torch.cat."""

    def __init__(self, channels: int = 1, classes: int = 2, depth: int = 8, width: int = 1) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels + i * width, width, 3, padding=1 + i % 4, dilation=1 + i % 4)
            for i in range(depth)
        )
        self.last = nn.Conv2d(channels + depth * width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for conv in self.convs:
            features.append(functional.relu(conv(torch.cat(features, 1))))
        return self.last(torch.cat(features, 1))


class BufferMSD(ConcatMSD):
    """The same, writing slices of one buffer."""

    def forward(self, x: Tensor) -> Tensor:
        n, width = x.shape[1], self.convs[0].out_channels
        buffer = x.new_zeros(x.shape[0], n + width * len(self.convs), *x.shape[2:])
        buffer[:, :n] = x
        for conv in self.convs:
            buffer[:, n : n + width] = functional.relu(conv(buffer[:, :n].clone()))
            n += width
        return self.last(buffer)


class Mixed(nn.Module):
    """Groups, slices, shared weights, a layer without ReLU or bias, explicit padding, no head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4, bias=False)
        self.shared = nn.Conv2d(4, 4, 3, padding="same")
        self.explicit = nn.Conv2d(12, 3, 3, dilation=3)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.first(x))
        b = self.grouped(a)
        left, right = b[:, :4], b[:, 4:]
        c = torch.relu(self.shared(left))
        d = self.shared(torch.relu(self.shared(c)))
        return self.explicit(functional.pad(torch.cat([d, right, c], 1), (3, 3, 3, 3)))


def mask_at_random(model: nn.Module, keep: float, seed: int, skip: Sequence[str] = ()) -> None:
    """Prune filters of every convolution at random."""
    generator = torch.Generator().manual_seed(seed)
    masks = {
        name: torch.rand(weight.shape[:2], generator=generator) < keep
        for name, weight in model.named_parameters()
        if weight.ndim == 4 and not name.startswith(tuple(skip) or "?")
    }
    apply_masks(model, masks)


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw parameters and running statistics, from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            fan = max(1, tensor[0].numel() if tensor.ndim > 1 else 4)
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / fan) ** 0.5)
        for name, tensor in model.named_buffers():
            if tensor.is_floating_point():
                drawn = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(drawn + 0.5 if name.endswith("var") else drawn - 0.5)
    return model
