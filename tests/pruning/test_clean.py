"""Cleaning: dead channels are exactly zero, live ones are what they were."""

import pytest
import torch
from torch import Tensor, nn

from leanline.graph import find_live, trace_program
from leanline.masks import apply_masks, get_channel_masks, get_masks
from leanline.pruning import clean, summary


class Net(nn.Module):
    """A residual, a skip, batch norm with and without shift, groups, a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.b, self.norm_b = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, affine=False)
        self.c = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm_a(self.a(x)))
        z = torch.relu(self.norm_b(self.b(y)))
        return self.head(torch.relu(self.up(y + self.c(z))))


def network(seed: int) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Net()
        for norm in (model.norm_a, model.norm_b):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(model.norm_a.bias)
        return model.eval()


def random_masks(model: nn.Module, seed: int, share: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{name}.weight": torch.rand(part.weight.shape[:2], generator=generator) < share
        for name, part in model.named_modules()
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)
    }


def image(seed: int = 0) -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "seed, share", [(0, 0.15), (1, 0.3), (2, 0.3), (3, 0.3), (4, 0.6), (5, 0.6)]
)
def test_dead_channels_are_zero_and_cleaning_twice_changes_nothing(seed: int, share: float) -> None:
    model = network(seed)
    apply_masks(model, random_masks(model, seed, share))
    clean(model, image())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again = clean(model, image())
    assert again.total == 0 and not again.channels
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())
    # Whatever the picture, channels that are not fed hold exactly zero.
    program = trace_program(model, image())
    live = find_live(program)
    values: dict[str, Tensor] = {}
    for name, part in model.named_modules():
        part.register_forward_hook(lambda m, i, o, n=name: values.__setitem__(n, o.detach()))
    model(image(1))
    for step in program.operations:
        if step.kind in ("convolution", "batch_norm"):
            dead = torch.from_numpy(~live.channels[step.index])
            assert values[step.module][:, dead].count_nonzero() == 0
    for name, mask in get_masks(model).items():
        assert torch.equal(mask, torch.from_numpy(live.filters[name]))


@pytest.mark.parametrize("seed", range(3))
def test_unread_parts_do_not_change_the_output(seed: int) -> None:
    """Without shifts nothing that dies carries a signal, so the output stays bit for bit."""
    model = network(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        model.norm_a.running_mean.zero_()
        model.norm_b.running_mean.zero_()
    apply_masks(model, random_masks(model, seed, 0.4))
    before = model(image())
    clean(model, image())
    assert torch.equal(model(image()), before)


def test_constant_channels_behind_a_batch_norm_die() -> None:
    model = network(0)
    model.norm_a.running_var[1] = 1e-41
    report = clean(model, image())
    assert report.filters["a.weight"] == 1
    assert report.filters["b.weight"] == 4
    assert report.channels["norm_a.bias"] == (1,) and report.channels["a.bias"] == (1,)
    assert model(image())[0].isfinite().all()
    assert report.live_filters == summary(model, image()).filters.after
    assert clean(model, image()).total == 0
    assert "filters died" in str(report)


def test_retraining_keeps_dead_channels_dead() -> None:
    model = network(1)
    apply_masks(model, random_masks(model, 1, 0.3))
    clean(model, image())
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    model.train()
    for step in range(3):
        optimiser.zero_grad()
        model(image(step)).square().mean().backward()
        optimiser.step()
    for name, mask in get_channel_masks(model).items():
        module, _, attribute = name.rpartition(".")
        assert getattr(model.get_submodule(module), attribute)[~mask].count_nonzero() == 0
    for name, mask in get_masks(model).items():
        module, _, attribute = name.rpartition(".")
        assert getattr(model.get_submodule(module), attribute)[~mask].count_nonzero() == 0


def test_a_whole_network_needs_no_masks() -> None:
    model = network(2)
    keys = list(model.state_dict())
    assert clean(model, image()).total == 0
    assert list(model.state_dict()) == keys and get_masks(model) == {}
