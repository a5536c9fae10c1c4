"""Watches the rows for what others did: new versions are loaded, deleted ones leave, names resolve anew.

Nothing is pushed to a server; it looks every SECONDS, and so serves a publication well within a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool

from records import files
from records.blobs import Blobs
from records.database import Database
from records.models import Version as Row
from server.catalog import Catalog
from server.engine.base import EngineUnavailable, RequestRefused

SECONDS = 0.25
LOAD_FIRST_SECONDS = 0.5  # a brand keeps its old version for so long while the new one is loaded
SWEEP_SECONDS = 60.0

Stamp = tuple[int, int]  # (newest row, number of deleted rows): changes with every publication and deletion

log = logging.getLogger("chorus.server")


async def follow(database: Database, blobs: Blobs, catalog: Catalog, known: Stamp) -> None:
    """Until cancelled; `known` is from before anybody was served, so that nothing falls between.

    A database that fails for a while leaves the last known names in force.
    """
    swept = time.monotonic()
    while True:
        await asyncio.sleep(SECONDS)
        try:
            now = await run_in_threadpool(stamp, database)
            if now != known:
                newer, gone = await run_in_threadpool(_changes, database, known, catalog)
                await _preload(catalog, newer)
                catalog.invalidate()
                for name in gone:
                    await catalog.retire(name)
                known = now
            if time.monotonic() - swept > SWEEP_SECONDS:
                swept = time.monotonic()
                await run_in_threadpool(sweep, database, blobs)
        except Exception:
            log.exception("Could not follow the rows; looking again")


async def _preload(catalog: Catalog, rows: list[Row]) -> None:
    tasks = [asyncio.create_task(_load(catalog, row)) for row in rows]
    if tasks:
        await asyncio.wait(tasks, timeout=LOAD_FIRST_SECONDS)


async def _load(catalog: Catalog, row: Row) -> None:
    try:
        await catalog.preload(catalog.version_of(row))
    except (RequestRefused, EngineUnavailable) as error:
        log.warning("Not loaded ahead: %s", error)


def stamp(database: Database) -> Stamp:
    """How the rows stand. Blocks."""
    with database.read() as session:
        newest, deleted = session.execute(select(func.max(Row.seq), func.count(Row.deleted_at))).one()
        return newest or 0, deleted


def _changes(database: Database, known: Stamp, catalog: Catalog) -> tuple[list[Row], Sequence[str]]:
    """(final versions that are new, newest first; names of deleted versions that the engine holds)."""
    final = select(Row).where(Row.seq > known[0], Row.step.is_(None), Row.deleted_at.is_(None))
    deleted = select(Row.name).where(Row.name.in_(catalog.held()), Row.deleted_at.is_not(None))
    with database.read() as session:
        newer = session.scalars(final.order_by(Row.seq.desc()).limit(catalog.capacity)).all()
        return list(newer), session.scalars(deleted).all()


def sweep(database: Database, blobs: Blobs) -> None:
    """Remove files whose time is over, and drafts of uploads that a kill cut off."""
    blobs.sweep()
    with database.write() as session:
        for row in files.expired(session, int(time.time())):
            if files.remove(session, row):
                blobs.remove(row.sha256)
