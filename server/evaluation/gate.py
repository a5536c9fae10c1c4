"""The cases of a brand's gate, and whether the answers of a version pass it: adapters.gate.Outcome."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from adapters.gate import FailedCase, Gate, Outcome
from records import cases, dataset
from records.cases import Case
from server.evaluation import subjects
from server.evaluation.statistics import interval

MOST_CASES = 500
MOST_KEPT = 50
SHOWN_WHY = 160

Shape = Mapping[str, Any]


def cases_of(lines: Iterable[bytes], file_id: str) -> list[Case]:
    """All of the file's, or one more than MOST_CASES. Raises dataset.InvalidLine, also for an example that
    cannot be asked: left out it would be one that nobody guards."""
    found = []
    for number, line in islice(dataset.parse(lines), MOST_CASES + 1):
        case = cases.of(line, f"{file_id}:{number}")
        if case is None:
            said = (
                "it cannot be asked: it has no answer in text (but calls of tools, or a bare completion), "
                f"or more than {cases.MOST_TEXT} characters; take it out or shorten it."
            )
            raise dataset.InvalidLine(number, said)
        found.append(case)
    return found


def outcome(gate: Gate, asked: Sequence[Shape], regressions: Sequence[Shape] | None) -> Outcome:
    """`asked` are the subjects of the results, `regressions` the cases of the gate's file as the live and the
    new version did them (None: they could not be read)."""
    by_kind = {subject["kind"]: subject for subject in asked}
    new, live = by_kind[subjects.NEW], by_kind[subjects.LIVE]
    reasons, failed = list[str](), list[FailedCase]()
    held_out = [
        *_below(gate.thresholds, new),
        *(_worse_than_live(new, live) if gate.at_least_live else ()),
    ]
    if held_out:
        reasons += held_out
        failed += [_failed(case) for case in new["cases"] if not case["passed"]]
    if gate.must_not_regress is not None and regressions is None:
        reasons.append(f"The cases of {gate.must_not_regress} could not be read.")
    unknown = [case for case in regressions or () if live["model"] is not None and case["live"] is None]
    if unknown:
        reasons.append(f"The live version did not answer all cases of {gate.must_not_regress}.")
    lost = [case for case in regressions or () if case["live"] and not case["new"]]
    if lost:
        reasons.append(f"{len(lost)} of the cases that the live version passes are not passed.")
    failed += map(_failed, [*unknown, *lost])
    return Outcome(passed=not reasons, reasons=reasons, failed=failed[:MOST_KEPT], failed_count=len(failed))


def _below(thresholds: Mapping[str, float], new: Shape) -> list[str]:
    reasons = []
    for name, least in thresholds.items():
        scores = [case["score"] if name == "score" else case["parts"].get(name) for case in new["cases"]]
        if not scores or None in scores:
            reasons.append(f"'{name}' could not be measured on all held-out cases.")
        elif (mean := statistics.fmean(scores)) < least:
            reasons.append(f"'{name}' is {mean:.3f} on held-out cases, at least {least:g} is asked for.")
    return reasons


def _worse_than_live(new: Shape, live: Shape) -> list[str]:
    if live["model"] is None:
        return []
    pairs = list(paired(new, live))
    found = interval([mine - its for mine, its in pairs])
    if found is None or len(pairs) < len(new["cases"]):
        return ["The new and the live version could not be compared on all held-out cases."]
    if found[1] >= 0:
        return []
    mine, its = (statistics.fmean(side) for side in zip(*pairs, strict=True))
    return [f"The held-out score is {mine:.3f}, that of the live version {its:.3f}."]


def paired(one: Shape, other: Shape) -> list[tuple[float, float]]:
    """The scores of two subjects on the cases that both were graded on."""
    theirs = {case["id"]: case["score"] for case in other["cases"]}
    return [
        (case["score"], theirs[case["id"]])
        for case in one["cases"]
        if case["score"] is not None and theirs.get(case["id"]) is not None
    ]


def _failed(case: Shape) -> FailedCase:
    return FailedCase(id=case["id"], why=str(case["why"])[:SHOWN_WHY])
