"""ONNX Runtime as a module."""

import copy

import pytest
import torch
from torch import nn

import leanline as ll
from leanline.errors import ModelError
from leanline.runtime import OnnxNetwork


def test_it_stands_beside_others_in_a_benchmark() -> None:
    model = ll.models.MSD(3, 1, 2)
    images = torch.randn(2, 1, 9, 12, generator=torch.Generator().manual_seed(0))
    network = OnnxNetwork.of(model, images, threads=1)
    assert (network.inputs, network.outputs, network.threads) == (("input",), ("output",), 1)
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(images), rtol=1e-4, atol=1e-5)
        turned = images.transpose(2, 3)  # not contiguous
        torch.testing.assert_close(network(turned), model(turned), rtol=1e-4, atol=1e-5)
    table = ll.benchmark({"torch": model, "onnx": network}, images, seconds=0)
    assert [row.name for row in table.rows] == ["torch", "onnx"]
    assert torch.equal(copy.deepcopy(network)(images), network(images))


def test_wrong_inputs() -> None:
    network = OnnxNetwork.of(nn.Conv2d(1, 2, 3), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ModelError, match=r"takes input; given: none"):
        network()
    with pytest.raises(ModelError, match=r"fails on inputs of \(1, 2, 8, 8\)"):
        network(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ModelError, match=r"fails on inputs of .*float64"):
        network(torch.zeros(1, 1, 8, 8, dtype=torch.float64))
    with pytest.raises(ModelError, match="runs on the CPU here; given: meta"):
        network(torch.zeros(1, 1, 8, 8, device="meta"))
