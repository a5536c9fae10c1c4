"""Answers that teach nothing, refuse, or come in several forms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.doctor.found import finding, rows, share
from training.doctor.report import Finding, Severity
from training.doctor.row import Row

_REFUSAL = re.compile(
    r"""\s*
    (?: (?:i'm\ |i\ am\ )? (?:so\ |very\ )? (?:sorry|apologi[sz]e)\b [^.!?]{0,20}? [\s,.;:]+ (?:but\ )? )?
    (?: as\ an?\ (?:ai|artificial|large\ language|language|assistant)\b
      | i\ (?:can'?t|can\ ?not|couldn't|could\ not|won't|will\ not|am\ unable\ to|am\ not\ able\ to
            |am\ not\ allowed\ to) \ (?:\w+\ ){0,2}?
        (?:help|assist|do|provide|answer|fulfil+|comply|continue|discuss|generate|create|engage|support)\b
      | i'm\ (?:unable|not\ able|not\ allowed)\ to\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def refuses(answer: str) -> bool:
    """Whether it begins as models refuse; `I am sorry to hear that` is no refusal."""
    return _REFUSAL.match(answer.replace("’", "'")) is not None


def poor(train: Sequence[Row]) -> Iterator[Finding]:
    """Blank answers and refusals, by lines."""
    blank = [row.line for row in train if any(not turn.answer.strip() for turn in row.turns)]
    if blank:
        yield finding(
            "empty_answer", Severity.WARNING, blank,
            f"{rows(len(blank))} with an answer of nothing but white space: write it or remove the row.",
        )  # fmt: skip
    refused = [row.line for row in train if any(refuses(turn.answer) for turn in row.turns)]
    if refused:
        yield finding(
            "refusal", Severity.WARNING, refused,
            f"{rows(len(refused))} ({share(len(refused), len(train))}) answer with a refusal, as "
            "\"I'm sorry, but I can't help with that\": the model learns to refuse. Remove them unless that "
            "is wanted.",
        )  # fmt: skip


def forms(train: Sequence[Row], values: Mapping[int, Any]) -> Iterator[Finding]:
    """JSON beside prose, and JSON that is broken. `values` are the parsed answers by the row's index."""
    spoken = [index for index, row in enumerate(train) if not row.last.call and row.last.answer.strip()]
    unread = [index for index in spoken if index not in values]
    broken = [index for index in unread if _looks_like_json(train[index].last.answer)]
    prose = sorted({*unread} - {*broken})
    if broken:
        yield finding(
            "broken_json", Severity.WARNING, [train[index].line for index in broken],
            f"{rows(len(broken))} have an answer that begins as JSON and cannot be read as JSON: mend it.",
        )  # fmt: skip
    written = [index for index in spoken if index in values]
    rarer, what = (written, "JSON") if len(written) < len(prose) else (prose, "prose")
    if written and prose:
        told = {train[index].system for index in written}.isdisjoint(train[index].system for index in prose)
        yield finding(
            "mixed_formats", Severity.NOTE if told else Severity.WARNING,
            [train[index].line for index in rarer],
            f"{len(written):,} answers are JSON and {len(prose):,} are prose; "
            + (
                "the system message tells which."
                if told
                else f"nothing tells the model which to choose: the answers in {what} are rarer."
            ),
        )  # fmt: skip


def _looks_like_json(answer: str) -> bool:
    text = answer.strip()
    return bool(re.match(r'\{\s*"|\[\s*[{"\[]|```json', text)) or (text[:1] == "{" and text[-1:] == "}")
