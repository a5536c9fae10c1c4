"""Rows that ask the same and answer otherwise.

A brand's voice varies its words, so prose contradicts itself only where the prompts are equal and the answers
share next to nothing that tells answers apart, or differ in a figure, or one says yes and the other no.
Labels, short answers and the labels in JSON differ or do not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz import fuzz

from training.doctor.duplicates import Likenesses
from training.doctor.found import finding, rows, share
from training.doctor.json_answers import SHORT_WORDS, label_keys, parsed
from training.doctor.report import Finding, Severity
from training.doctor.row import Row, Turn
from training.doctor.words import boilerplate, words

SHARED_WORDS = 0.3  # of the telling words of the shorter answer: with fewer in common they differ strongly
SAME_SENTENCE = 60.0  # of 100: two answers so alike are one sentence, in which a figure differs
OPEN_ANSWERS = 4  # a prompt with so many answers asks for variety ("write me a slogan")
COMPARED = 20  # answers of one prompt, each with each
YES, NO = frozenset(("yes", "yeah", "ja", "oui", "sí", "sì")), frozenset(("no", "nope", "nein", "non"))


@dataclass(frozen=True)
class _Telling:
    """What tells answers of this file apart."""

    labels: frozenset[str]
    common: frozenset[str]


def contradictory(
    train: Sequence[Row], found: Likenesses, values: Mapping[int, Any]
) -> Iterator[tuple[Finding, set[int]]]:
    """The finding and the indices of its rows; lines that contradict each other stand side by side."""
    said = _Telling(label_keys(values), boilerplate(words(row.last.answer) for row in train))
    order = dict[int, None]()
    varied = set[int]()
    for members, exact in _asked_again(train, found):
        different = {tuple(words(turn.answer)): (index, turn) for index, turn in reversed(members)}
        if len(different) < 2:
            continue
        told = list(different.values())[:COMPARED]
        is_open = len(told) >= OPEN_ANSWERS
        bad = set[int]()
        for place, (one, first) in enumerate(told):
            for other, second in told[:place]:
                if _differ(first, second, said, exact=exact, is_open=is_open):
                    bad |= {one, other}
        if bad:
            answers = {tuple(words(turn.answer)) for index, turn in members if index in bad}
            bad |= {index for index, turn in members if tuple(words(turn.answer)) in answers}
            order.update(dict.fromkeys(sorted(bad)))
        elif is_open and exact:
            varied |= {index for index, _ in members}
    if order:
        lines = [train[index].line for index in order]
        message = (
            f"{rows(len(lines))} of {len(train):,} ({share(len(lines), len(train))}) contradict each other: "
            "the same prompt has different answers. Keep the right ones, or write into the prompt what makes "
            "them differ."
        )
        yield finding("contradiction", Severity.WARNING, lines, message), set(order)
    if varied:
        lines = sorted(train[index].line for index in varied)
        yield finding(
            "varied_answers", Severity.NOTE, lines,
            f"{rows(len(lines))} share prompts that have {OPEN_ANSWERS} or more answers: fine where variety "
            "is wanted.",
        ), set()  # fmt: skip


def _asked_again(train: Sequence[Row], found: Likenesses) -> Iterator[tuple[list[tuple[int, Turn]], bool]]:
    """(index of the row, its turn) of turns that ask the same, and whether word for word."""
    same = defaultdict[int, list[tuple[int, Turn]]](list)
    for index, row in enumerate(train):
        for turn in row.turns:
            same[turn.context].append((index, turn))
    for members in same.values():
        if len(members) > 1:
            yield members, True
    for group in found.same_prompt:
        ours = [(index, train[index].last) for index in group if index < len(train)]
        if len({turn.context for _, turn in ours}) > 1:
            yield ours, False


def _differ(one: Turn, other: Turn, said: _Telling, *, exact: bool, is_open: bool) -> bool:
    first, second = parsed(one.answer), parsed(other.answer)
    if isinstance(first, dict) and isinstance(second, dict):
        return any(_values_differ(key, first[key], second[key], said) for key in first.keys() & second.keys())
    if first is not None and second is not None:
        return bool(first != second)  # lists, and calls of tools
    here, there = words(one.answer), words(other.answer)
    if here == there or not here or not there:
        return False
    if max(len(here), len(there)) <= SHORT_WORDS:
        return not _is_part(here, there)
    return exact and _prose_differs(one, here, there, said, is_open=is_open)


def _prose_differs(asked: Turn, here: list[str], there: list[str], said: _Telling, *, is_open: bool) -> bool:
    if {here[0], there[0]} & YES and {here[0], there[0]} & NO:
        return True
    known = set(words(asked.prompt))
    figures, others = ({word for word in text if word[0].isdigit()} - known for text in (here, there))
    if figures and others and figures != others and fuzz.ratio(here, there) >= SAME_SENTENCE:
        return True
    if is_open:
        return False
    telling, elsewhere = (set(text) - said.common for text in (here, there))
    shortest = min(len(telling), len(elsewhere))
    return shortest > 0 and len(telling & elsewhere) < SHARED_WORDS * shortest


def _values_differ(key: str, one: Any, other: Any, said: _Telling) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return key in said.labels and "".join(words(one)) != "".join(words(other))
    return type(one) is type(other) and isinstance(one, bool | int | float) and one != other


def _is_part(one: list[str], other: list[str]) -> bool:
    """`yes` and `yes of course`, `order 12` and `12`."""
    return set(one) <= set(other) or set(other) <= set(one)
