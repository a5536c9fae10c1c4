"""Whether a job was worth it: the new version against the best that needs no training, case by case."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from server.evaluation import subjects
from server.evaluation.gate import paired
from server.evaluation.statistics import interval

FEWEST = 8  # cases; of fewer nothing is said
LEAST = 0.02  # a smaller gain is none that anybody would notice

NAMES = {
    subjects.NEW: "the new version",
    subjects.LIVE: "what is live",
    subjects.BASE: "the base",
    subjects.INSTRUCTED: "the base with the instruction",
    subjects.FEW_SHOT: "the base with examples in its prompt",
    subjects.CHECKPOINT: "checkpoint",
}

Shape = dict[str, Any]


def verdict(asked: Sequence[Mapping[str, Any]]) -> Shape:
    """`worth_it` is None where it cannot be said. `gain` is the new version's score less that of `against`,
    the best of those without training, with its 95% interval over the cases that both answered."""
    by_kind = {subject["kind"]: subject for subject in asked}
    new = by_kind[subjects.NEW]
    rivals = [by_kind[kind] for kind in subjects.WITHOUT_TRAINING if paired(new, by_kind[kind])]
    missing = [by_kind[kind] for kind in subjects.WITHOUT_TRAINING if not paired(new, by_kind[kind])]
    notes = [f"{_begin(one)} was not measured: {one['left_out'] or 'no answers'}." for one in missing]
    if not rivals:
        return unknown(f"Nothing could be compared on held-out examples. {' '.join(notes)}".strip())
    best = max(rivals, key=lambda one: _mean([its for _, its in paired(new, one)]))
    pairs = paired(new, best)
    if len(pairs) < FEWEST:
        return unknown(f"{len(pairs)} held-out examples are too few to say; hold out at least {FEWEST}.")
    gain, (low, high) = _gain(pairs)
    mine, its = (_mean([pair[side] for pair in pairs]) for side in (0, 1))
    why = [
        f"On {len(pairs)} held-out examples the new version scores {mine:.2f}, {NAMES[best['kind']]}, the "
        f"best without training, {its:.2f}: a difference of {gain:+.2f} (95% interval {low:+.2f} to "
        f"{high:+.2f})."
    ]
    worth = low > 0 and gain >= LEAST
    if not worth:
        why.append(_not_because(low, high, gain, best["kind"]))
    theirs = paired(new, by_kind[subjects.LIVE])
    if len(theirs) >= FEWEST:
        live_gain, (live_low, live_high) = _gain(theirs)
        shown = f"{live_gain:+.2f} (95% interval {live_low:+.2f} to {live_high:+.2f})"
        why.append(f"Against what is live the difference is {shown}.")
        if live_high < 0:
            worth = False
            why.append("So it is worse than what answers now.")
    return {
        "worth_it": worth,
        "said": "worth it" if worth else "not worth it",
        "why": [*why, *notes],
        "against": best["kind"],
        "gain": gain,
        "interval": [low, high],
    }


def unknown(why: str) -> Shape:
    """No verdict."""
    nothing = dict.fromkeys(("worth_it", "said", "against", "gain", "interval"))
    return {**nothing, "why": [why]}


def _not_because(low: float, high: float, gain: float, kind: str) -> str:
    if high < 0:
        return f"Training made it worse than {NAMES[kind]}."
    if low <= 0:
        return f"That is no more than chance explains: {NAMES[kind]} does as well without training."
    return f"A gain below {LEAST} is too small to notice ({gain:.3f})."


def _gain(pairs: Sequence[tuple[float, float]]) -> tuple[float, tuple[float, float]]:
    gains = [mine - its for mine, its in pairs]
    found = interval(gains)
    assert found is not None  # there are at least FEWEST
    return _mean(gains), found


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def _begin(subject: Mapping[str, Any]) -> str:
    name = NAMES[subject["kind"]]
    return name[0].upper() + name[1:]
