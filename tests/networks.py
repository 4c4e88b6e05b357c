"""Small networks, one for each thing that users' networks do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

conv = nn.Conv2d
IMAGE = (2, 3, 12, 12)


class Net(nn.Module):
    """Layers by name and a forward function given as a value."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def c3(i: int, o: int, **settings: Any) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, padding=1, **settings)


def shuffle(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def _squeeze_excite(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    gate = torch.sigmoid(m.up(F.relu(m.down(y.mean((2, 3))))))
    return m.out(y * gate[:, :, None, None])


def _gate(m: Any, x: Tensor) -> Tensor:
    y, g = m.a(x).chunk(2, 1)
    return m.out(y * torch.sigmoid(g))


def _attention(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    n, c, h, w = y.shape
    q, k, v = m.qkv(y).reshape(n, 3, c, h * w).unbind(1)
    mixed = (q.transpose(1, 2) @ k).softmax(-1) @ v.transpose(1, 2)
    return m.out(y + mixed.transpose(1, 2).reshape(n, c, h, w))


def _channels_last(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    z = m.grow(m.norm(m.deep(y).permute(0, 2, 3, 1)))
    z = m.shrink(F.gelu(z)) * m.scale.weight[:, 0]
    return m.out(y + z.permute(0, 3, 1, 2))


def _buffer(m: Any, x: Tensor) -> Tensor:
    found = x.new_zeros(x.shape[0], 7, *x.shape[2:])
    found[:, :3] = x
    for place, layer in zip((3, 5), (m.a, m.b), strict=True):
        found[:, place : place + 2] = F.relu(layer(found[:, :place].clone()))
    return m.out(found)


def _zero_buffer(m: Any, x: Tensor) -> Tensor:
    found = torch.zeros(2, 5, 12, 12)
    found[:, :3] = x
    found[:, 3:] = m.a(x)
    return m.out(found)


def _data_dependent(m: Any, x: Tensor) -> Tensor:
    y = F.relu(m.a(x))
    if y.mean() > -1:
        y = m.norm(m.b(y))
    return m.out(y)


def _branches(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    y = torch.stack([y, m.b(x)], 1)
    weight = m.w(y.sum(1).mean((2, 3), keepdim=True)).reshape(2, 2, 4, 1, 1).sigmoid()
    return m.out((y * weight).sum(1))


def _standardised(m: Any, x: Tensor) -> Tensor:
    w = m.a.weight
    w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
    return m.out(F.relu(F.conv2d(x, w, m.a.bias, padding=1)))


def _layer_norm_by_hand(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    mean = y.mean(1, keepdim=True)
    scale = (y - mean).pow(2).mean(1, keepdim=True)
    y = m.gamma.weight.view(1, 4, 1, 1) * ((y - mean) / (scale + 1e-6).sqrt())
    return m.out(y)


def _gate_of_one(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.out(y * torch.sigmoid(m.b(y)))


def _index_by_data(m: Any, x: Tensor) -> Tensor:
    places = x.mean((0, 2, 3)).argsort()
    return m.out(F.relu(m.a(x))[:, places])


def _quotients(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.out(y / (m.b(x).abs() + 1) + 1 / (1 + y * y) + y / (y.norm(dim=1, keepdim=True) + 1))


def _read_twice(m: Any, x: Tensor) -> Tensor:
    y = F.relu(m.norm(m.a(x)))
    again = F.conv2d(y, m.b.weight.transpose(0, 1).flip(2, 3), padding=1)
    return m.out(F.relu(m.b(y)) + again) + m.norm.bias.sum() + m.out.bias[None, :, None, None]


def _cast(m: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = F.relu(m.a(x))
    return m.out(y.float())


def _scales(m: Any, x: Tensor) -> Tensor:
    y = torch.stack([m.a(x), m.b(x)], 0)
    return m.out(y.sum(0) + y.amax(0) + y.softmax(0)[1] + m.a(x).mean((2, 3), keepdim=True))


class Smooth(nn.Module):
    """A fixed filter on each channel, held as a buffer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.out = c3(3, channels), conv(channels, 2, 1)
        self.register_buffer("smooth", torch.ones(channels, 1, 3, 3) / 9)

    def forward(self, x: Tensor) -> Tensor:
        smooth = self.get_buffer("smooth")
        y = F.conv2d(F.relu(self.a(x)), smooth, stride=2, padding=1, groups=len(smooth))
        return self.out(y)


def _learned_zeros(m: Any, x: Tensor) -> Tensor:
    shift = m.a.bias.detach().mul(0.0).view(1, 4, 1, 1) + m.a.bias.view(1, 4, 1, 1)
    return m.out(torch.addcmul(m.b(x) + shift, shift, m.a(x)))


def _choices(m: Any, x: Tensor) -> Tensor:
    y, z = m.a(x), m.b(x)
    y = torch.where(y > 0.1, y, z).masked_fill(x[:, :1] > 1, 0.0)
    y = torch.maximum(y, z).lerp(z, 0.3)
    return m.out(torch.clamp(y, min=torch.zeros(1, 4, 1, 1)))


def _dictionary(m: Any, batch: dict[str, Tensor]) -> dict[str, Any]:
    y = F.relu(m.a(batch["image"]) + m.b(batch["mask"]))
    return {"labels": m.out(y), "extra": [m.c(y), y.mean((2, 3))]}


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "grouped": (lambda: nn.Sequential(c3(3, 8), c3(8, 8, groups=4), conv(8, 2, 1)), IMAGE),
    "depthwise": (
        lambda: nn.Sequential(
            c3(3, 6), nn.ReLU6(), c3(6, 6, groups=6), c3(6, 12, groups=6), conv(12, 2, 1)
        ),
        IMAGE,
    ),
    "strided, dilated, transposed": (
        lambda: nn.Sequential(
            conv(3, 4, 3, stride=2, padding=1),
            conv(4, 4, 3, dilation=2, padding=2),
            nn.ConvTranspose2d(4, 6, 2, stride=2),
            nn.ConvTranspose2d(6, 4, 3, padding=1, groups=2),
            conv(4, 2, 1),
        ),
        IMAGE,
    ),
    "one axis": (
        lambda: nn.Sequential(nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5), nn.Conv1d(5, 2, 1)),
        (2, 2, 9),
    ),
    "three axes": (
        lambda: nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ConvTranspose3d(4, 2, 2, stride=2)
        ),
        (1, 1, 4, 6, 4),
    ),
    "batch norm": (
        lambda: nn.Sequential(
            c3(3, 6), nn.BatchNorm2d(6), nn.ReLU(), c3(6, 4), nn.BatchNorm2d(4), conv(4, 2, 1)
        ),
        IMAGE,
    ),
    "group norm": (
        lambda: nn.Sequential(
            c3(3, 8), nn.GroupNorm(4, 8), nn.SiLU(), c3(8, 4), nn.GroupNorm(1, 4), conv(4, 2, 1)
        ),
        IMAGE,
    ),
    "instance norm": (
        lambda: nn.Sequential(
            c3(3, 6),
            nn.InstanceNorm2d(6),
            nn.LeakyReLU(),
            c3(6, 4),
            nn.InstanceNorm2d(4, affine=True),
            conv(4, 2, 1),
        ),
        IMAGE,
    ),
    "layer norm on pictures": (
        lambda: nn.Sequential(
            c3(3, 4), nn.LayerNorm((4, 12, 12)), c3(4, 4), nn.LayerNorm((12, 12)), conv(4, 2, 1)
        ),
        IMAGE,
    ),
    "channels last": (
        lambda: Net(
            _channels_last,
            stem=conv(3, 4, 1),
            deep=c3(4, 4, groups=4),
            norm=nn.LayerNorm(4),
            grow=nn.Linear(4, 8),
            shrink=nn.Linear(8, 4),
            scale=nn.Linear(1, 4),
            out=conv(4, 2, 1),
        ),
        IMAGE,
    ),
    "layer norm by hand": (
        lambda: Net(_layer_norm_by_hand, a=c3(3, 4), gamma=nn.Linear(1, 4), out=conv(4, 2, 1)),
        IMAGE,
    ),
    "residual": (
        lambda: Net(
            lambda m, x: m.out(F.relu(m.a(x) + m.c(F.relu(m.b(m.a(x)))))),
            a=c3(3, 6),
            b=c3(6, 5),
            c=c3(5, 6),
            out=conv(6, 2, 1),
        ),
        IMAGE,
    ),
    "channel attention": (
        lambda: Net(
            _squeeze_excite, a=c3(3, 6), down=nn.Linear(6, 3), up=nn.Linear(3, 6), out=conv(6, 2, 1)
        ),
        IMAGE,
    ),
    "spatial attention": (
        lambda: Net(_gate_of_one, a=c3(3, 6), b=conv(6, 1, 1), out=conv(6, 2, 1)),
        IMAGE,
    ),
    "gate": (lambda: Net(_gate, a=c3(3, 8), out=conv(4, 2, 1)), IMAGE),
    "channel shuffle": (
        lambda: Net(
            lambda m, x: m.out(m.b(shuffle(m.a(x), 2))),
            a=c3(3, 8, groups=1),
            b=c3(8, 8, groups=4),
            out=conv(8, 2, 1),
        ),
        IMAGE,
    ),
    "pixel shuffle": (
        lambda: nn.Sequential(
            c3(3, 8), nn.PixelUnshuffle(2), conv(32, 12, 1), nn.PixelShuffle(2), conv(3, 2, 1)
        ),
        IMAGE,
    ),
    "flatten": (
        lambda: nn.Sequential(
            c3(3, 4), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 2)
        ),
        IMAGE,
    ),
    "slices": (
        lambda: Net(
            lambda m, x: m.out(
                torch.cat([(y := m.a(x))[:, 4:].flip(-1), y[:, :4:2], y[:, [1, 3]]], 1)
            ),
            a=c3(3, 8),
            out=conv(8, 2, 1),
        ),
        IMAGE,
    ),
    "attention": (
        lambda: Net(_attention, a=c3(3, 4), qkv=conv(4, 12, 1), out=conv(4, 2, 1)),
        IMAGE,
    ),
    "branches": (
        lambda: Net(_branches, a=c3(3, 4), b=c3(3, 4), w=conv(4, 8, 1), out=conv(4, 2, 1)),
        IMAGE,
    ),
    "buffer": (lambda: Net(_buffer, a=c3(3, 2), b=c3(5, 2), out=conv(7, 2, 1)), IMAGE),
    "buffer of torch.zeros": (lambda: Net(_zero_buffer, a=c3(3, 2), out=conv(5, 2, 1)), IMAGE),
    "shared": (
        lambda: Net(
            lambda m, x: m.out(m.b(F.relu(m.b(m.a(x))))), a=c3(3, 4), b=c3(4, 4), out=conv(4, 2, 1)
        ),
        IMAGE,
    ),
    "weight norm": (
        lambda: nn.Sequential(
            parametrizations.weight_norm(c3(3, 4)),
            parametrizations.spectral_norm(c3(4, 4)),
            conv(4, 2, 1),
        ),
        IMAGE,
    ),
    "standardised weight": (
        lambda: Net(_standardised, a=c3(3, 6), b=conv(6, 6, 1), out=conv(6, 2, 1)),
        IMAGE,
    ),
    "sizes": (
        lambda: Net(
            lambda m, x: m.out(
                F.interpolate(F.avg_pool2d(m.a(x), 3, 2), x.shape[2:], mode="bilinear")
                + F.pad(m.b(x), (1, 1, 1, 1), mode="reflect")[:, :, 1:-1, 1:-1]
            ),
            a=c3(3, 4),
            b=c3(3, 4),
            out=conv(4, 2, 1),
        ),
        IMAGE,
    ),
    "padded channels": (
        lambda: Net(
            lambda m, x: m.out(m.a(x) + F.pad(x, (0, 0, 0, 0, 1, 2))), a=c3(3, 6), out=conv(6, 2, 1)
        ),
        IMAGE,
    ),
    "index by data": (
        lambda: Net(_index_by_data, a=c3(3, 8, bias=False), out=conv(3, 2, 1)),
        IMAGE,
    ),
    "quotients": (lambda: Net(_quotients, a=c3(3, 4), b=c3(3, 4), out=conv(4, 2, 1)), IMAGE),
    "weights that are read twice": (
        lambda: Net(_read_twice, a=c3(3, 4), norm=nn.BatchNorm2d(4), b=c3(4, 4), out=conv(4, 2, 1)),
        IMAGE,
    ),
    "autocast": (lambda: Net(_cast, a=c3(3, 4), out=conv(4, 2, 1)), IMAGE),
    "scales": (lambda: Net(_scales, a=c3(3, 4), b=c3(3, 4), out=conv(4, 2, 1)), IMAGE),
    "fixed filters": (lambda: Smooth(4), IMAGE),
    "writes into its input": (
        lambda: Net(lambda m, x: m.out(m.a(x.sub_(0.5).div_(0.5))), a=c3(3, 4), out=conv(4, 2, 1)),
        IMAGE,
    ),
    "random numbers": (
        lambda: Net(
            lambda m, x: m.out(m.a(x) + torch.randn(1, 4, 1, 1)), a=c3(3, 4), out=conv(4, 2, 1)
        ),
        IMAGE,
    ),
    "learned zeros": (
        lambda: Net(_learned_zeros, a=c3(3, 4), b=conv(3, 4, 1, bias=False), out=conv(4, 2, 1)),
        IMAGE,
    ),
    "choices": (lambda: Net(_choices, a=c3(3, 4), b=c3(3, 4), out=conv(4, 2, 1)), IMAGE),
    "two inputs": (
        lambda: Net(
            lambda m, x, y: (m.out(m.a(x) * m.b(y)), m.b(y).amax(1)),
            a=c3(3, 4),
            b=c3(1, 4),
            out=conv(4, 2, 1),
        ),
        (IMAGE, (2, 1, 12, 12)),
    ),
    "dictionary": (
        lambda: Net(_dictionary, a=c3(3, 4), b=c3(1, 4), c=conv(4, 3, 1), out=conv(4, 2, 1)),
        {"image": IMAGE, "mask": (2, 1, 12, 12)},
    ),
    "data dependent": (
        lambda: Net(
            _data_dependent, a=c3(3, 4), b=c3(4, 4), norm=nn.BatchNorm2d(4), out=conv(4, 2, 1)
        ),
        IMAGE,
    ),
}


def make(name: str, seed: int = 0) -> tuple[nn.Module, tuple[Any, ...]]:
    """A network in eval mode, with random numbers everywhere, and example inputs."""
    build, shapes = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build().eval()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
            norms = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm
            if isinstance(module, norms) and module.weight is not None:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
        if isinstance(shapes, dict):
            return model, ({key: torch.randn(shape) for key, shape in shapes.items()},)
        if isinstance(shapes[0], tuple):
            return model, tuple(torch.randn(shape) for shape in shapes)
        return model, (torch.randn(shapes),)
