"""Figures and times as page and card show them."""

from __future__ import annotations

import time


def figure(value: float | None, digits: int = 2) -> str:
    return "not measured" if value is None else f"{value:,.{digits}f}"


def when(seconds: int | None) -> str:
    return "not yet" if seconds is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
