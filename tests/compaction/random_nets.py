"""Small random networks of everything that compaction knows, and some that it does not."""

import random

import torch
from torch import Tensor, nn
from torch.nn import functional

from leanline.masks import apply_masks


class Block(nn.Module):
    """One random step; says how many channels it makes and keeps, halves or doubles the size."""

    def __init__(self, kind: str, channels: int, rng: random.Random) -> None:
        super().__init__()
        self.kind = kind
        self.out = channels
        wide = rng.choice([2, 4, 6])
        bias = rng.random() < 0.5
        if kind in ("conv", "same", "strided"):
            kernel = {"conv": 3, "same": 2, "strided": 3}[kind]
            padding = "same" if kind == "same" else 1
            stride = 2 if kind == "strided" else 1
            self.layer = nn.Conv2d(channels, wide, kernel, stride, padding, bias=bias)
            self.out = wide
        elif kind == "transposed":
            self.layer = nn.ConvTranspose2d(channels, wide, 2, 2, bias=bias)
            self.out = wide
        elif kind == "grouped":
            self.layer = nn.Conv2d(channels, 4, 3, padding=1, groups=2, bias=bias)
            self.out = 4
        elif kind == "depthwise":
            self.layer = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=bias)
        elif kind == "depthwise-transposed":
            self.layer = nn.ConvTranspose2d(channels, channels, 2, 2, groups=channels, bias=bias)
        elif kind == "norm":
            self.layer = nn.BatchNorm2d(channels, affine=rng.random() < 0.8)
        elif kind == "prelu":
            self.layer = nn.PReLU(channels if rng.random() < 0.7 else 1)
        elif kind == "gate" or kind == "excite":
            self.layer = nn.Conv2d(channels, channels, 1, bias=bias)
        elif kind in ("residual", "difference"):
            self.layer = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        elif kind == "reflect":
            self.layer = nn.Conv2d(channels, wide, 3, padding=1, padding_mode="reflect", bias=bias)
            self.out = wide
        elif kind == "instance":
            self.layer = nn.InstanceNorm2d(channels, affine=True)
        elif kind == "dense":
            self.layer = nn.Conv2d(channels, wide, 3, padding=1, bias=bias)
            self.out = channels + wide
        elif kind == "halves":
            self.out = channels - channels // 2
        elif kind == "twice":
            self.out = 2 * channels

    def forward(self, x: Tensor) -> Tensor:
        kind = self.kind
        if kind == "gate":
            return x * torch.sigmoid(self.layer(x))
        if kind == "excite":
            return x * torch.sigmoid(self.layer(x.mean((2, 3), keepdim=True)))
        if kind == "residual":
            return x + self.layer(x)
        if kind == "difference":
            return x - self.layer(x).relu()
        if kind == "dense":
            return torch.cat([x, functional.relu(self.layer(x))], 1)
        if kind == "halves":
            return x[:, x.shape[1] // 2 :]
        if kind == "twice":
            parts = x.chunk(2, 1)
            return torch.cat([parts[-1], x, *parts[:-1]], 1)
        if kind == "max":
            return functional.max_pool2d(x, 2)
        if kind == "average":
            return functional.avg_pool2d(x, 3, 1, 1)
        if kind == "up":
            return functional.interpolate(x, scale_factor=2, mode="bilinear")
        if kind == "relu":
            return x.relu()
        if kind == "leaky":
            return functional.leaky_relu(x, 0.1)
        if kind == "softplus":
            return functional.softplus(x)
        if kind == "flip":
            return x.flip(1)
        return self.layer(x)


# fmt: off
KINDS = (
    "conv", "conv", "conv", "same", "strided", "transposed", "grouped", "depthwise",
    "depthwise-transposed", "norm", "norm", "prelu", "gate", "excite", "residual", "difference",
    "reflect", "instance", "dense", "dense", "halves", "twice", "max", "average", "up", "relu",
    "relu", "leaky", "softplus", "flip",
)
# fmt: on


class RandomNet(nn.Module):
    """A chain of random steps that may branch off an auxiliary output and end in numbers."""

    def __init__(self, seed: int, linear: bool = False, size: int = 16) -> None:
        super().__init__()
        rng = random.Random(seed)
        self.inputs = rng.choice([1, 2, 3])
        channels, scale, blocks = self.inputs, 0, []
        for _ in range(rng.randint(2, 9)):
            kind = rng.choice(KINDS)
            if kind in ("strided", "max") and scale <= -1:
                kind = "conv"
            if kind in ("transposed", "up", "depthwise-transposed") and scale >= 1:
                kind = "conv"
            if kind == "grouped" and channels % 2:
                kind = "dense"
            if kind in ("halves", "twice") and channels < 2:
                kind = "conv"
            if channels > 24 and kind in ("dense", "twice"):
                kind = "conv"
            scale += {"strided": -1, "max": -1}.get(kind, 0)
            scale += 1 if kind in ("transposed", "up", "depthwise-transposed") else 0
            blocks.append(Block(kind, channels, rng))
            channels = blocks[-1].out
        self.blocks = nn.ModuleList(blocks)
        self.split = rng.randrange(len(blocks)) if rng.random() < 0.3 else None
        self.head = nn.Conv2d(channels, 3, 1, bias=rng.random() < 0.7)
        self.numbers = None
        if linear:
            side = int(size * 2.0**scale)
            self.numbers = nn.Linear(3 * side * side, 5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        side = None
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.split:
                side = x
        y = self.head(x)
        if self.numbers is not None:
            y = self.numbers(torch.flatten(y.relu(), 1))
        return y if side is None else (y, side)


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """Draw parameters and statistics; some biases, shifts and scales are exactly zero."""
    generator = torch.Generator().manual_seed(seed)

    def rand(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=generator, dtype=torch.float32)

    with torch.no_grad():
        for tensor in model.parameters():
            fan = max(1, tensor[0].numel() if tensor.ndim > 1 else 4)
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / fan) ** 0.5)
            if tensor.ndim == 1:
                tensor.mul_(rand(tensor) < 0.6)
        for name, tensor in model.named_buffers():
            if name.endswith("running_var"):
                tensor.copy_(rand(tensor) + 0.5)
            elif name.endswith("running_mean"):
                tensor.copy_((rand(tensor) - 0.5) * (rand(tensor) < 0.6))
    return model.eval()


def mask_at_random(model: nn.Module, seed: int) -> nn.Module:
    """Prune filters of convolutions at random; now and then a whole layer."""
    generator = torch.Generator().manual_seed(seed)
    keep = float(torch.rand((), generator=generator))
    masks = {
        name: torch.rand(weight.shape[:2], generator=generator) < keep
        for name, weight in model.named_parameters()
        if weight.ndim == 4
    }
    apply_masks(model, masks)
    return model


def outputs(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
