"""Sizes against counting by hand."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

import leanline as ll
from leanline.errors import ModelError
from leanline.masks import apply_masks, remove_masks
from leanline.models import MSD, UNet4
from leanline.pruning import clean, summary
from leanline.records.tensors import save_tensors


def test_counts_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 2, 1, bias=False),
        nn.ConvTranspose2d(2, 2, 2, stride=2, groups=2),
    )
    image = torch.zeros(1, 1, 8, 8)
    whole = summary(model, image)
    assert whole.filters.before == whole.filters.after == whole.kept == 4 + 8 + 2
    assert whole.channels.before == 8
    assert whole.parameters.before == sum(p.numel() for p in model.parameters())
    assert whole.parameters.after == whole.parameters.before
    assert whole.macs.before == 64 * 9 * 4 + 64 * 8 + 64 * 4 * 2
    masks = {"0.weight": torch.tensor([[True], [True], [False], [False]])}
    masks["3.weight"] = torch.tensor([[True, False, True, False], [False] * 4])
    masks["4.weight"] = torch.ones(2, 1, dtype=torch.bool)
    apply_masks(model, masks)
    part = summary(model, image)
    assert part.kept == 2 + 2 + 2
    assert part.filters.after == 1 + 1 + 1  # channel 0 only
    assert part.channels.after == 3
    assert part.macs.after == 64 * 9 + 64 + 64 * 4
    assert part.parameters.after == (9 + 1) + 2 + 1 + (4 + 1)
    clean(model, image)
    assert summary(model, image).filters == part.filters
    assert summary(model, image).parameters == part.parameters
    assert json.loads(json.dumps(part.to_dict()))["filters"] == {"before": 14, "after": 3}
    assert "3 of 14" in str(part)


def test_what_was_pruned_stays_counted_once_the_masks_are_baked() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    image = torch.zeros(1, 1, 8, 8)
    apply_masks(model, {"0.weight": torch.tensor([[True], [True], [False], [False]])})
    apply_masks(model, {"2.weight": torch.tensor([[True, False, True, False], [False] * 4])})
    clean(model, image)
    masked = summary(model, image)
    remove_masks(model)
    assert summary(model, image) == masked
    assert (masked.filters.before, masked.filters.after, masked.kept) == (12, 2, 2)


def test_a_weight_of_two_parameters_counts_as_one() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(1, 4, 3)))
    found = summary(model, torch.zeros(1, 1, 8, 8))
    assert found.parameters.before == found.parameters.after == 36 + 4


class Volumes(nn.Module):
    """Convolutions of one and three dimensions, transposed, grouped, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(1, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose3d(4, 2, 2, stride=2, groups=2)
        self.line = nn.Conv1d(2, 6, 3, padding=2, dilation=2, groups=2)
        self.back = nn.ConvTranspose1d(6, 3, 3, stride=2, padding=1)
        self.numbers = nn.Linear(3, 5)
        self.last = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.down(x).relu()).flatten(2)
        y = self.back(self.line(y).relu())
        return self.last(self.numbers(y.mean(2)).relu())


def mobile() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Conv2d(8, 12, 1, groups=4),
        nn.ConvTranspose2d(12, 4, 3, stride=2, padding=1, output_padding=1),
        nn.Conv2d(4, 3, (1, 3)),
    )


NETWORKS = {
    "msd": (lambda: MSD(8, 1, 2), (2, 1, 16, 20)),
    "unet": (lambda: UNet4(1, 2, width=4), (1, 1, 32, 32)),
    "mobile": (mobile, (3, 1, 16, 12)),
    "volumes": (Volumes, (2, 1, 6, 8, 6)),
}


def macs_counted_by_pytorch(model: nn.Module, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(images)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_against_pytorch_before_and_after(name: str) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    model, images = make(), torch.randn(shape)
    expected = macs_counted_by_pytorch(model, images)
    generator = torch.Generator().manual_seed(1)
    masks = {
        n: torch.rand(p.shape[:2], generator=generator) < 0.4
        for n, p in model.named_parameters()
        if p.ndim >= 3
    }
    apply_masks(model, masks)
    clean(model, images)
    found, small = summary(model, images), ll.compact(model, images)
    assert found.compact is not None
    assert found.macs.before == found.compact.macs.before == expected
    assert found.compact.macs.after == macs_counted_by_pytorch(small, images)
    assert found.macs.after <= found.compact.macs.after <= found.macs.before
    held = sum(parameter.numel() for parameter in small.parameters())
    assert found.compact.parameters.after == held
    assert found.parameters.before == found.compact.parameters.before


def test_bytes_are_those_on_disk(tmp_path: Path) -> None:
    model, image = mobile(), torch.zeros(1, 1, 16, 16)
    save_tensors(tmp_path / "dense", model.state_dict())
    apply_masks(model, {"0.weight": (torch.arange(8) < 3)[:, None]})
    clean(model, image)
    small = ll.compact(model, image)
    ll.save(small, tmp_path / "small")
    found = summary(model, image, small=small)
    assert found == summary(model, image)
    assert found.compact is not None
    assert found.compact.bytes.before == (tmp_path / "dense").stat().st_size
    assert found.compact.bytes.after == (tmp_path / "small").stat().st_size
    assert "bytes on disk" in str(found)


def test_times_are_of_the_same_run() -> None:
    model, image = MSD(4, 1, 2), torch.zeros(1, 1, 16, 16)
    assert summary(model, image).timing is None
    found = summary(model, image, seconds=0)
    assert found.timing is not None
    assert [row.name for row in found.timing.rows] == ["before", "compact", "kernels"]
    assert json.loads(json.dumps(found.to_dict()))["timing"]["rounds"] == 5
    assert "ms kernels" in str(found)
    other = summary(nn.Sequential(nn.Conv1d(1, 2, 3)), torch.zeros(1, 1, 9), seconds=0)
    assert other.timing is not None
    assert [row.name for row in other.timing.rows] == ["before", "compact"]


def test_a_network_that_cannot_be_compacted_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: nn.Module, example_inputs: object) -> nn.Module:
        raise ModelError("it deviates")

    monkeypatch.setattr("leanline.compaction.compact", refuse)
    found = summary(mobile(), torch.zeros(1, 1, 16, 16), seconds=0)
    assert found.compact is None and found.problem == "it deviates"
    assert "not possible: it deviates" in str(found)
    assert found.timing is not None and [row.name for row in found.timing.rows] == ["before"]
