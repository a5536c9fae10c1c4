"""A quote as a table for people; for cli/train.py."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table


def table(offer: dict[str, Any], name: str) -> Table:
    """What POST /v1/fine_tuning/quote answers, of the file of that name."""
    most = "at most " if offer["stops_early"] else ""
    shown = Table(title=f"{name}: what a job takes", show_header=False, title_justify="left")
    shown.add_row("examples", f"{offer['examples']:,} to train on, {offer['held_out']:,} held out")
    shown.add_row("cut at the end", f"{offer['truncated_examples']:,}")
    learnt = f"{offer['supervised_tokens_per_epoch']:,} learnt"
    shown.add_row("tokens an epoch", f"{offer['tokens_per_epoch']:,}, {learnt}")
    shown.add_row("epochs, steps", f"{most}{offer['epochs']}, {offer['steps']:,}")
    shown.add_row("tokens", f"{most}{offer['trained_tokens']:,}")
    cost = "no price is set (CHORUS_PRICE_PER_MILLION_TOKENS)"
    shown.add_row("cost", cost if offer["cost"] is None else f"{most}{offer['cost']:,.2f}")
    shown.add_row("memory", f"{offer['peak_memory_bytes'] / 1e9:.2f} GB ({offer['device']})")
    shown.add_row("time", f"{most}{span(offer['start_seconds'] + offer['seconds'])}")
    queue = offer["queue"]
    shown.add_row("before it", f"{queue['jobs']} jobs, {span(queue['seconds'])}")
    end = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(offer["estimated_finish"]))
    shown.add_row("ends", end)
    return shown


def span(seconds: float) -> str:
    """`0:01:10`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
