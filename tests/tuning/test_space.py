"""Search spaces against itertools, Python's own expressions, and the definitions of neighbours."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanline.errors import ConfigError
from leanline.tuning import SearchSpace, paper_space, parse_constraint

VALUES = {"a": [1, 2, 3, 5, 8], "b": [4, 2, 1], "c": [0.5, 1.0, 2.0], "d": ["x", "y"], "e": [0, 1]}


def python_says(text: str, configuration: dict) -> bool:
    """What Python makes of an expression; here, in the test, it may be evaluated."""
    return bool(eval(text, {"min": min, "max": max, "abs": abs}, configuration))


EXPRESSIONS = [
    "a * b <= 8",
    "1 < a < 5",
    "a % b == 0 and c >= 1",
    "e != 0 and 8 % e == 0 or d == 'x'",
    "not (a == b or d in ['y', 'z'])",
    "a not in (1, 2) and d != 'y'",
    "(a if e else b) > 2",
    "min(a, b, 3) == max(c, 1)",
    "abs(b - a) >= 2 and -a < b",
    "a ** 2 - b // 2 < 10 / c",
    "(a and e) == 0",
    "d == 'x' if e == 0 else a > b",
    "d",
    "a == 'x' or b != d",
    "1 < a in [2, 3]",
    "(d if e else a) != 'x' and (d == 'y' or (d if e < 0 else a) * 2 > 2)",
    "(a if e else '')",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_mean_what_they_mean_in_python(text):
    space = SearchSpace(VALUES, [text])
    expected = [
        dict(zip(VALUES, row, strict=True))
        for row in itertools.product(*VALUES.values())
        if python_says(text, dict(zip(VALUES, row, strict=True)))
    ]
    assert [space.decode(int(code)) for code in space.valid_codes()] == expected


@settings(max_examples=60)
@given(data=st.data())
def test_random_expressions(data):
    number = st.sampled_from(["a", "b", "e", "1", "2", "3"])
    term = st.recursive(
        number,
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
            lambda x: f"({' '.join(x)})"
        ),
        max_leaves=4,
    )
    link = st.tuples(term, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), term).map(" ".join)
    text = data.draw(
        st.recursive(
            link,
            lambda inner: st.one_of(
                inner.map(lambda x: f"not ({x})"),
                st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
                    lambda x: f"({' '.join(x)})"
                ),
            ),
            max_leaves=5,
        )
    )
    space = SearchSpace(VALUES, [text])
    rows = [dict(zip(VALUES, row, strict=True)) for row in itertools.product(*VALUES.values())]
    expected = [python_says(text, row) for row in rows]
    assert space.is_valid(np.arange(len(rows))).tolist() == expected
    chunks = list(space.valid_chunks(chunk=7))
    assert (
        np.concatenate([*chunks, np.empty(0, np.int64)]).tolist()
        == np.flatnonzero(expected).tolist()
    )


def test_predicates_and_expressions_agree():
    text = ["a * b <= 8 and d == 'x'", "c < limit"]
    functions = [
        lambda row: row["a"] * row["b"] <= 8 and row["d"] == "x",
        lambda row: row["c"] < row["limit"],
    ]
    by_text = SearchSpace(VALUES, text, {"limit": 2})
    by_function = SearchSpace(VALUES, functions, {"limit": 2})
    assert by_text.valid_codes().tolist() == by_function.valid_codes().tolist() != []


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "a.real > 0",
        "[x for x in (1, 2)]",
        "lambda: a",
        "a[0]",
        "f'{a}'",
        "(a := 3)",
        "unknown > 2",
        "a >",
        "a = 2",
        "open('x')",
        "min(a, key=b)",
        "abs(a, b)",
        "a is b",
        "a @ b",
        "a & b",
        "a in [1, 2] == 1",
        "a in [1, 2] in [1]",
        "1j",
        "None",
        "(" * 5000 + "a" + ")" * 5000,
        "-" * 200 + "a",
        "a" * 20_000,
        f"a < {10**30}",
        "a\0",
    ],
)
def test_what_is_outside_the_grammar_is_refused(text):
    with pytest.raises(ConfigError):
        parse_constraint(text, VALUES)


@pytest.mark.parametrize("text", ["8 % e == 0", "a / e > 1", "d + a", "d < a", "9 ** 9 ** 9 > a"])
def test_an_expression_without_a_value_is_an_error(text):
    with pytest.raises(ConfigError, match=r"constraint"):
        SearchSpace(VALUES, [text]).valid_codes()


def test_a_constraint_may_guard_the_next():
    space = SearchSpace({"x": [0, 1, 3, 5], "y": [1, 2]}, ["x * y > 0", "10 % x == 0", "y < 3"])
    assert space.valid_codes().tolist() == np.flatnonzero(space.is_valid(np.arange(8))).tolist()
    assert [space.decode(int(code))["x"] for code in space.valid_codes()] == [1, 1, 5, 5]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_codes_count_the_product(sizes):
    space = SearchSpace({f"p{i}": list(range(10, 10 + n)) for i, n in enumerate(sizes)})
    rows = list(itertools.product(*space.values))
    assert [tuple(space.decode(code).values()) for code in range(math.prod(sizes))] == rows
    assert [space.encode(dict(zip(space.names, row, strict=True))) for row in rows] == list(
        range(len(rows))
    )
    codes = np.arange(len(rows))
    assert space.codes(space.digits(codes)).tolist() == codes.tolist()
    digits = space.digits(codes)
    apart = np.abs(digits[:, None] - digits[None])
    hamming = (apart != 0).sum(-1)
    for code in codes:
        near = (hamming[code] == 1) & (apart[code].sum(-1) == 1)
        assert space.neighbours(int(code)).tolist() == np.flatnonzero(hamming[code] == 1).tolist()
        assert space.neighbours(int(code), "adjacent").tolist() == np.flatnonzero(near).tolist()


@pytest.mark.parametrize(
    ("name", "cartesian", "valid", "bits"),
    [
        ("convolution", 18_432, 9_400, 38),
        ("gemm", 82_944, 17_956, 32),
        ("point-in-polygon", 8_184, 8_184, 51),
        ("convolution-mi50", 864, 864, 22),
    ],
)
def test_table_a_1(name, cartesian, valid, bits):
    space = paper_space(name)
    assert (space.cartesian_size, len(space.valid_codes()), space.bits) == (cartesian, valid, bits)
    assert space.is_valid(space.valid_codes()).all()


def test_a_large_space_is_listed_piece_by_piece():
    space = SearchSpace(
        {name: list(range(1, 101)) for name in "abcdef"},
        ["a * b == 100", "c < a", "b + d == 101", "e == f", "e <= 2"],
    )
    assert space.cartesian_size == 10**12
    largest = max(len(codes) for codes in space.valid_chunks(chunk=5_000))
    assert largest <= 5_000
    # c < a for the divisors a of 100, d follows from b, e from {1, 2}, f from e
    assert len(space.valid_codes()) == 2 * sum(n - 1 for n in (1, 2, 4, 5, 10, 20, 25, 50, 100))


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({}, {}, "at least one"),
        ({"a": []}, {}, "needs a list"),
        ({"a": "xy"}, {}, "needs a list"),
        ({"a": [8]}, {"constraints": "a > 1"}, r"such as \['a > 1'\]"),
        ({"a": [1, 1.0]}, {}, "twice"),
        ({"a": [float("nan")]}, {}, "nan"),
        ({"a": [1]}, {"constants": {"a": 2}}, "and as constants"),
        ({f"p{i}": list(range(100)) for i in range(9)}, {}, "2\\^53"),
    ],
)
def test_spaces_that_are_none(parameters, options, message):
    with pytest.raises(ConfigError, match=message):
        SearchSpace(parameters, **options)


def test_codes_and_configurations_outside_the_space():
    space = SearchSpace({"a": [1, 2], "b": ["x", "y"]})
    with pytest.raises(ConfigError, match="4 codes"):
        space.decode(4)
    with pytest.raises(ConfigError, match="none of its"):
        space.encode({"a": 3, "b": "x"})
    with pytest.raises(ConfigError, match="is wanted"):
        space.encode({"a": 1})
    assert space.encode({"b": "y", "a": np.int64(2)}) == 3
