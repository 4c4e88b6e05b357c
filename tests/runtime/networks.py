"""Networks as users write them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from leanline.masks import apply_masks
from leanline.runtime.region import PlaneRegion


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


class Then(nn.Module):
    """A 3x3 layer, then a function of its result and the picture."""

    def __init__(self, then: Callable[[Tensor, Tensor], object], **settings: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, **{"padding": 1, **settings})
        self.then = then

    def forward(self, x: Tensor) -> object:
        return self.then(self.conv(x), x)


class Dense(nn.Module):
    """DenseNet's layers: batch norm and ReLU come before each convolution, then all is joined."""

    def __init__(self, depth: int = 3, width: int = 3) -> None:
        super().__init__()
        counts = [4 + i * width for i in range(depth)]
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in counts)
        self.convs = nn.ModuleList(nn.Conv2d(n, width, 3, padding=1) for n in counts)
        self.last = nn.Conv2d(counts[-1] + width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.max_pool2d(self.first(x).relu(), 3, 2, 1)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = torch.cat([y, conv(norm(y).relu())], 1)
        return self.last(y)


class Residual(nn.Module):
    """Residual blocks with a gate on each channel, of a network that halves and doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.one, self.two = (nn.Conv2d(6, 6, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(2))
        self.down, self.up = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)
        self.short = nn.Conv2d(6, 6, 1, stride=2)
        self.halve = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.grow = nn.ConvTranspose2d(6, 3, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.norm(self.first(x)).relu()
        y = self.norms[1](self.two(self.norms[0](self.one(x)).relu()))
        gate = self.up(self.down(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
        y = (y * gate + x).relu()
        z = (self.halve(y) + self.short(y)).relu()
        return {"out": self.grow(functional.interpolate(z, scale_factor=2)), "deep": z}


class Siamese(nn.Module):
    """Two pictures, possibly of different batch and size, through one network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(a).relu(), self.conv(b)


def mask_at_random(model: nn.Module, keep: float, seed: int, skip: Sequence[str] = ()) -> None:
    """Prune filters of every convolution at random."""
    generator = torch.Generator().manual_seed(seed)
    masks = {
        name: torch.rand(weight.shape[:2], generator=generator) < keep
        for name, weight in model.named_parameters()
        if weight.ndim == 4
        and "parametrizations" not in name
        and not name.startswith(tuple(skip) or "?")
    }
    apply_masks(model, masks)


def regions(network: nn.Module) -> list[PlaneRegion]:
    """The parts that run on planes."""
    return [part for part in network.modules() if isinstance(part, PlaneRegion)]


def convolutions(network: nn.Module) -> int:
    """Number of convolutions that PyTorch runs."""
    return sum(isinstance(part, nn.modules.conv._ConvNd) for part in network.modules())


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
