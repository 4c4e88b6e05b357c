from pathlib import Path
from typing import Any, Literal

import pytest

from leanline.errors import ConfigError
from leanline.records.settings import accepts, call_with_settings, coerce


def make(count: int, *, rate: float = 0.5, names: "list[str] | None" = None, deep: bool = False):
    return count, rate, names, deep


def test_values_and_text_are_accepted():
    text = {"count": "3", "rate": "1e-3", "names": "a,b", "deep": "yes"}
    assert call_with_settings(make, text, "m") == (3, 0.001, ("a", "b"), True)
    assert call_with_settings(make, {"count": 3, "rate": 1}, "m") == (3, 1.0, None, False)
    assert call_with_settings(make, {"count": 1, "names": "none"}, "m")[2] is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cuont": 1}, "m has no setting 'cuont' .did you mean 'count'"),
        ({}, "m needs count: give count=..."),
        ({"count": "1.5"}, "m: count=1.5: must be a whole number, not '1.5'"),
        ({"count": True}, "must be a whole number"),
        ({"count": 1, "rate": "fast"}, "must be a number"),
        ({"count": 1, "deep": "perhaps"}, "must be true or false"),
    ],
)
def test_wrong_settings_are_explained(settings, words):
    with pytest.raises(ConfigError, match=words):
        call_with_settings(make, settings, "m")


@pytest.mark.parametrize(
    ("value", "hint", "want"),
    [
        ("4", int | None, 4),
        ("none", str | None, None),
        ("none", str, "none"),
        ("x", str | Path | None, "x"),
        ("zeros", Literal["zeros", "same"], "zeros"),
        ("(1, 2)", tuple[int, ...], (1, 2)),
        ([1.5, "2"], list[float], (1.5, 2.0)),
        ("2.5", Any, 2.5),
        ("plain words", Any, "plain words"),
        (7, Any, 7),
    ],
)
def test_types(value, hint, want):
    assert coerce(value, hint, "x") == want


def test_a_choice_that_is_none_is_explained():
    with pytest.raises(ConfigError, match="'zeros' or 'same'"):
        coerce("other", Literal["zeros", "same"], "x")


def test_functions_that_take_anything_or_tell_nothing():
    def anything(**settings):
        return settings

    assert call_with_settings(anything, {"a": "1"}, "m") == {"a": 1}
    assert accepts(anything, "b") and not accepts(make, "b")
    assert accepts(dict, "b")
