"""How findings are made: lines shortened, shares in words."""

from __future__ import annotations

from collections.abc import Iterable

from training.doctor.report import SHOWN_LINES, Finding, Severity


def finding(
    code: str, severity: Severity, lines: Iterable[int], message: str, count: int | None = None
) -> Finding:
    """`message` is followed by the first lines; `count` is the number of lines unless given."""
    all_lines = list(lines)
    number = len(all_lines) if count is None else count
    return Finding(
        code=code, severity=severity, message=f"{message} {shown(all_lines)}".rstrip(), count=number,
        lines=tuple(all_lines[:SHOWN_LINES]),
    )  # fmt: skip


def shown(lines: list[int], most: int = 5) -> str:
    """`(lines 3, 17, ...)`, or nothing."""
    if not lines:
        return ""
    some = ", ".join(map(str, lines[:most]))
    return f"(line{'s' if len(lines) > 1 else ''} {some}{', ...' if len(lines) > most else ''})"


def share(part: int, whole: int) -> str:
    """`12.5%`; a small share is not shown as none."""
    return f"{part / whole:.1%}" if part * 1000 >= whole or not part else "under 0.1%"


def rows(count: int, what: str = "row") -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
