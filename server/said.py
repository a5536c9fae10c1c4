"""What an answer says, whether it came whole or streamed, and how far two of them agree."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

DONE = b"[DONE]"
DATA = b"data: "


def said(items: Iterable[bytes]) -> list[str]:
    """The text of each choice, with calls of tools, out of one JSON body or the SSE frames of a stream."""
    texts: dict[int, list[str]] = {}
    for item in items:
        for choice in _choices(item):
            part = choice.get("message") or choice.get("delta") or choice
            texts.setdefault(choice.get("index", 0), []).extend(_pieces(part))
    return ["".join(texts[index]) for index in sorted(texts)]


def agreement(one: list[str], other: list[str], *, exact: bool) -> float:
    """From 0 to 1. `exact`: 1 for equal answers only; else the share of words that the two have in common
    (twice the common ones over all, as in the F1 score of reading tests)."""
    if exact:
        return float(one == other)
    here, there = (Counter(" ".join(texts).split()) for texts in (one, other))
    total = here.total() + there.total()
    return 2 * (here & there).total() / total if total else 1.0


def _choices(item: bytes) -> Iterator[dict[str, Any]]:
    for line in item.splitlines():
        data = line.removeprefix(DATA)
        if data and data != DONE:
            yield from json.loads(data).get("choices", ())


def _pieces(part: dict[str, Any]) -> Iterator[str]:
    yield part.get("content") or part.get("text") or ""
    for call in part.get("tool_calls") or ():
        function = call.get("function") or {}
        yield from (function.get("name") or "", function.get("arguments") or "")
