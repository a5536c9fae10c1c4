"""Whether the data is worth a training: too little, enough, more than needed, or at odds with itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from training.doctor.found import rows, share
from training.doctor.report import Kind, Verdict
from training.doctor.row import Row
from training.doctor.words import words

FEW = 50  # different rows; below, the same examples in the prompt do as well
CONTRADICTORY_SHARE = 0.05
MANY = 1000
QUARTER = 0.25
HELD_BACK = 0.1
FIGURE = "0"
SAID_SHARE = 0.5  # of the words of answers that are neither figures nor seldom
SELDOM = 0.03  # of the rows: a word in fewer fills a slot, as a name
ADDS_LITTLE = 0.01  # of the phrases of rows held back that the other three quarters add to the first


def judge(train: Sequence[Row], distinct: int, contradictory: int, unusable: int) -> Verdict:
    """By the different rows that are left without copies, those at odds, and what the last ones add."""
    reasons = list[str]()
    if unusable:
        reasons.append(
            f"{rows(unusable, 'line')} cannot be used: a job refuses the file until they are mended."
        )
    at_odds = contradictory >= CONTRADICTORY_SHARE * max(1, len(train))
    part = share(contradictory, max(1, len(train)))
    odds = f"{rows(contradictory)} of {len(train):,} ({part}) contradict others."
    if distinct < FEW:
        reasons.append(
            f"{rows(distinct, 'different example')}: put them into the prompt (few-shot prompting), and "
            f"fine-tune from {FEW} on."
        )
        return Verdict(kind=Kind.TOO_FEW, reasons=(*reasons, *([odds] if at_odds else [])))
    if at_odds:
        return Verdict(kind=Kind.CONTRADICTORY, reasons=(*reasons, f"{odds} The model learns to guess."))
    reasons.append(f"{rows(distinct, 'different example')} of {len(train):,}.")
    if distinct >= MANY and (found := covered(train)):
        first, whole = found
        seen = f"A quarter of the rows holds {first:.1%} of the phrases of others, all of them {whole:.1%}"
        if whole - first <= ADDS_LITTLE:
            reasons.append(f"{seen}: try a quarter of them first, in a quarter of the time.")
            return Verdict(kind=Kind.MORE_THAN_NEEDED, reasons=tuple(reasons))
        reasons.append(f"{seen}: the last ones still add something.")
    return Verdict(kind=Kind.ENOUGH, reasons=tuple(reasons))


def covered(train: Sequence[Row]) -> tuple[float, float] | None:
    """Share of the phrases (three words) of a tenth of the rows that a quarter, and all, of the others hold.

    Figures and seldom words count as one word: each order has its own number and name. None where most of
    the answers is of those, as in sums: then phrases tell nothing."""
    said = [[_figure(word) for word in words(f"{row.last.prompt}\n{row.last.answer}")] for row in train]
    answered = [_figure(word) for row in train for word in words(row.last.answer)]
    random.Random(0).shuffle(said)
    seen = Counter(word for one in said for word in set(one))
    usual = {word for word, count in seen.items() if count >= SELDOM * len(said)}
    if sum(word in usual and word != FIGURE for word in answered) < SAID_SHARE * len(answered):
        return None
    phrases = [_phrases([word if word in usual else "" for word in one]) for one in said]
    cut = max(1, round(HELD_BACK * len(phrases)))
    held, others = phrases[:cut], phrases[cut:]
    quarter = set[tuple[str, ...]]().union(*others[: max(1, round(QUARTER * len(others)))])
    whole = quarter.union(*others)
    asked = [phrase for one in held for phrase in one]
    first, last = (
        sum(phrase in known for phrase in asked) / max(1, len(asked)) for known in (quarter, whole)
    )
    return first, last


def _figure(word: str) -> str:
    return FIGURE if word[0].isdigit() else word


def _phrases(said: list[str]) -> set[tuple[str, ...]]:
    return {tuple(said[k : k + 3]) for k in range(max(1, len(said) - 2))}
