"""Sizes against counting by hand."""

import json

import torch
from torch import nn
from torch.nn.utils import parametrizations

from leanline.masks import apply_masks, remove_masks
from leanline.pruning import clean, summary


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
