"""Answers of several subjects beside each other."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from server.evaluation import subjects

SHOWN = 10
WORST = 5
LEAST_LOSS = 0.01

Shape = dict[str, Any]


def side_by_side(results: Mapping[str, Any]) -> list[Shape]:
    """SHOWN cases, evenly spread, with the answers of all but the checkpoints."""
    return [_beside(results, case) for case in subjects.spread(results["cases"], SHOWN)]


def worst(results: Mapping[str, Any], against: str) -> list[Shape]:
    """The cases on which the new version lost most against another subject, the worst first."""
    new, other = (_by_id(results, kind) for kind in (subjects.NEW, against))
    losses = {
        id: other[id]["score"] - case["score"]
        for id, case in new.items()
        if case["score"] is not None and id in other and other[id]["score"] is not None
    }
    lost = sorted((id for id, loss in losses.items() if loss >= LEAST_LOSS), key=lambda id: -losses[id])
    cases = {case["id"]: case for case in results["cases"]}
    return [{**_beside(results, cases[id]), "loss": losses[id]} for id in lost[:WORST]]


def tokens_saved(asked: Sequence[Mapping[str, Any]]) -> float | None:
    """Prompt tokens of a request to the base with the instruction, less those of one to the new version."""
    by_kind = {subject["kind"]: subject for subject in asked}
    if subjects.INSTRUCTED not in by_kind:
        return None
    one, other = (
        {case["id"]: case["prompt_tokens"] for case in by_kind[kind]["cases"]}
        for kind in (subjects.INSTRUCTED, subjects.NEW)
    )
    saved = [one[id] - other[id] for id in one if one[id] is not None and other.get(id) is not None]
    return statistics.fmean(saved) if saved else None


def _by_id(results: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {
        case["id"]: case
        for subject in results["subjects"]
        if subject["kind"] == kind
        for case in subject["cases"]
    }


def _beside(results: Mapping[str, Any], case: Mapping[str, Any]) -> Shape:
    answers = {}
    for subject in results["subjects"]:
        kind = subject["kind"]
        if kind == subjects.CHECKPOINT:
            continue
        found = next((one for one in subject["cases"] if one["id"] == case["id"]), None)
        if found is not None:
            answers[kind] = {"text": found["text"], "score": found["score"], "why": found["why"]}
    return {
        "id": case["id"],
        "question": case["question"],
        "reference": case["reference"],
        "answers": answers,
    }
