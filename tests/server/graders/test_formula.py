"""The arithmetic of `calculate_output`, held against Python's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.graders.formula import FUNCTIONS, MAX_LENGTH, parse

VALUES = {"a": 0.5, "b": 3.0, "c": -2.0}
NUMBERS = st.floats(0, 1e6).map(repr) | st.integers(0, 1000).map(str)
LEAVES = NUMBERS | st.sampled_from(list(VALUES))


def _larger(parts: Any) -> Any:
    """Each as (ours, Python's)."""
    signs = st.sampled_from([("+", "+"), ("-", "-"), ("*", "*"), ("/", "/"), ("^", "**")])
    binary = st.tuples(parts, signs, parts).map(
        lambda x: (f"({x[0][0]} {x[1][0]} {x[2][0]})", f"({x[0][1]} {x[1][1]} {x[2][1]})")
    )
    single = st.tuples(st.sampled_from(sorted(set(FUNCTIONS) - {"min", "max"})), parts).map(
        lambda x: (f"{x[0]}({x[1][0]})", f"{x[0]}({x[1][1]})")
    )
    several = st.tuples(st.sampled_from(["min", "max"]), st.lists(parts, min_size=2, max_size=4)).map(
        lambda x: tuple(f"{x[0]}({', '.join(part[side] for part in x[1])})" for side in (0, 1))
    )
    minus = parts.map(lambda x: (f"(-{x[0]})", f"(-{x[1]})"))
    return binary | single | several | minus


PAIRS = st.recursive(LEAVES.map(lambda leaf: (leaf, leaf)), _larger, max_leaves=12)


@given(PAIRS)
def test_a_formula_has_the_value_that_python_gives_it(pair: tuple[str, str]) -> None:
    ours, pythons = pair
    names = {name: getattr(math, name) for name in ("floor", "ceil", "exp", "sqrt", "log")}
    names |= {"min": min, "max": max, "abs": abs}
    if len(ours) > MAX_LENGTH:
        return
    try:
        expected = eval(pythons, {"__builtins__": {}}, {**names, **VALUES})
        fits = isinstance(expected, int | float) and math.isfinite(expected)
    except (ArithmeticError, ValueError, TypeError):  # TypeError: the root of a complex number
        fits = False
    if fits:
        assert parse(ours)(VALUES) == pytest.approx(float(expected), rel=1e-9)
    else:
        with pytest.raises(ValueError, match=r"."):
            parse(ours)(VALUES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", 0.5),
        ("0.7 * a + 0.3 * b", 1.25),
        ("a + b ^ 2", 9.5),
        ("-b^2", -9),
        ("2 ^ 3 ^ 2", 512),
        ("min(a, b, c) + max(a)", -1.5),
        (" (a + b)\n / 2 ", 1.75),
        ("floor(b / 2) + ceil(a)", 2),
        ("log(exp(b))", 3),
    ],
)
def test_operators_bind_as_in_mathematics(text: str, value: float) -> None:
    assert parse(text)(VALUES) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a +",
        "a b",
        "a = 1",
        "a if b else c",
        "a < b",
        "a and b",
        "not a",
        "a % b",
        "a // b",
        "a | b",
        "[a]",
        "a.real",
        "a[0]",
        "'a'",
        "True",
        "None",
        "1j",
        "1" + "0" * 400,
        "lambda: 1",
        "(x := 1)",
        "__import__('os')",
        "round(a)",
        "pow(a, b)",
        "abs(a, b)",
        "log(a, b)",
        "min()",
        "max(*a)",
        "min(a, key=b)",
        "abs.__class__(a)",
        "f'{a}'",
        "-" * 900 + "1",
        "(" * 400 + "1" + ")" * 400,
        "+".join(["1"] * 400),
        "a" * (MAX_LENGTH + 1),
        "\0",
    ],
)
def test_what_is_no_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / (a - a)", "divides by zero"),
        ("9 ^ 9 ^ 9 ^ 9", "too large"),
        ("exp(1000)", "too large"),
        ("1e308 * 10", "not finite"),
        ("sqrt(c)", "no value"),
        ("log(0)", "no value"),
        ("c ^ 0.5", "no value"),
    ],
)
def test_arithmetic_without_a_result_says_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)(VALUES)


@pytest.mark.parametrize("text", ["a" + ".b" * 490, "a" + "()" * 450, "a" + "[a]" * 330])
def test_what_is_nested_too_deep_to_be_shown_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested deeper|not a formula|not supported"):
        parse(text)


def test_a_formula_knows_the_names_that_it_uses() -> None:
    assert parse("min(a, b) * a + 1").names == {"a", "b"}
