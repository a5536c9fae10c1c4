"""Names of versions: what goes in comes out, and nothing that could be a path or another name goes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.reference import BRAND, Reference

PART = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
DIGEST = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)


@given(
    PART, PART, st.just("") | st.from_regex(BRAND, fullmatch=True), DIGEST, st.none() | st.integers(0, 10**9)
)
def test_a_name_says_all_its_parts(base: str, tenant: str, brand: str, digest: str, step: int | None) -> None:
    reference = Reference(base, tenant, brand, digest, step)
    assert Reference.parse(str(reference)) == reference


def test_the_digest_is_shown_in_eight_digits() -> None:
    assert str(Reference("tiny", "acme", "luxe", "0123456789abcdef")) == "ft:tiny:acme:luxe:01234567"
    assert str(Reference("tiny", "acme", "", "0" * 64, 88)) == "ft:tiny:acme::00000000:ckpt-step-88"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tiny",
        "ft:tiny:acme:luxe",
        "ft:tiny:acme:luxe:0123456",
        "ft:tiny:acme:luxe:0123456g",
        "ft:tiny:acme:luxe:01234567:ckpt-step-",
        "ft:tiny:acme:luxe:01234567:ckpt-step-x",
        "ft:org/tiny:acme:luxe:01234567",
        "ft:tiny:acme:a:b:01234567",
        "ft:tiny:acme:luxe:01234567\n",
        "FT:tiny:acme:luxe:01234567",
    ],
)
def test_what_is_no_name_of_a_version_is_none(name: str) -> None:
    assert Reference.parse(name) is None


@pytest.mark.parametrize(
    "brand", ["", ".", "..", "-a", "a-", "a/b", "a:b", "a b", "ü", "a\n", "x" * 65, "a\0"]
)
def test_what_is_no_brand(brand: str) -> None:
    assert BRAND.fullmatch(brand) is None


@pytest.mark.parametrize("brand", ["a", "Luxe", "luxe-2026", "a.b_c", "x" * 64])
def test_what_is_a_brand(brand: str) -> None:
    assert BRAND.fullmatch(brand)
