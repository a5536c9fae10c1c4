"""Personal data by checked patterns: mail addresses, phone and card numbers, IBANs. Values are never kept.

Orders, tickets and invoices have long numbers too: what stands behind such a word is theirs.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence

import phonenumbers
from stdnum import iban, luhn

from training.doctor.found import finding, rows, share
from training.doctor.report import Finding, Severity
from training.doctor.row import Row
from training.doctor.words import digest

NAMES = {"mail": "mail addresses", "phone": "phone numbers", "card": "card numbers", "iban": "IBANs"}
OWN_SHARE = 0.2  # a value in so many rows is the brand's own address or hotline

_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,24}(?![\w-])", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"@(?:.*\.)?(?:example\.\w+|example|test|invalid|localhost)$", re.IGNORECASE)
_IBAN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Z0-9])")
_CARD = re.compile(r"(?<![\w.,-])(?:\d[ -]?){12,18}\d(?![\w-]|[.,]\d)")
# Issuers' ranges (ISO/IEC 7812): Visa, Mastercard, American Express, Discover, JCB, Diners, UnionPay.
_ISSUED = re.compile(r"4|5[1-5]|2[2-7]|3[47]|6011|64[4-9]|65|35|30[0-5]|36|38|62")
_PHONE = re.compile(r"(?<![\w.,/#-])(?:\+|00)?\(?\d(?:[ ./()-]{0,3}\d){6,14}(?![\w-]|[.,]\d)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d|\d\d?[./]\d\d?[./]\d{2,4}$|(?:19|20)\d\d\D{1,3}(?:19|20)\d\d$")
_CALLED = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|call|calls|ring|text|sms|whatsapp|fax|hotline|reach|dial|"
    r"telefon|handy|mobil|anruf\w*|téléphone|teléfono|móvil|telefono|cellulare)\b", re.IGNORECASE
)  # fmt: skip
_NUMBERED = re.compile(
    r"\b(?:order|orders|ticket|invoice|tracking|parcel|shipment|booking|reservation|reference|ref|case|serial|"
    r"article|item|sku|isbn|ean|product|model|part|policy|contract|customer|account|"
    r"bestell\w*|auftrag\w*|rechnung\w*|commande|pedido|ordine|factura|facture)\b|#|№", re.IGNORECASE
)  # fmt: skip
_PAID = re.compile(
    r"\b(?:card|visa|mastercard|amex|credit|debit|karte|kreditkarte|carte|tarjeta|carta)\b", re.IGNORECASE
)
_AMERICAN = re.compile(r"(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}")
BEFORE = 32  # characters in front of a number in which a word says what it is


def found_in(text: str) -> frozenset[tuple[str, str]]:
    """(kind, digest of the value) of each that the text holds."""
    return frozenset((kind, f"{digest(value):x}") for kind, value in _values(text))


def personal(train: Sequence[Row]) -> Iterator[Finding]:
    """A finding for each kind, by lines."""
    lines = defaultdict[str, dict[tuple[str, str], list[int]]](dict)
    for row in train:
        for kind, value in row.personal:
            lines[kind].setdefault((kind, value), []).append(row.line)
    for kind, values in sorted(lines.items()):
        own = [of for of in values.values() if len(of) >= max(10, OWN_SHARE * len(train))]
        theirs = sorted({line for of in values.values() if of not in own for line in of})
        if theirs:
            yield finding(
                f"personal_{kind}", Severity.WARNING, theirs,
                f"{rows(len(theirs))} ({share(len(theirs), len(train))}) hold {NAMES[kind]}: the model may "
                "say them to others. Replace them with invented ones.",
            )  # fmt: skip
        if own:
            repeated = sorted({line for of in own for line in of})
            yield finding(
                f"repeated_{kind}", Severity.NOTE, repeated,
                f"The same {NAMES[kind]} stand in {rows(len(repeated))}: fine if they are the brand's own.",
            )  # fmt: skip


def _values(text: str) -> Iterator[tuple[str, str]]:
    if "@" in text:
        for match in _MAIL.finditer(text):
            if not _PLACEHOLDER.search(match[0]):
                yield "mail", match[0].casefold()
    taken = list[tuple[int, int]]()  # in order, none reaching into another
    for kind, pattern, is_one in _NUMBERS:
        for match in pattern.finditer(text):
            start, end = match.span()
            place = bisect_left(taken, (end,))  # before it stand those that begin before this one's end
            if place and taken[place - 1][1] > start:
                continue
            if is_one(text, match):
                yield kind, re.sub(r"\W", "", match[0])
            elif kind != "iban":
                continue
            taken.insert(place, (start, end))  # also what looks like an IBAN: its digits are nothing else


def _is_iban(_text: str, match: re.Match[str]) -> bool:
    return bool(iban.is_valid(match[0]))


def _is_card(text: str, match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match[0])
    if len(set(digits)) == 1 or not _ISSUED.match(digits) or not luhn.is_valid(digits):
        return False
    return not _numbered(text, match.start(), _PAID)


def _is_phone(text: str, match: re.Match[str]) -> bool:
    """International numbers by their plan; others where a word says so, or in the American form."""
    number = match[0]
    if number.startswith("+"):
        return _in_plan(number, None)
    if " - " in number or _MOMENT.search(number) or _numbered(text, match.start(), _CALLED):
        return False
    if number.startswith("00"):
        return _in_plan("+" + number[2:], None)
    if _AMERICAN.fullmatch(number):
        return _in_plan(number, "US")
    return _CALLED.search(text, max(0, match.start() - BEFORE), match.start()) is not None


def _numbered(text: str, start: int, unless: re.Pattern[str]) -> bool:
    """Whether words in front say that the number is an order's or the like, and none behind them `unless`."""
    theirs, other = (
        max((found.start() for found in pattern.finditer(text, max(0, start - BEFORE), start)), default=-1)
        for pattern in (_NUMBERED, unless)
    )
    return theirs > other


def _in_plan(number: str, region: str | None) -> bool:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(parsed)


_NUMBERS = (("iban", _IBAN, _is_iban), ("card", _CARD, _is_card), ("phone", _PHONE, _is_phone))
