"""`calculate_output` of a multi grader: arithmetic over the rewards of its graders, and no language.

Python's parser reads it and this file walks what it read: numbers, names, `+ - * / ^`, eight functions. All
values are floats, so that no number grows without end.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_LENGTH = 1000
MAX_DEPTH = 100
OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
_OF_MANY = ("min", "max")


@dataclass(frozen=True)
class Formula:
    names: frozenset[str]
    _tree: ast.expr

    def __call__(self, values: Mapping[str, float]) -> float:
        """Raises ValueError where the arithmetic has no finite result, as a division by zero."""
        try:
            result = _value(self._tree, values)
        except ZeroDivisionError:
            raise ValueError("it divides by zero") from None
        except OverflowError:
            raise ValueError("a number becomes too large") from None
        except ValueError:
            raise ValueError("a root, logarithm or power has no value there") from None
        if not math.isfinite(result):
            raise ValueError("its result is not finite")
        return result


def parse(text: str) -> Formula:
    """Raises ValueError that says what is not understood."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a formula has at most {MAX_LENGTH} characters")
    try:
        tree = ast.parse(" ".join(text.split()).replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
        raise ValueError(f"not a formula: {said}") from None
    names: set[str] = set()
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [part for node in level for part in _parts(node, names)]
        if not level:
            return Formula(frozenset(names), tree)
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _parts(node: ast.expr, names: set[str]) -> list[ast.expr]:
    """The operands of one node. Raises ValueError for what is no arithmetic."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and _fits(value):
            return []
        case ast.Name(id=name):
            names.add(name)
            return []
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            return [operand]
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            return [left, right]
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS:
            if not given or (len(given) > 1 and name not in _OF_MANY):
                raise ValueError(f"{name} takes {'at least one value' if name in _OF_MANY else 'one value'}")
            return given
        case _:
            try:
                said = ast.unparse(node)[:80]
            except RecursionError:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
            known = f"numbers, names of graders, + - * / ^ and {', '.join(FUNCTIONS)}"
            raise ValueError(f"{said!r} is not supported; use {known}")


def _fits(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=sign, operand=operand):
            value = _value(operand, values)
            return -value if isinstance(sign, ast.USub) else value
        case ast.BinOp(left=left, op=sign, right=right):
            return OPERATORS[type(sign)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=name), args=given):
            return float(FUNCTIONS[name](*(_value(one, values) for one in given)))
        case _:
            raise AssertionError(ast.dump(node))
