"""Constraints as text: a small grammar of expressions over the parameters, never evaluated as code.

The grammar is the part of Python's that the files of auto-tuners use: numbers, text, the names of
parameters, ``+ - * / // % **``, comparisons (chains too), ``in`` and ``not in`` a list, ``and``,
``or``, ``not``, ``x if c else y``, and the functions ``min``, ``max`` and ``abs``. It means what it
means in Python, for every row of a table of configurations at once.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from leanline.errors import ConfigError

Column: TypeAlias = np.ndarray
Columns: TypeAlias = Mapping[str, np.ndarray]
"""Name of a parameter to its values, one for each configuration; all of one length."""

LONGEST, DEEPEST = 10_000, 60
"""Characters of an expression, and how deep it may be nested."""

LARGEST = 2**53
"""Integers up to here are exact in double precision too; a result beyond is refused."""

_BINARY: dict[type[ast.operator], Callable[[Column, Column], Column]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Column, Column], Column]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
_FUNCTIONS: dict[str, Callable[[list[Column]], Column]] = {
    "min": lambda values: reduce(np.minimum, values),
    "max": lambda values: reduce(np.maximum, values),
    "abs": lambda values: np.abs(values[0]),
}


@dataclass(frozen=True)
class Constraint:
    """An expression that configurations must make true.

    Attributes:
        text: The expression.
        parameters: The names in it.
    """

    text: str
    parameters: frozenset[str]
    _tree: ast.expr

    def holds(self, columns: Columns) -> Bool[np.ndarray, "configurations"]:
        """Tell which configurations meet the constraint.

        Args:
            columns: At least the parameters of the constraint.

        Raises:
            ConfigError: The expression has no value for one of them: a division by zero, text
                where a number is wanted, an integer beyond 2^53.
        """
        rows = len(next(iter(columns.values())))
        used = {name: plain_column(columns[name]) for name in self.parameters}
        return _truth(_Evaluation(self.text, used).value(self._tree, np.arange(rows)))


def parse_constraint(text: str, names: Iterable[str]) -> Constraint:
    """Read a constraint.

    Args:
        text: The expression, such as ``"block_size_x * block_size_y <= 1024"``.
        names: The names that it may use.

    Raises:
        ConfigError: It is no expression, or holds something outside the grammar; the message says
            what and where.
    """
    known = frozenset(names)
    if len(text) > LONGEST:
        raise ConfigError(f"a constraint has {len(text):,} characters, at most {LONGEST:,} may be")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise ConfigError(f"constraint {_short(text)} is not an expression: {reason}") from None
    found: set[str] = set()
    _check(tree, text, known, found, 0)
    return Constraint(text, frozenset(found), tree)


def plain_column(values: Any) -> Column:
    """Return values as a column that the grammar computes with: truth values count as 0 and 1."""
    column = np.asarray(values)
    if column.dtype.kind in "bui":
        return column.astype(np.int64)
    return column.astype(np.float64) if column.dtype.kind == "f" else column


def _check(node: ast.expr, text: str, known: frozenset[str], found: set[str], depth: int) -> None:
    """Refuse what is outside the grammar; collect the names."""
    if depth > DEEPEST:
        raise ConfigError(f"constraint {_short(text)} is nested more than {DEEPEST} deep")
    inner: list[ast.expr]
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            inner = []
            if isinstance(node.value, int) and abs(node.value) > LARGEST:
                raise ConfigError(f"constraint {_short(text)} holds an integer beyond 2^53")
        case ast.Name():
            inner = []
            if node.id not in known:
                raise ConfigError(
                    f"constraint {_short(text)} names {node.id!r}, which is no parameter; there "
                    f"are {', '.join(sorted(known)) or 'none'}"
                )
            found.add(node.id)
        case ast.BoolOp():
            inner = node.values
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd()):
            inner = [node.operand]
        case ast.BinOp() if type(node.op) in _BINARY:
            inner = [node.left, node.right]
        case ast.Compare():
            inner = [node.left]
            for operator, right in zip(node.ops, node.comparators, strict=True):
                if isinstance(operator, ast.In | ast.NotIn) and isinstance(
                    right, ast.List | ast.Tuple | ast.Set
                ):
                    if right is not node.comparators[-1]:  # the list itself would be compared
                        raise _outside(text, node, "a comparison with a list")
                    inner += right.elts
                elif type(operator) in _COMPARE:
                    inner.append(right)
                else:
                    raise _outside(text, node, "this comparison")
        case ast.IfExp():
            inner = [node.test, node.body, node.orelse]
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            inner = node.args
            if len(inner) < 1 or (name == "abs") != (len(inner) == 1):
                raise ConfigError(f"constraint {_short(text)} gives {name} {len(inner)} arguments")
        case _:
            raise _outside(text, node, type(node).__name__.lower())
    for each in inner:
        _check(each, text, known, found, depth + 1)


class _Evaluation:
    """The value of an expression for some of the rows, with Python's short circuits."""

    def __init__(self, text: str, columns: Columns) -> None:
        self._text, self._columns = text, columns

    def value(self, node: ast.expr, rows: np.ndarray) -> Column:
        """The value of a node for the rows with these numbers."""
        match node:
            case ast.Constant():
                return plain_column(np.full(len(rows), node.value))
            case ast.Name():
                return np.asarray(self._columns[node.id][rows])
            case ast.BoolOp():
                return self._either(node, rows)
            case ast.IfExp():
                test = _truth(self.value(node.test, rows))
                return self._merge(
                    rows, [(test, self.value(node.body, rows[test]))], node.orelse, ~test
                )
            case ast.UnaryOp(op=ast.Not()):
                return (~_truth(self.value(node.operand, rows))).astype(np.int64)
            case ast.UnaryOp():
                zero = np.zeros(len(rows), dtype=np.int64)
                operator = np.subtract if isinstance(node.op, ast.USub) else np.add
                return self._apply(operator, zero, self.value(node.operand, rows))
            case ast.BinOp():
                return self._apply(
                    _BINARY[type(node.op)],
                    self.value(node.left, rows),
                    self.value(node.right, rows),
                )
            case ast.Compare():
                return self._compare(node, rows)
            case ast.Call(func=ast.Name(id=name)):
                values = [self._number(self.value(each, rows)) for each in node.args]
                return _FUNCTIONS[name](values)
        raise AssertionError(type(node))  # _check let nothing else through

    def _either(self, node: ast.BoolOp, rows: np.ndarray) -> Column:
        """``and`` and ``or``: the right side counts only where the left one leaves it open."""
        result = self.value(node.values[0], rows)
        for right in node.values[1:]:
            true = _truth(result)
            going = true if isinstance(node.op, ast.And) else ~true
            result = self._merge(rows, [(~going, result[~going])], right, going)
        return result

    def _merge(
        self,
        rows: np.ndarray,
        parts: list[tuple[np.ndarray, Column]],
        rest: ast.expr,
        rest_rows: np.ndarray,
    ) -> Column:
        parts = [*parts, (rest_rows, self.value(rest, rows[rest_rows]))]
        filled = [part for part in parts if len(part[1])] or parts[:1]
        kinds = {values.dtype.kind in "if" for _, values in filled}
        dtype = object if len(kinds) > 1 else np.result_type(*(values for _, values in filled))
        merged = np.empty(len(rows), dtype=dtype)
        for where, values in filled:
            merged[where] = values
        return merged

    def _compare(self, node: ast.Compare, rows: np.ndarray) -> Column:
        going = np.arange(len(rows))  # where all links of the chain so far hold
        left = self.value(node.left, rows)
        for operator, right_node in zip(node.ops, node.comparators, strict=True):
            right = left
            if isinstance(operator, ast.In | ast.NotIn):
                assert isinstance(right_node, ast.List | ast.Tuple | ast.Set)
                link = np.zeros(len(going), dtype=bool)
                for each in right_node.elts:
                    link |= self._link(ast.Eq(), left, self.value(each, rows[going]))
                link = ~link if isinstance(operator, ast.NotIn) else link
            else:
                right = self.value(right_node, rows[going])
                link = self._link(operator, left, right)
            going, left = going[link], right[link]
        true = np.zeros(len(rows), dtype=np.int64)
        true[going] = 1
        return true

    def _link(self, operator: ast.cmpop, left: Column, right: Column) -> np.ndarray:
        try:
            return np.asarray(_COMPARE[type(operator)](left, right), dtype=bool)
        except (TypeError, np.exceptions.DTypePromotionError):
            if isinstance(operator, ast.Eq | ast.NotEq):  # text is never equal to a number
                return np.full(len(left), isinstance(operator, ast.NotEq))
            raise ConfigError(
                f"constraint {_short(self._text)} puts text and numbers in order"
            ) from None

    def _apply(
        self, operator: Callable[[Column, Column], Column], left: Column, right: Column
    ) -> Column:
        left, right = self._number(left), self._number(right)
        if operator in (np.true_divide, np.floor_divide, np.mod) and not right.all():
            raise ConfigError(f"constraint {_short(self._text)} divides by zero")
        whole = left.dtype.kind == right.dtype.kind == "i"
        if operator is np.power and whole and (right < 0).any():
            left, whole = left.astype(np.float64), False
        with np.errstate(all="ignore"):
            estimate = operator(left.astype(np.float64), right.astype(np.float64))
            if not np.isfinite(estimate).all() or (whole and (np.abs(estimate) > LARGEST).any()):
                raise ConfigError(
                    f"constraint {_short(self._text)} has a value that is infinite, not a number "
                    "or an integer beyond 2^53"
                )
            return operator(left, right)

    def _number(self, column: Column) -> Column:
        if column.dtype == object and not any(isinstance(value, str) for value in column):
            column = plain_column(column.tolist())
        if column.dtype.kind not in "if":
            raise ConfigError(f"constraint {_short(self._text)} computes with text")
        return column


def _truth(column: Column) -> Bool[np.ndarray, "_"]:
    """What counts as true: numbers but zero, text but the empty one."""
    if column.dtype == object:
        return np.array([bool(value) for value in column], dtype=bool)
    return np.asarray(column != ("" if column.dtype.kind in "US" else 0), dtype=bool)


def _outside(text: str, node: ast.expr, what: str) -> ConfigError:
    part = ast.get_source_segment(text.strip(), node) or ""
    return ConfigError(
        f"constraint {_short(text)} holds {what} ({_short(part)}), which is outside the grammar: "
        "numbers, text, parameters, + - * / // % **, comparisons, in [...], and, or, not, "
        "x if c else y, min, max, abs"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
