"""Answers that are JSON: whether their keys, types and labels are the same from row to row."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rapidfuzz.distance import OSA

from training.doctor.found import finding, rows
from training.doctor.report import Finding, Severity
from training.doctor.row import Row
from training.doctor.words import words

OFTEN, SELDOM = 0.9, 0.05  # a key in fewer rows than the first, or a label in fewer than the second, is odd
LABEL_CHARACTERS = 40
MOST_LABELS = 50
MOST_KEYS = 50  # with more, keys are data, as names of items
ROWS_PER_LABEL = 4  # of a label's key; free text repeats itself less
TYPO_LETTERS = 5
SHORT_WORDS = 4


def parsed(answer: str) -> Any:
    """The JSON value of an answer that is an object or a list; else None."""
    text = answer.strip()
    if text[:1] not in "{[" or not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def inconsistencies(train: Sequence[Row], values: Mapping[int, Any]) -> Iterator[Finding]:
    """`values` are the parsed answers by the row's index, objects of them are looked at."""
    objects = {index: value for index, value in values.items() if isinstance(value, dict)}
    yield from _keys(train, objects)
    yield from _types(train, objects)
    by_key = defaultdict[str, dict[int, str]](dict)
    for index, value in objects.items():
        for key, text in value.items():
            if isinstance(text, str):
                by_key[key][index] = text
    plain = {
        i: row.last.answer.strip() for i, row in enumerate(train) if i not in values and not row.last.call
    }
    named = [(f"the labels of {key!r}", texts) for key, texts in by_key.items()]
    for where, texts in [*named, ("the answers", plain)]:
        yield from _spellings(train, where, texts)


def label_keys(values: Mapping[int, Any]) -> frozenset[str]:
    """Keys of the objects whose values are labels."""
    texts = defaultdict[str, list[str]](list)
    for value in values.values():
        if isinstance(value, dict):
            for key, text in value.items():
                if isinstance(text, str):
                    texts[key].append(text)
    return frozenset(key for key, told in texts.items() if are_labels(told))


def are_labels(texts: Sequence[str]) -> bool:
    """Few different short texts, each of which comes again and again."""
    different = {" ".join(words(text)) for text in texts}
    return (
        0 < len(different) <= min(MOST_LABELS, len(texts) / ROWS_PER_LABEL)
        and max(map(len, texts)) <= LABEL_CHARACTERS
        and not any("@" in text for text in texts)
        and max(map(len, map(words, different))) <= SHORT_WORDS
    )


def _keys(train: Sequence[Row], objects: Mapping[int, dict[str, Any]]) -> Iterator[Finding]:
    seen = Counter(key for value in objects.values() for key in value)
    if len(seen) > MOST_KEYS:
        return
    spelt = defaultdict[str, list[str]](list)
    for key in seen:
        spelt["".join(words(key)).replace("_", "")].append(key)
    twice = [sorted(keys, key=lambda key: -seen[key]) for keys in spelt.values() if len(keys) > 1]
    for keys in twice:
        odd = [train[i].line for i, value in objects.items() if any(key in value for key in keys[1:])]
        yield finding(
            "key_spelling", Severity.WARNING, odd,
            f"The key {keys[0]!r} is also written {_listed(keys[1:])} in {rows(len(odd))}: write it one way.",
        )  # fmt: skip
    known = {key for keys in twice for key in keys}
    for key, count in seen.items():
        without = [train[i].line for i, value in objects.items() if key not in value]
        if key in known or not without:
            continue
        if count >= OFTEN * len(objects):
            yield finding(
                "missing_key", Severity.WARNING, without,
                f"The key {key!r} is in most JSON answers and missing in {rows(len(without))}: add it there.",
            )  # fmt: skip
        elif count <= SELDOM * len(objects) and _has_common_keys(seen, len(objects)):
            odd = [train[i].line for i, value in objects.items() if key in value]
            yield finding(
                "extra_key", Severity.WARNING, odd,
                f"The key {key[:LABEL_CHARACTERS]!r} is in {rows(len(odd))} only: add it to all JSON answers "
                "or remove it.",
            )  # fmt: skip


def _types(train: Sequence[Row], objects: Mapping[int, dict[str, Any]]) -> Iterator[Finding]:
    kinds = defaultdict[str, dict[str, list[int]]](lambda: defaultdict(list))
    for index, value in objects.items():
        for key, inner in value.items():
            if inner is not None:
                kinds[key][_kind(inner)].append(train[index].line)
    for key, found in kinds.items():
        if len(found) > 1:
            usual = max(found, key=lambda kind: len(found[kind]))
            odd = sorted(line for kind, lines in found.items() if kind != usual for line in lines)
            yield finding(
                "key_type", Severity.WARNING, odd,
                f"The value of {key!r} is a {usual} in most rows and something else in {rows(len(odd))}: "
                "write it one way.",
            )  # fmt: skip


def _spellings(train: Sequence[Row], where: str, texts: Mapping[int, str]) -> Iterator[Finding]:
    if not texts or not are_labels(list(texts.values())):
        return
    seen = Counter(texts.values())
    usual = dict[str, str]()  # a rare way to write -> the frequent one
    order = [label for label, _ in seen.most_common()]
    for place, label in enumerate(order):
        for better in order[: min(place, MOST_LABELS)]:
            if better not in usual and _is_written_as(label, better, seen):
                usual[label] = better
                break
    odd = [train[index].line for index, text in texts.items() if text in usual]
    if odd:
        pairs = ", ".join(f"{label!r} for {better!r}" for label, better in list(usual.items())[:5])
        yield finding(
            "label_spelling", Severity.WARNING, odd,
            f"{where[0].upper()}{where[1:]} are written in several ways ({pairs}) in {rows(len(odd))}: "
            "write each one way.",
        )  # fmt: skip


def _is_written_as(label: str, better: str, seen: Counter[str]) -> bool:
    one, other = ("".join(words(text.replace("_", " "))) for text in (label, better))
    if one == other:
        return True
    rare = seen[label] <= SELDOM * seen[better]
    return (
        rare and min(len(one), len(other)) >= TYPO_LETTERS and one.isalpha() and OSA.distance(one, other) == 1
    )


def _has_common_keys(seen: Counter[str], count: int) -> bool:
    return any(number >= OFTEN * count for number in seen.values())


def _kind(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
    return "object"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
