"""Random graphs of every kind of layer that imaging networks are made of, one to three dimensions.

Each step reads one or more values that were computed before, so that there are branches, sums of
values with different live channels, and values that nobody reads.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from leanline.masks import apply_masks

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
DROPOUT = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}

ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.relu,
    torch.sigmoid,
    torch.tanh,
    functional.silu,
    functional.gelu,
    functional.softplus,
    functional.hardswish,
    functional.elu,
    lambda x: functional.leaky_relu(x, 0.1),
    lambda x: functional.relu6(x),
    lambda x: x.abs(),
    lambda x: x * 0.5 + 0.25,
)


@dataclass(frozen=True)
class Value:
    """A value on the way.

    Attributes:
        channels: how many.
        level: how often its size was doubled, less how often it was halved.
    """

    channels: int
    level: int


class Step(nn.Module):
    """A function of values and of layers of its own."""

    def __init__(self, function: Callable[..., Tensor], reads: list[int], *layers: nn.Module):
        super().__init__()
        self.function = function
        self.reads = reads
        self.layers = nn.ModuleList(layers)

    def forward(self, *values: Tensor) -> Tensor:
        return self.function(*self.layers, *values)


class GraphNet(nn.Module):
    """A random graph; `inputs` are the channels of its inputs."""

    def __init__(self, seed: int, size: int = 8) -> None:
        super().__init__()
        builder = Builder(seed, size)
        builder.build()
        self.inputs, self.dimensions = builder.inputs, builder.dimensions
        self.kinds, self.any_size = builder.kinds, builder.any_size
        self.steps = nn.ModuleList(builder.steps)
        self.outputs = builder.outputs

    def forward(self, *images: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = list(images)
        for step in self.steps:
            values.append(step(*(values[index] for index in step.reads)))
        found = tuple(values[index] for index in self.outputs)
        return found[0] if len(found) == 1 else found

    def pictures(self, batch: int, size: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(size)
        shapes = [(batch, channels, *[size] * self.dimensions) for channels in self.inputs]
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)


class Builder:
    """Draws a graph, step by step; a method a kind."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = random.Random(seed)
        self.size = size
        self.dimensions = self.rng.choice([2, 2, 2, 2, 1, 3])
        self.inputs = [self.rng.choice([1, 2, 3]) for _ in range(self.rng.choice([1, 1, 1, 2]))]
        self.values = [Value(channels, 0) for channels in self.inputs]
        self.steps: list[Step] = []
        self.kinds: list[str] = []
        self.outputs: list[int] = []
        self.convolutions: list[tuple[nn.Module, int]] = []
        self.any_size = True

    def build(self) -> None:
        for _ in range(self.rng.randint(3, 10)):
            kind = self.rng.choice(KINDS)
            getattr(self, kind)(self.pick())
            self.kinds.append(kind)
        last = len(self.values) - 1
        kind = self.rng.choice(["head", "head", "head", "flatten_linear", "mean_linear", "none"])
        self.kinds.append(kind)
        if kind != "none":
            getattr(self, kind)(last)
        self.outputs = [len(self.values) - 1]
        if self.rng.random() < 0.3:
            self.outputs.append(self.rng.randrange(len(self.inputs), len(self.values)))
        if self.rng.random() < 0.1:
            self.outputs.append(self.outputs[0])

    def add(
        self, value: Value, function: Callable[..., Tensor], reads: list[int], *layers: nn.Module
    ) -> int:
        self.values.append(value)
        self.steps.append(Step(function, reads, *layers))
        return len(self.values) - 1

    def pick(self) -> int:
        """A value, a late one most of the time."""
        count = len(self.values)
        return max(0, count - 1 - min(self.rng.choice([0, 0, 0, 1, 2, 4]), count - 1))

    def like(self, index: int, channels: int | None) -> int:
        """Another value of the same size, and with so many channels, by a layer if need be."""
        value = self.values[index]
        mates = [i for i, other in enumerate(self.values) if other.level == value.level]
        mate = self.rng.choice(mates)
        if channels is None or self.values[mate].channels == channels:
            return mate
        return self.convolve(mate, channels, 1)

    def convolve(self, source: int, channels: int, kernel: int, **settings: int) -> int:
        value, bias = self.values[source], self.rng.random() < 0.5
        layer = CONV[self.dimensions](value.channels, channels, kernel, bias=bias, **settings)
        if settings.get("stride", 1) == 1:
            self.convolutions.append((layer, value.channels))
        level = value.level - (settings.get("stride", 1) == 2)
        return self.add(Value(channels, level), call, [source], layer)

    def wide(self) -> int:
        return self.rng.choice([2, 4, 4, 6, 8])

    # --- layers

    def conv(self, source: int) -> None:
        dilation = self.rng.choice([1, 1, 2])
        self.convolve(source, self.wide(), 3, padding=dilation, dilation=dilation)

    def point(self, source: int) -> None:
        self.convolve(source, self.wide(), 1)

    def strided(self, source: int) -> None:
        if self.values[source].level < 0:
            return self.conv(source)
        kernel, padding = self.rng.choice([(3, 1), (2, 0), (1, 0)])
        self.convolve(source, self.wide(), kernel, stride=2, padding=padding)

    def grouped(self, source: int) -> None:
        channels = self.values[source].channels
        groups = self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0])
        self.convolve(source, groups * self.rng.choice([1, 2]), 3, padding=1, groups=groups)

    def depthwise(self, source: int) -> None:
        channels = self.values[source].channels
        self.convolve(source, channels, 3, padding=1, groups=channels)

    def transposed(self, source: int) -> None:
        value = self.values[source]
        if value.level > 0:
            return self.conv(source)
        groups = self.rng.choice([1, 1, value.channels])
        wide = groups * self.rng.choice([1, 2]) if groups > 1 else self.wide()
        kernel, padding, more = self.rng.choice([(2, 0, 0), (3, 1, 1), (4, 1, 0)])
        layer = TRANSPOSED[self.dimensions](
            value.channels, wide, kernel, 2, padding, more, groups, self.rng.random() < 0.5
        )
        self.add(Value(wide, value.level + 1), call, [source], layer)

    def padded(self, source: int) -> None:
        value, wide = self.values[source], self.wide()
        mode = self.rng.choice(["replicate", "circular"])
        layer = CONV[self.dimensions](value.channels, wide, 3, padding=1, padding_mode=mode)
        self.add(Value(wide, value.level), call, [source], layer)

    def shared(self, source: int) -> None:
        """The layer of an earlier step once more."""
        fitting = [c for c, n in self.convolutions if n == self.values[source].channels]
        if not fitting:
            return self.conv(source)
        layer = self.rng.choice(fitting)
        self.add(Value(layer.out_channels, self.values[source].level), call, [source], layer)

    def batch_norm(self, source: int) -> None:
        value = self.values[source]
        layer = BATCH[self.dimensions](value.channels, affine=self.rng.random() < 0.8)
        self.add(value, call, [source], layer)

    def instance_norm(self, source: int) -> None:
        value = self.values[source]
        layer = INSTANCE[self.dimensions](value.channels, affine=self.rng.random() < 0.7, eps=0.1)
        self.add(value, call, [source], layer)

    def group_norm(self, source: int) -> None:
        value = self.values[source]
        groups = self.rng.choice([g for g in (1, 2, 4) if value.channels % g == 0])
        affine = self.rng.random() < 0.8
        self.add(value, call, [source], nn.GroupNorm(groups, value.channels, 0.1, affine))

    def prelu(self, source: int) -> None:
        value = self.values[source]
        self.add(value, call, [source], nn.PReLU(self.rng.choice([1, value.channels])))

    def activation(self, source: int) -> None:
        self.add(self.values[source], self.rng.choice(ACTIVATIONS), [source])

    def dropout(self, source: int) -> None:
        layer = self.rng.choice([nn.Dropout(0.5), DROPOUT[self.dimensions](0.5)])
        self.add(self.values[source], call, [source], layer)

    def excite(self, source: int) -> None:
        """A gate from the means of all channels, by two layers."""
        value = self.values[source]
        axes = tuple(range(2, 2 + self.dimensions))
        kind, few = CONV[self.dimensions], max(1, value.channels // 2)

        def gate(one: nn.Module, two: nn.Module, x: Tensor) -> Tensor:
            return x * torch.sigmoid(two(torch.relu(one(x.mean(axes, keepdim=True)))))

        layers = kind(value.channels, few, 1), kind(few, value.channels, 1)
        self.add(value, gate, [source], *layers)

    def linear_gate(self, source: int) -> None:
        value = self.values[source]
        pixels = [1] * self.dimensions

        def gate(layer: nn.Module, x: Tensor) -> Tensor:
            weights = torch.sigmoid(layer(x.flatten(2).mean(2)))
            return x * weights.view(x.shape[0], x.shape[1], *pixels)

        self.add(value, gate, [source], nn.Linear(value.channels, value.channels))

    # --- other sizes

    def pool(self, source: int) -> None:
        value = self.values[source]
        function = self.rng.choice([MAX, AVERAGE])[self.dimensions]
        if value.level < 0 or self.rng.random() < 0.3:
            self.add(value, lambda x: function(x, 3, 1, 1), [source])
        else:
            self.add(Value(value.channels, value.level - 1), lambda x: function(x, 2), [source])

    def up(self, source: int) -> None:
        value = self.values[source]
        if value.level > 0:
            return self.pool(source)
        mode = self.rng.choice(["nearest", LINEAR[self.dimensions]])
        self.add(
            Value(value.channels, value.level + 1),
            lambda x: functional.interpolate(x, scale_factor=2, mode=mode),
            [source],
        )

    def pad_and_crop(self, source: int) -> None:
        sides = [1, 1] * self.dimensions

        def there_and_back(x: Tensor) -> Tensor:
            y = functional.pad(x, sides).mul(2)
            return y[(..., *[slice(1, -1)] * self.dimensions)]

        self.add(self.values[source], there_and_back, [source])

    def shuffle_pixels(self, source: int) -> None:
        value = self.values[source]
        if self.dimensions != 2 or value.channels > 6:
            return self.activation(source)
        if value.level < 0:
            self.convolve(source, 8, 1)
            source = len(self.values) - 1
            up = Value(2, value.level + 1)
            self.add(up, lambda x: functional.pixel_shuffle(x, 2), [source])
        else:
            down = Value(4 * value.channels, value.level - 1)
            self.add(down, lambda x: functional.pixel_unshuffle(x, 2), [source])

    # --- channels in other places

    def split(self, source: int) -> None:
        value = self.values[source]
        if value.channels < 2:
            return self.conv(source)
        first = self.rng.randrange(1, value.channels)
        sizes, part = [first, value.channels - first], self.rng.randrange(2)
        self.add(
            Value(sizes[part], value.level), lambda x: torch.split(x, sizes, 1)[part], [source]
        )

    def every_other(self, source: int) -> None:
        value = self.values[source]
        self.add(Value((value.channels + 1) // 2, value.level), lambda x: x[:, ::2], [source])

    def flip(self, source: int) -> None:
        self.add(self.values[source], lambda x: x.flip(1), [source])

    def shuffle(self, source: int) -> None:
        value = self.values[source]
        if value.channels % 2:
            return self.flip(source)
        self.any_size = False  # the trace holds the sizes of the view as numbers

        def rearrange(x: Tensor) -> Tensor:
            half = x.view(x.shape[0], 2, x.shape[1] // 2, *x.shape[2:])
            return half.transpose(1, 2).reshape(x.shape)

        self.add(value, rearrange, [source])

    # --- several values

    def residual(self, source: int) -> None:
        other = self.like(source, self.values[source].channels)
        function = self.rng.choice(
            [torch.add, torch.add, torch.sub, torch.maximum, lambda a, b: torch.add(a, b, alpha=2)]
        )
        self.add(self.values[source], function, [source, other])

    def product(self, source: int) -> None:
        other = self.like(source, self.values[source].channels)
        self.add(self.values[source], lambda a, b: a * torch.tanh(b), [source, other])

    def one_for_all(self, source: int) -> None:
        """A sum or product with a value of one channel, which stands for many."""
        other = self.like(source, 1)
        function = self.rng.choice([torch.add, torch.mul])
        self.add(self.values[source], function, [source, other])

    def concat(self, source: int) -> None:
        reads = [source, *(self.like(source, None) for _ in range(self.rng.choice([1, 1, 2])))]
        self.rng.shuffle(reads)
        channels = sum(self.values[index].channels for index in reads)
        if channels > 24:
            return self.residual(source)
        self.add(Value(channels, self.values[source].level), lambda *x: torch.cat(x, 1), reads)

    # --- ends

    def head(self, source: int) -> None:
        self.convolve(source, 3, 1)

    def flatten_linear(self, source: int) -> None:
        value = self.values[source]
        pixels = int(self.size * 2.0**value.level) ** self.dimensions
        if value.channels * pixels > 4096:
            return self.mean_linear(source)
        self.any_size = False
        layer = nn.Linear(value.channels * pixels, 3)
        self.add(Value(3, 99), lambda linear, x: linear(x.flatten(1)), [source], layer)

    def mean_linear(self, source: int) -> None:
        layer = nn.Linear(self.values[source].channels, 3)
        self.add(Value(3, 99), lambda linear, x: linear(x.flatten(2).mean(2)), [source], layer)


def call(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)


# fmt: off
KINDS = (
    "conv", "conv", "conv", "point", "strided", "grouped", "grouped", "depthwise", "transposed",
    "transposed", "padded", "shared", "batch_norm", "batch_norm", "instance_norm", "group_norm",
    "prelu", "activation", "activation", "activation", "dropout", "excite", "linear_gate", "pool",
    "up", "pad_and_crop", "shuffle_pixels", "split", "split", "every_other", "flip", "shuffle",
    "residual", "residual", "residual", "product", "one_for_all", "concat", "concat", "concat",
)
# fmt: on


def masks_of(model: nn.Module, seed: int) -> nn.Module:
    """Prune filters at random, by layer more or less, a layer now and then as a whole."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    density = rng.choice([0.1, 0.3, 0.5, 0.8, None])
    masks = {}
    for name, weight in model.named_parameters():
        if weight.ndim >= 3:
            keep = rng.random() if density is None else density
            keep = 0.0 if rng.random() < 0.05 else keep
            masks[name] = torch.rand(weight.shape[:2], generator=generator) < keep
    apply_masks(model, masks)
    return model
