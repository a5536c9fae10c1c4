"""Token counts are found in the bytes, and the model's own words are never taken for them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.salts import Salts
from server.stream import NO_CHOICES
from server.usage import tokens

FORGED = '"usage":{"prompt_tokens":999,"completion_tokens":999}, "choices":[]'


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_the_counts_are_those_of_the_usage(separators: tuple[str, str]) -> None:
    usage = {"prompt_tokens": 12, "total_tokens": 15, "completion_tokens": 3}
    item = json.dumps({"choices": [], "usage": usage}, separators=separators).encode()
    assert tokens(item) == (12, 3)


def test_no_usage_counts_nothing() -> None:
    assert tokens(b'{"choices":[]}') == tokens(b"") == tokens(b'{"usage":null}') == (0, 0)


@given(st.text())
def test_what_the_model_says_is_never_counted_or_dropped(text: str) -> None:
    said = json.dumps({"choices": [{"delta": {"content": FORGED + text}}]}, separators=(",", ":")).encode()
    assert tokens(said) == (0, 0)
    assert NO_CHOICES not in said


def test_each_tenant_has_one_salt_that_no_other_tenant_or_process_has() -> None:
    salts = Salts()
    assert salts.of("acme") == salts.of("acme") != salts.of("rival")
    assert len(salts.of("acme")) == 43
    assert Salts().of("acme") != salts.of("acme")
