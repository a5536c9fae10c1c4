"""Who is asking: the tenant behind `Authorization: Bearer <key>`, remembered for a few seconds.

The memory keeps rows off the hot path. It is keyed by the sha256 of the presented key, holds good keys only,
and is why a revoked key may be honoured for REMEMBERED_SECONDS more.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from records import tenants
from records.audit import By
from records.database import Database
from server.engine.base import RequestRefused

REMEMBERED_SECONDS = 5.0
REMEMBERED_KEYS = 4096


class Doorkeeper:
    """From presented keys to tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    async def tenant(self, authorization: str | None) -> str:
        """The tenant's name. Raises RequestRefused (401)."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise unauthorized("You didn't provide an API key. Send it as `Authorization: Bearer YOUR_KEY`.")
        digest = hashlib.sha256(key.encode()).digest()
        name, until = self._known.get(digest, ("", 0.0))
        if time.monotonic() < until:
            return name
        found = await run_in_threadpool(self._look_up, key)
        if found is None:
            self._known.pop(digest, None)
            raise unauthorized("Incorrect API key provided. Make one with `chorus tenants create NAME`.")
        self._known[digest] = found, time.monotonic() + REMEMBERED_SECONDS
        self._known.move_to_end(digest)
        if len(self._known) > REMEMBERED_KEYS:
            self._known.popitem(last=False)
        return found

    def _look_up(self, key: str) -> str | None:
        with self._database.read() as session:
            return tenants.authenticate(session, key)


def unauthorized(message: str) -> RequestRefused:
    return RequestRefused(401, message, type="authentication_error", code="invalid_api_key")


async def current_tenant(request: Request) -> str:
    """The dependency that every /v1 route has (server/app.py adds it to the whole router)."""
    doorkeeper: Doorkeeper = request.app.state.house.doorkeeper
    return await doorkeeper.tenant(request.headers.get("authorization"))


async def current_actor(request: Request) -> By:
    """Who asks and in which request, for the audit. The key itself was checked by `current_tenant`."""
    _, _, key = request.headers.get("authorization", "").partition(" ")
    return By(tenants.key_id(key) or "", request.state.request_id)


CurrentTenant = Annotated[str, Depends(current_tenant)]
CurrentActor = Annotated[By, Depends(current_actor)]
