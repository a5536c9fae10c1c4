"""A doctor at hand: rows in, report out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from training.chat import Renderer
from training.doctor.examine import examine
from training.doctor.report import Report

Chat = dict[str, Any]
Examine = Callable[..., Report]


def chat(user: str, answer: str, system: str | None = None) -> Chat:
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    return {"messages": [{"role": "system", "content": system}, *messages] if system else messages}


def write(path: Path, rows: Sequence[Chat]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def codes(report: Report, *severities: str) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity in (severities or ("warning",))}


def lines(report: Report, code: str) -> tuple[int, ...]:
    (found,) = (finding.lines for finding in report.findings if finding.code == code)
    return found


@pytest.fixture
def doctor(tmp_path: Path, renderer: Renderer) -> Examine:
    def look(rows: Sequence[Chat] | bytes, validation: Sequence[Chat] | None = None, **given: Any) -> Report:
        path = tmp_path / "train.jsonl"
        if isinstance(rows, bytes):
            path.write_bytes(rows)
        else:
            write(path, rows)
        other = write(tmp_path / "valid.jsonl", validation) if validation is not None else None
        return examine(path, other, base="tiny", renderer=renderer, **{"limit": 512, **given})

    return look
