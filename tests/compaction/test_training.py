"""What people do with a network after it is compact: compile, train, copy, spread."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leanline.compaction import compact, load, save
from leanline.models import UNet4

from .random_nets import mask_at_random, randomise
from .test_sizes import MODELS, pruned


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def unet() -> nn.Module:
    return UNet4(1, 2, width=2)


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return compact(mask_at_random(randomise(unet(), 0), 4), torch.zeros(1, 1, 16, 16))


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_compiled_as_one_graph() -> None:
    script = Path(__file__).with_name("fullgraph.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "done", done.stderr[-3000:]


def train(network: nn.Module, steps: int) -> list[float]:
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = network(images(2, 1, 17, 16)).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_training_the_same_way_in_copies_and_processes(small: nn.Module, one_process: None) -> None:
    first, second = copy.deepcopy(small).train(), copy.deepcopy(small).train()
    losses = train(first, 3)
    assert losses[-1] < losses[0]
    spread = nn.parallel.DistributedDataParallel(second)
    assert train(spread, 3) == pytest.approx(losses)
    assert not torch.equal(first.get_parameter("final.weight"), small.get_parameter("final.weight"))


def test_state_of_one_in_another(small: nn.Module) -> None:
    other = copy.deepcopy(small)
    with torch.no_grad():
        for value in other.parameters():
            value.add_(1)
    other.load_state_dict(small.state_dict())
    with torch.no_grad():
        assert torch.equal(other(images(1, 1, 20, 18)), small(images(1, 1, 20, 18)))


def test_frozen_parameters_stay_frozen(tmp_path: Path) -> None:
    model = mask_at_random(randomise(unet(), 0), 4)
    for name, value in model.named_parameters():
        value.requires_grad_(not name.startswith("encoder"))
    made = compact(model, torch.zeros(1, 1, 16, 16))
    frozen = {name for name, value in made.named_parameters() if not value.requires_grad}
    assert frozen == {name for name, _ in made.named_parameters() if name.startswith("encoder")}
    before = copy.deepcopy(made.state_dict())
    train(made, 1)
    moved = {name for name, value in made.named_parameters() if not value.equal(before[name])}
    assert moved and not moved & frozen
    made.get_parameter("final.bias").requires_grad_(False)  # by its user, later
    save(made, tmp_path / "net.safetensors")
    loaded = load(unet, tmp_path / "net.safetensors")
    again = {name for name, value in loaded.named_parameters() if not value.requires_grad}
    assert again == frozen | {"final.bias"}


@pytest.mark.parametrize("name", ["coordinates", "padded to a multiple"])
def test_what_reads_sizes_has_gradients(name: str) -> None:
    model = pruned(randomise(MODELS[name][0](), 0))
    made: Any = compact(model, torch.zeros(1, 2, 24, 24))
    shown = images(2, 2, 21, 25)
    for network in (model, made):
        network(shown).square().sum().backward()
    assert model.out.bias.grad is not None
    torch.testing.assert_close(made.get_parameter("out.bias").grad, model.out.bias.grad)
