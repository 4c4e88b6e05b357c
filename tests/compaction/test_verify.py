"""A compact network that is wrong is refused, with the first operation that is."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leanline.compaction import compact, emit_layers, rewrite
from leanline.errors import ModelError
from networks import Net, c3, conv

from .random_nets import randomise
from .test_sizes import pruned


def network() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.first(x).relu()
        y = m.second(y).relu()
        y = y + m.third(y)
        return m.out(torch.cat([y, m.first(x)], 1))

    layers = {"first": c3(2, 4), "second": c3(4, 4), "third": c3(4, 4), "out": conv(8, 2, 1)}
    return pruned(randomise(Net(forward, **layers), 0))


@pytest.mark.parametrize("layer", ["first", "second", "third", "out"])
def test_a_wrong_layer_is_named(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slice_layer = emit_layers.slice_layer

    def sabotage(program: Any, operation: Any, *channels: Any) -> nn.Module:
        made = slice_layer(program, operation, *channels)
        if operation.module == layer:
            with torch.no_grad():
                made.weight[0].add_(0.1)
        return made

    monkeypatch.setattr(emit_layers, "slice_layer", sabotage)
    with pytest.raises(ModelError) as caught:
        compact(network(), torch.zeros(1, 2, 9, 9))
    said = str(caught.value)
    assert "deviates from the model" in said and "first operation that does is" in said
    assert f"(convolution, {layer}, " in said and ".py:" in said


def test_a_wrong_sum_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    emit_add = rewrite._EMITTERS["add"]

    def sabotage(draft: Any, operation: Any) -> None:
        emit_add(draft, operation)
        (node,) = {reference[0] for reference in draft.values[operation.index] if reference}
        assert node.target is operator.add
        node.target = operator.sub

    monkeypatch.setitem(rewrite._EMITTERS, "add", sabotage)
    with pytest.raises(ModelError, match=r"is 'add[^']*' \(add, test_verify.py:\d+\)"):
        compact(network(), torch.zeros(1, 2, 9, 9))


def test_a_wrong_shape_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    slice_layer = emit_layers.slice_layer

    def sabotage(program: Any, operation: Any, *channels: Any) -> nn.Module:
        made = slice_layer(program, operation, *channels)
        if operation.module == "second":
            made.padding = (2, 2)
        return made

    monkeypatch.setattr(emit_layers, "slice_layer", sabotage)
    model = network()
    model.function = lambda m, x: m.out(torch.cat([m.second(m.first(x).relu())] * 2, 1))
    with pytest.raises(ModelError, match=r"\(convolution, second, "):
        compact(model, torch.zeros(1, 2, 9, 9))
