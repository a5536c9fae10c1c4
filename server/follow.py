"""Watches the rows for what others did: names are looked up anew, what will answer is loaded and proven,
deleted versions leave.

Nothing is pushed to a server; it looks every SECONDS, and so serves a publication well within a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool

from adapters import rollout
from records.blobs import Blobs
from records.database import Database
from records.models import Audit, Rollout
from records.models import Version as Row
from server.catalog import Catalog
from server.engine.base import EngineUnavailable, RequestRefused
from server.prover import Prover
from server.sweep import sweep

SECONDS = 0.25
LOAD_FIRST_SECONDS = 0.5  # a brand keeps its old version for so long while the new one is loaded
SWEEP_SECONDS = 60.0

log = logging.getLogger("chorus.server")


class Stamp(NamedTuple):
    """Changes with every publication, deletion and change of a rollout."""

    version: int  # the newest row
    deleted: int
    generations: int  # a sum: the newest audit row alone would miss a transaction that commits late
    audit: int  # the newest row; from here on the audit says what to load ahead


async def follow(database: Database, blobs: Blobs, catalog: Catalog, prover: Prover, known: Stamp) -> None:
    """Until cancelled; `known` is from before anybody was served, so that nothing falls between.

    A database that fails for a while leaves the last known names in force.
    """
    swept, proven_at = time.monotonic(), None
    while True:
        await asyncio.sleep(SECONDS)
        try:
            now = await run_in_threadpool(stamp, database)
            if now != proven_at or prover.due():
                prover.begin(await run_in_threadpool(prover.waiting))
                proven_at = now
            if now != known:
                newer, gone = await run_in_threadpool(_changes, database, known, catalog)
                await _preload(catalog, newer)
                catalog.names.invalidate()
                for name in gone:
                    await catalog.release(name)
                known = now
            if time.monotonic() - swept > SWEEP_SECONDS:
                swept = time.monotonic()
                await run_in_threadpool(sweep, database, blobs, catalog.home)
        except Exception:
            log.exception("Could not follow the rows; looking again")


async def _preload(catalog: Catalog, rows: list[Row]) -> None:
    tasks = [asyncio.create_task(_load(catalog, row)) for row in rows]
    if tasks:
        await asyncio.wait(tasks, timeout=LOAD_FIRST_SECONDS)


async def _load(catalog: Catalog, row: Row) -> None:
    try:
        await catalog.preload(catalog.names.version_of(row))
    except (RequestRefused, EngineUnavailable) as error:
        log.warning("Not loaded ahead: %s", error)


def stamp(database: Database) -> Stamp:
    """How the rows stand. Blocks."""
    with database.read() as session:
        # Two questions, as each has an index that answers it: together they would read all rows.
        newest = session.scalar(select(func.max(Row.seq)))
        deleted = session.scalar(select(func.count()).where(Row.deleted_at.is_not(None)))
        generations = session.scalar(select(func.sum(Rollout.generation)))
        audit = session.scalar(select(func.max(Audit.seq)))
        return Stamp(newest or 0, deleted or 0, int(generations or 0), audit or 0)


def _changes(database: Database, known: Stamp, catalog: Catalog) -> tuple[list[Row], Sequence[str]]:
    """(final versions that are new and those that rollouts name now, newest first; names of deleted versions
    that the engine holds)."""
    final = select(Row).where(Row.seq > known.version, Row.step.is_(None), Row.deleted_at.is_(None))
    deleted = select(Row.name).where(Row.name.in_(catalog.held()), Row.deleted_at.is_not(None))
    changed = select(Audit.after).where(Audit.seq > known.audit, Audit.object.startswith("rollout:"))
    with database.read() as session:
        states = session.scalars(changed.order_by(Audit.seq.desc()).limit(catalog.ahead)).all()
        names = {state[part] for state in states if state for part in rollout.ANSWERING}
        named = select(Row).where(Row.name.in_(names), Row.deleted_at.is_(None))
        found = [
            *session.scalars(final.order_by(Row.seq.desc()).limit(catalog.ahead)),
            *session.scalars(named),
        ]
        rows = {row.name: row for row in found[: catalog.ahead]}
        return list(rows.values()), session.scalars(deleted).all()
