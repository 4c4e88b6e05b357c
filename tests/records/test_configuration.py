import enum
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leanline.errors import ConfigError
from leanline.records.configuration import canonical, describe_difference, plain


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Lean:
    refill: bool = True
    keep: float = 0.1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_everything_that_may_stand_in_a_configuration() -> None:
    config = {
        "out": Path("runs") / "x",
        "colour": Colour.RED,
        "criterion": Lean(),
        "sizes": (1, 2),
        "names": {"b", "a"},
        "seed": np.int64(3),
        "loss": torch.tensor(0.5),
        7: None,
    }
    assert plain(config) == {
        "out": str(Path("runs/x")),
        "colour": "red",
        "criterion": {"class": "Lean", "refill": True, "keep": 0.1},
        "sizes": [1, 2],
        "names": ["a", "b"],
        "seed": 3,
        "loss": 0.5,
        "7": None,
    }


def test_what_may_not_is_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.layers\[1\] is a Linear"):
        plain({"model": {"layers": [1, torch.nn.Linear(1, 1)]}})


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_plain_values_survive_json(config: dict[str, object]) -> None:
    text = canonical(plain(config))
    back = json.loads(text)
    assert canonical(back) == text
    assert describe_difference(plain(config), back) == []


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_order_does_not_matter(config: dict[str, object]) -> None:
    turned = dict(reversed(list(config.items())))
    assert canonical(plain(turned)) == canonical(plain(config))


def test_differences_are_named_with_both_values() -> None:
    before = {"seed": 0, "criterion": {"class": "Lean", "keep": 0.1}, "x": None, "n": math.nan}
    now = {"seed": 0, "criterion": {"class": "Lean", "keep": 0.2}, "new": "y", "n": math.nan}
    assert describe_difference(before, now) == [
        "criterion.keep was 0.1, now 0.2",
        'new was not set, now "y"',
        "x was null, now not set",
    ]
