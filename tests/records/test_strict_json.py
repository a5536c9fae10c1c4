"""What is JSON and what is not, and that the answer comes without a stack overflow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.strict_json import MAX_DEPTH, NotJson, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_json_can_say_comes_back(value: Any) -> None:
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value
    assert loads(json.dumps(value).encode()) == value


@given(st.binary())
def test_no_bytes_raise_anything_but_not_json(raw: bytes) -> None:
    try:
        loads(raw)
    except NotJson as error:
        said = str(error)
        assert said


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 2, 900, 5_000, 200_000])
def test_depth_has_a_bound(opening: str, levels: int) -> None:
    closing = {"[": "]", '{"a":': "}", '[{"a":': "}]"}[opening]
    with pytest.raises(NotJson, match="deep"):
        loads((opening * levels + "1" + closing * levels).encode())


def test_up_to_the_bound_and_however_wide_all_is_well() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert loads(deep.encode()) is not None
    assert len(loads(("[" + "[1]," * 10_000 + "1]").encode())) == 10_001
    assert loads(json.dumps("[" * 1000).encode()) == "[" * 1000


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "at character 0"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "Infinity"),
        (b"9" * 5000, "digits"),
        (b"\xff", "UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"{} {}", "Extra data"),
        (b'[{"a": 1, "b": 2, "a": 1}]', "'a' twice"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "twice"),
    ],
)
def test_each_fault_is_told(raw: bytes, said: str) -> None:
    with pytest.raises(NotJson, match=said):
        loads(raw)


def test_a_whole_surrogate_pair_is_one_letter() -> None:
    assert loads(b'"\\ud83d\\ude00"') == "\U0001f600"
