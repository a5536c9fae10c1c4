"""Rollouts as tables for people; for cli/brands.py."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters import rollout
from adapters.reference import Reference
from records.models import Audit, Rollout, Version

CHANGES = 10
PARTS = ("live", "pending", "previous", "candidate", "shadow")


def table(rows: Iterable[Rollout]) -> Table:
    """A line per brand, versions by their digest."""
    heads = ("Brand", "Base", "Live", "Previous", "Candidate", "Shadow", "New versions", "Changed")
    shown = Table(*(Column(head, overflow="fold") for head in heads))  # cut, a digest would be of no use
    for row in rows:
        candidate = f"{_short(row.candidate)} {row.share:.0%}" if row.candidate else "-"
        waits = "wait (paused)" if row.paused else "go live"
        live = f"{_short(row.live)} (soon {_short(row.pending)})" if row.pending else _short(row.live)
        shown.add_row(
            row.brand, row.base, live, _short(row.previous), candidate, _short(row.shadow),
            waits, _when(row.updated_at),
        )  # fmt: skip
    return shown


def state(row: Rollout) -> Table:
    """One brand with full names, which the commands take."""
    shown = Table(title=f"{row.brand} on {row.base} (generation {row.generation})", show_header=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for part in PARTS:
        name = getattr(row, part)
        if name or part != "pending":
            share = f" ({row.share:.0%} of the requests)" if part == "candidate" and name else ""
            shown.add_row(part, f"{name or '-'}{share}")
    then = "go live if they pass the gate" if row.gate else "go live"
    shown.add_row("new versions", "wait as candidate (paused)" if row.paused else then)
    if row.gate:
        shown.add_row("gate", json.dumps({name: part for name, part in row.gate.items() if part}))
    return shown


def what_is_next(row: Rollout, unproven: str) -> str:
    """What becomes of a version that the rollout names and that no engine has proven yet."""
    then = "goes live by itself" if unproven == row.pending else "gets its share of the requests"
    now = f"{row.live} answers" if row.live else f"nobody answers for '{row.brand}'"
    return (
        f"{unproven} is not proven yet. A running server that serves {row.base} proves it as soon as it sees "
        f"it, and then it {then}; until then {now}. If the proof fails nothing changes. "
        f"`chorus brands show {row.brand} --tenant {row.tenant}` shows either."
    )


def whole(console: Console, session: Session, row: Rollout) -> None:
    """One brand, all its versions, and its latest changes."""
    console.print(state(row))
    versions = Table(Column("Version", overflow="fold"), "Made", "Is", title="Versions")
    mine = (Version.tenant == row.tenant, Version.brand == row.brand, Version.base == row.base)
    kept = select(Version).where(*mine, Version.deleted_at.is_(None))
    for version in session.scalars(kept.order_by(Version.seq.desc())):
        parts = [part for part in PARTS if getattr(row, part) == version.name]
        if version.refuted is not None:
            parts.append(f"refuted: {version.refuted}")
        elif version.proved_at is None:
            parts.append("not proven yet")
        if version.held_back is not None:
            parts.append(f"held back by the gate: {version.held_back}")
        versions.add_row(version.name, _when(version.created_at), ", ".join(parts))
    console.print(versions)
    changes = Table("When", "Who", "What", "Then", title=f"Latest {CHANGES} changes")
    noted = select(Audit).where(rollout.audited(row))
    for change in session.scalars(noted.order_by(Audit.seq.desc()).limit(CHANGES)):
        _, name = change.object.split(":", 1)
        what = f"{change.action} {_short(name)}" if Reference.parse(name) else change.action
        changes.add_row(_when(change.at), change.actor, what, _difference(change))
    console.print(changes)


def _difference(change: Audit) -> str:
    before, after = change.before or {}, change.after or {}
    return ", ".join(
        f"{name} {_short(value) if value is None or isinstance(value, str) else value}"
        for name, value in after.items()
        if before.get(name) != value
    )


def _short(name: str | None) -> str:
    """The digest of a version's name, with its step for a checkpoint."""
    found = Reference.parse(name) if name else None
    if found is None:
        return name or "-"
    return found.digest if found.step is None else f"{found.digest}@{found.step}"


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
