"""Data movement: channel numbers against loops, and against values that are moved alike."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from leanline.graph.moved import ZERO, natural_axis, sources


@given(st.data())
def test_sources_are_the_numbers_on_each_index(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))
    count = int(np.prod(shape))
    numbers = data.draw(st.lists(st.integers(ZERO, 5), min_size=count, max_size=count))
    channel = torch.tensor(numbers, dtype=torch.int32).reshape(shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    expected = set()
    for place in np.ndindex(*shape):
        number = int(channel[place])
        if number != ZERO:
            expected.add((number, place[axis] if len(shape) > 1 else 0))
    found = sources(channel, axis)
    assert set(map(tuple, found.T.tolist())) == expected
    assert found.shape[1] == len(expected)
    assert found.T.tolist() == sorted(found.T.tolist(), key=lambda pair: (pair[1], pair[0]))


def numbered(channels: int, *size: int) -> Tensor:
    image = torch.arange(channels, dtype=torch.int32).reshape(1, channels, *(1 for _ in size))
    return image.expand(2, channels, *size)


@pytest.mark.parametrize(
    "moved, axis",
    [
        (numbered(6, 4, 5), 1),
        (numbered(6, 4, 5).permute(0, 2, 3, 1), 3),
        (numbered(6, 4, 5).flatten(2).transpose(1, 2), 2),
        (numbered(6, 4, 5).flatten(1), 1),
        (numbered(1, 4, 5).permute(0, 2, 3, 1), 3),
        (numbered(6, 4, 4).reshape(2, 6, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).flatten(0, 2), 3),
        (F.pixel_shuffle(numbered(8, 4, 5), 2), 1),
        (numbered(6, 4, 5).reshape(2, 2, 3, 4, 5), 2),
    ],
)
def test_natural_axis(moved: Tensor, axis: int) -> None:
    assert natural_axis(moved) == axis
