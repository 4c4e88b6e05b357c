import math

import pytest
import torch

from leanline.errors import ConfigError
from leanline.training import MSE, NLL


def by_hand(logits, labels, ignore=None, weights=None):
    total, weight = 0.0, 0.0
    for b in range(labels.shape[0]):
        for i in range(labels.shape[1]):
            k = int(labels[b, i])
            if k == ignore:
                continue
            w = 1.0 if weights is None else weights[k]
            exponentials = [math.exp(v) for v in logits[b, :, i].tolist()]
            total -= w * math.log(exponentials[k] / sum(exponentials))
            weight += w
    return total / weight


@pytest.mark.parametrize("ignore", [None, 2, 255])
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_nll_agrees_with_a_sum_by_hand(ignore, weights):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 5), generator=generator)
    if ignore == 255:
        labels[1, 2:] = 255
    value = NLL(ignore, weights)(logits, labels)
    assert value.item() == pytest.approx(by_hand(logits, labels, ignore, weights), rel=1e-5)


@pytest.mark.parametrize("ignore", [None, 2])
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_parts_of_a_batch_weigh_what_they_count(ignore, weights):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 3, 7, generator=generator)
    labels = torch.randint(0, 3, (3, 7), generator=generator)
    labels[0] = 2
    loss = NLL(ignore, weights)
    parts = [
        (loss(*part), loss.weight(part[1]))
        for part in zip(logits.split(1), labels.split(1), strict=True)
    ]
    mean = sum(float(value) * weight for value, weight in parts) / sum(w for _, w in parts)
    assert float(loss(logits, labels)) == pytest.approx(mean, rel=1e-5)


def test_a_batch_that_is_all_ignored_changes_nothing():
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    loss = NLL(ignore=9)(logits, torch.full((1, 3), 9))
    loss.backward()
    assert loss.item() == 0 and logits.grad.abs().max() == 0


def test_wrong_weights_are_refused():
    with pytest.raises(ConfigError, match="not be negative"):
        NLL(weights=(1.0, -1.0))
    with pytest.raises(ConfigError, match="2 class weights for 3 classes"):
        NLL(weights=(1.0, 1.0))(torch.zeros(1, 3, 2), torch.zeros(1, 2, dtype=torch.int64))


def test_mse():
    one, other = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.0, 4.0]]])
    assert MSE()(one, other).item() == pytest.approx(2.5)
