"""One subject's answers as a few figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from server.evaluation.statistics import interval, share_interval

Shape = dict[str, Any]


def summary(subject: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> Shape:
    """Means over the cases that it answered; latencies are medians, in seconds. `length_ratio` is its
    characters over the reference's."""
    answered = [case for case in subject["cases"] if case["score"] is not None]
    scores = [case["score"] for case in answered]
    passed = sum(case["passed"] for case in answered)
    found, share = interval(scores), share_interval(passed, len(answered))
    lengths = {case["id"]: case["characters"] for case in cases}
    ratios = [case["characters"] / lengths[case["id"]] for case in answered if lengths.get(case["id"])]
    return {
        "kind": subject["kind"],
        "model": subject["model"],
        "step": subject["step"],
        "left_out": subject["left_out"],
        "answered": len(answered),
        "not_answered": len(subject["cases"]) - len(answered),
        "why_not_answered": next((one["why"] for one in subject["cases"] if one["score"] is None), None),
        "score": _mean(scores),
        "interval": list(found) if found else None,
        "passed": passed / len(answered) if answered else None,
        "passed_interval": list(share) if share else None,
        "parts": {name: _mean(case["parts"].get(name) for case in answered) for name in _parts(answered)},
        "empty": sum(not case["characters"] for case in answered) if answered else None,
        "cut": sum(case["cut"] for case in answered) if answered else None,
        "characters": _mean(case["characters"] for case in answered),
        "length_ratio": _mean(ratios),
        "first_token_seconds": _median(case["first_token_seconds"] for case in answered),
        "seconds": _median(case["seconds"] for case in answered),
        "prompt_tokens": _mean(case["prompt_tokens"] for case in answered),
        "completion_tokens": _mean(case["completion_tokens"] for case in answered),
        "shots": _mean(case["shots"] for case in answered),
    }


def _parts(answered: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for case in answered for name in case["parts"]))


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if there else None


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None
