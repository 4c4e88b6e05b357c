"""What a kernel can be tuned over: parameters with lists of values, and constraints on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Int64

from leanline.errors import ConfigError
from leanline.tuning.constraints import Constraint, parse_constraint, plain_column

Value: TypeAlias = bool | int | float | str
Configuration: TypeAlias = Mapping[str, Value]
Predicate: TypeAlias = Callable[[dict[str, Any]], object]
"""Called with a configuration (and the constants); what it returns is taken as true or false."""

Neighbourhood: TypeAlias = Literal["hamming", "adjacent"]
"""``hamming``: one parameter has any other value. ``adjacent``: one parameter has the value before
or after its own in its list."""

Codes: TypeAlias = Int64[np.ndarray, "configurations"]

CHUNK = 1 << 17
"""Configurations that are looked at together while valid ones are listed."""

LARGEST_SPACE = 2**53
"""Codes stay exact in double precision, in which random ones are drawn."""


class SearchSpace:
    """The configurations that a kernel can have.

    A configuration has an integer code: the mixed-radix number whose digits are the positions of
    its values in their lists, the first parameter most significant. Codes count the Cartesian
    product of the lists in the order of `itertools.product`. A configuration is valid if it meets
    all constraints.

    ```python
    space = SearchSpace(
        {"block_size_x": [16, 32, 64], "block_size_y": [1, 2, 4, 8]},
        constraints=["block_size_x * block_size_y <= 256"],
    )
    ```

    Attributes:
        names: The parameters.
        values: The list of values of each.
        constants: Numbers and text that constraints may name beside the parameters.
        constraints: Expressions (see `constraints`) and predicates.
        sizes: Number of values of each parameter.
        strides: What a step of each digit adds to the code.
        cartesian_size: Number of codes.
    """

    def __init__(
        self,
        parameters: Mapping[str, Sequence[Value]],
        constraints: Sequence[str | Predicate] = (),
        constants: Mapping[str, Value] | None = None,
    ) -> None:
        """Make a space.

        Args:
            parameters: Name to list of values: numbers, text or truth values, none twice.
            constraints: Expressions as text, and Python functions of a configuration.
            constants: Names with one value, which are no part of a configuration.

        Raises:
            ConfigError: No parameter, a list that is empty or holds something twice or something
                else, a constraint outside the grammar, or a product beyond 2^53 configurations.
        """
        if not parameters:
            raise ConfigError("a search space needs at least one parameter; none was given")
        self.names = tuple(parameters)
        self.values = tuple(_checked(name, parameters[name]) for name in self.names)
        self.constants = dict(constants or {})
        both = set(self.constants) & set(self.names)
        if both:
            raise ConfigError(f"{sorted(both)} are given as parameters and as constants")
        if isinstance(constraints, str) or not isinstance(constraints, Iterable):
            raise ConfigError(
                f"constraints={constraints!r} was given; a list is wanted, such as "
                f"[{constraints!r}]"
            )
        for name, value in self.constants.items():
            _checked(name, (value,), "constant")
        self.constraints = tuple(constraints)
        self.cartesian_size = math.prod(len(values) for values in self.values)
        if self.cartesian_size > LARGEST_SPACE:
            raise ConfigError(
                f"a search space of {self.cartesian_size:.2e} configurations was given, at most "
                "2^53 (9.0e15) can be numbered; give fewer parameters or values"
            )
        self.sizes = np.array([len(values) for values in self.values], dtype=np.int64)
        self.strides = np.append(np.cumprod(self.sizes[:0:-1])[::-1], 1).astype(np.int64)
        allowed = (*self.names, *self.constants)
        self._parsed = [
            parse_constraint(each, allowed) if isinstance(each, str) else each
            for each in self.constraints
        ]
        for each in self._parsed:
            if not callable(each) and not isinstance(each, Constraint):
                raise ConfigError(
                    f"constraint {each!r} is a {type(each).__name__}; text or a function is wanted"
                )
        self._columns = tuple(_column(values) for values in self.values)
        self._positions = tuple(
            {_key(value): at for at, value in enumerate(values)} for values in self.values
        )

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{name}: {size}" for name, size in zip(self.names, self.sizes, strict=True)
        )
        return (
            f"SearchSpace({parts}; {self.cartesian_size:,} configurations, "
            f"{len(self.constraints)} constraints)"
        )

    @property
    def bits(self) -> int:
        """Sum of the numbers of values over the parameters that have more than one.

        The length of a one-hot code of a configuration; the paper gives step sizes as shares of it.
        """
        return int(self.sizes[self.sizes > 1].sum())

    def encode(self, configuration: Configuration) -> int:
        """Return the code of a configuration, valid or not.

        Raises:
            ConfigError: A parameter is missing, unknown, or has a value outside its list.
        """
        if set(configuration) != set(self.names):
            raise ConfigError(
                f"a configuration of {', '.join(self.names)} is wanted; given was one of "
                f"{', '.join(map(str, configuration)) or 'nothing'}"
            )
        code = 0
        for name, positions, stride in zip(self.names, self._positions, self.strides, strict=True):
            value = configuration[name]
            digit = positions.get(_key(value))
            if digit is None:
                values = [each for _, each in positions]
                listed = ", ".join(map(repr, values[:8])) + (", ..." if len(values) > 8 else "")
                raise ConfigError(
                    f"parameter {name} was given as {value!r}, which is none of its "
                    f"{len(positions)} values ({listed})"
                )
            code += digit * int(stride)
        return code

    def decode(self, code: int) -> dict[str, Value]:
        """Return the configuration with a code, parameter to value.

        Raises:
            ConfigError: There is no such code.
        """
        self._check(np.array([code], dtype=np.int64))
        digits = self.digits(np.array([code], dtype=np.int64))[0]
        rows = zip(self.names, self.values, digits, strict=True)
        return {name: values[digit] for name, values, digit in rows}

    def digits(self, codes: Codes) -> Int64[np.ndarray, "configurations parameters"]:
        """Return the position of each parameter's value in its list."""
        return codes[:, None] // self.strides % self.sizes

    def codes(self, digits: Int64[np.ndarray, "configurations parameters"]) -> Codes:
        """Return the codes of configurations given by positions."""
        return np.asarray(digits @ self.strides, dtype=np.int64)

    def columns(self, codes: Codes) -> dict[str, np.ndarray]:
        """Return the values of configurations, an array a parameter."""
        digits = self.digits(codes).T
        return {
            name: column[digit]
            for name, column, digit in zip(self.names, self._columns, digits, strict=True)
        }

    def is_valid(self, codes: Codes) -> Bool[np.ndarray, "configurations"]:
        """Tell which configurations meet all constraints.

        Raises:
            ConfigError: There is no such code, or a constraint has no value for one of them.
        """
        self._check(codes)
        valid = np.ones(len(codes), dtype=bool)
        for constraint in self._parsed:
            left = codes[valid]
            if len(left):
                valid[valid] = self._meets(constraint, left, len(self.names) - 1)
        return valid

    def valid_codes(self) -> Codes:
        """Return the codes of all valid configurations, ascending, kept for the next call."""
        return self._valid

    @cached_property
    def _valid(self) -> Codes:
        chunks = list(self.valid_chunks())
        found = np.concatenate(chunks) if chunks else np.empty(0, dtype=np.int64)
        found.flags.writeable = False
        return found

    def valid_chunks(self, chunk: int = CHUNK) -> Iterator[Codes]:
        """Yield the codes of all valid configurations, ascending, a bounded number at a time.

        A constraint is looked at as soon as the parameters that it names have values, so that the
        Cartesian product is never held, nor walked where its first parameters rule it out.
        """
        last = len(self.names) - 1
        due: list[list[Constraint | Predicate]] = [[] for _ in self.names]
        for constraint in self._parsed:
            named = constraint.parameters if isinstance(constraint, Constraint) else self.names
            places = [self.names.index(name) for name in named if name in self.names]
            due[max(places, default=0) if isinstance(constraint, Constraint) else last].append(
                constraint
            )

        def grow(level: int, prefixes: Codes) -> Iterator[Codes]:
            size = int(self.sizes[level])
            width = max(1, chunk // size)
            for start in range(0, len(prefixes), width):
                some = prefixes[start : start + width, None] * size + np.arange(size)
                codes = some.reshape(-1)
                for constraint in tuple(due[level]):
                    if not len(codes):
                        break
                    try:
                        codes = codes[self._meets(constraint, codes, level)]
                    except ConfigError:  # without a value, unless those before it say no
                        if level == last:
                            raise
                        due[level].remove(constraint)
                        due[last] = sorted([*due[last], constraint], key=self._parsed.index)
                if not len(codes):
                    continue
                if level == last:
                    yield codes
                else:
                    yield from grow(level + 1, codes)

        yield from grow(0, np.zeros(1, dtype=np.int64))

    def neighbours(self, code: int, neighbourhood: Neighbourhood = "hamming") -> Codes:
        """Return the codes of a configuration's neighbours, valid or not, ascending.

        Args:
            code: The configuration.
            neighbourhood: Which configurations are neighbours.

        Raises:
            ConfigError: There is no such code or neighbourhood.
        """
        self._check(np.array([code], dtype=np.int64))
        if neighbourhood not in ("hamming", "adjacent"):
            raise ConfigError(
                f"neighbourhood {neighbourhood!r} was asked for; there are hamming and adjacent"
            )
        found: list[int] = []
        for size, stride in zip(self.sizes.tolist(), self.strides.tolist(), strict=True):
            digit = code // stride % size
            near = neighbourhood == "adjacent"
            first, last = (max(0, digit - 1), min(size - 1, digit + 1)) if near else (0, size - 1)
            found += [
                code + (other - digit) * stride
                for other in range(first, last + 1)
                if other != digit
            ]
        return np.array(sorted(found), dtype=np.int64)

    def _meets(
        self, constraint: Constraint | Predicate, codes: Codes, level: int
    ) -> Bool[np.ndarray, "configurations"]:
        """Whether configurations meet a constraint; their codes end with the digit of `level`."""
        if not isinstance(constraint, Constraint):
            rows = self.digits(codes)
            return np.array([bool(constraint(self._named(row))) for row in rows], dtype=bool)
        columns: dict[str, np.ndarray] = {
            name: np.full(len(codes), value) for name, value in self.constants.items()
        }
        rest = codes
        for at in range(level, -1, -1):
            columns[self.names[at]] = self._columns[at][rest % self.sizes[at]]
            rest = rest // self.sizes[at]
        return constraint.holds(columns)

    def _named(self, digits: Int64[np.ndarray, "parameters"]) -> dict[str, Any]:
        """A configuration with the constants, for predicates."""
        rows = zip(self.names, self.values, digits, strict=True)
        return {**self.constants, **{name: values[digit] for name, values, digit in rows}}

    def _check(self, codes: Codes) -> None:
        wrong = (codes < 0) | (codes >= self.cartesian_size)
        if wrong.any():
            raise ConfigError(
                f"code {codes[wrong][0]} is outside the space's {self.cartesian_size:,} codes"
            )


def _checked(name: str, values: Any, kind: str = "parameter") -> tuple[Value, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"{kind} {name} needs a list of values; given was {values!r}")
    listed = tuple(
        value.item() if isinstance(value, np.generic) else value
        for value in (values.tolist() if isinstance(values, np.ndarray) else values)
    )
    if not listed:
        raise ConfigError(f"{kind} {name} needs a list of values; given was {values!r}")
    for value in listed:
        if not isinstance(value, bool | int | float | str) or value != value:
            raise ConfigError(
                f"{kind} {name} has the value {value!r}; numbers, text and truth values can be"
            )
        if isinstance(value, int) and abs(value) > LARGEST_SPACE:
            raise ConfigError(f"{kind} {name} has the value {value}, which is beyond 2^53")
    if len({_key(value) for value in listed}) < len(listed):
        raise ConfigError(f"parameter {name} has a value twice: {list(listed)}")
    return listed


def _column(values: tuple[Value, ...]) -> np.ndarray:
    """The values as an array: of numbers, of text, or of both as objects."""
    if len({isinstance(value, str) for value in values}) == 1:
        return plain_column(np.array(values))
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _key(value: Any) -> tuple[bool, Any]:
    """What tells values apart: 1 and 1.0 are one value, "1" is another."""
    if isinstance(value, np.generic):
        value = value.item()
    return isinstance(value, str), value
