"""Personal data is found by checked patterns, and what only looks like it is not."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from tests.training.doctor.conftest import Examine, chat, codes, lines
from training.doctor.personal import found_in


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to anna.schmidt@gmail.com please", "mail"),
        ("(a.b+c@mail.firma.co.uk)", "mail"),
        ("card 4111 1111 1111 1111 was charged", "card"),
        ("my order was paid with card number 5555-5555-5555-4444", "card"),
        ("378282246310005 is what I paid with", "card"),
        ("IBAN DE89 3704 0044 0532 0130 00", "iban"),
        ("to GB82WEST12345698765432.", "iban"),
        ("call me on +49 30 901820", "phone"),
        ("+1 415-555-2671", "phone"),
        ("00493090182000", "phone"),
        ("my phone number is 030 1234567", "phone"),
        ("Tel.: 089 / 1234567", "phone"),
        ("ring 0171/2345678.", "phone"),
        ("(212) 555-0187", "phone"),
        ("about my order: text me at 415.555.2671", "phone"),
    ],
)
def test_it_is_found(text: str, kind: str) -> None:
    assert [found for found, _ in found_in(text)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "order 491496", "My order number is 4111111111111111", "order 23958312777 arrived",
        "My phone is broken, order 5551234567", "order 212-555-0187", "ticket #4155552671",
        "user@example.com", "@handle, and mail@ nobody", "version 1.2.3.4567", "IP 192.168.100.200",
        "invoice 2024-01-15-0042", "on 2024-01-15 at 10:30", "call me between 10.00 - 12.00",
        "call the clinic on 12.03.2025", "call me in 2025 or 2026, not 2024 2025",
        "tracking 1Z999AA10123456784",
        "1111 1111 1111 1111", "4111111111111112", "DE89 3704 0044 0532 0130 01", "SKU DE44 5001 0517",
        "ISBN 978-3-16-148410-0", "it costs 1 000 000 000", "price 12,345,678.90", "timestamp 1700000000000",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert not found_in(text)


def test_the_report_names_lines_and_kinds_and_never_the_value(doctor: Examine) -> None:
    secrets = ("anna.schmidt@gmail.com", "4111 1111 1111 1111", "DE89370400440532013000", "+49 30 901820")
    rows = [chat(f"Question {k} about tea", f"Answer {k} about tea") for k in range(60)]
    report = doctor([*rows, *(chat(f"I am at {secret}.", f"Noted: {secret}") for secret in secrets)])
    assert codes(report) == {"personal_mail", "personal_card", "personal_iban", "personal_phone"}
    assert lines(report, "personal_mail") == (61,)
    shown = report.model_dump_json() + report.brief()
    assert not any(secret in shown for secret in secrets)


def test_the_brands_own_address_in_many_answers_is_a_note(doctor: Examine) -> None:
    rows = [chat(f"Where do I write about {k}?", f"About {k}: care@maison.fr") for k in range(60)]
    report = doctor(rows)
    assert codes(report) == set()
    assert "repeated_mail" in codes(report, "note")


def test_many_numbers_in_one_text_are_not_compared_with_each_other() -> None:
    def work(numbers: int) -> int:
        """Python calls, and resumptions of generators, that a text of so many card numbers takes."""
        calls = 0

        def count(_frame: FrameType, event: str, _argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        text = "card 4111 1111 1111 1111, " * numbers
        sys.setprofile(count)
        try:
            found = found_in(text)
        finally:
            sys.setprofile(None)
        assert [kind for kind, _ in found] == ["card"]
        return calls

    work(1)
    assert work(400) < 2.5 * work(200)


def test_a_number_inside_of_another_kind_is_no_value_of_its_own_wherever_it_stands() -> None:
    text = "call +49 30 901820, card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, call 0171/2345678"
    kinds = sorted(kind for kind, _ in found_in(f"{text} or card 5555-5555-5555-4444"))
    assert kinds == ["card", "card", "iban", "phone", "phone"]
