"""POST /v1/adapters: an adapter that was trained elsewhere becomes a version of a brand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
from fastapi import APIRouter, Request
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from adapters import imported
from adapters.eligible import RolloutRefused
from adapters.imported import Imported, NotImported, Ready
from adapters.manifest import CONFIG, WEIGHTS
from adapters.proof import Verdict
from adapters.refused import Code, Refused
from records.audit import By
from server.auth import CurrentActor, CurrentTenant
from server.engine.base import RequestRefused, Version
from server.errors import invalid, unavailable
from server.house import Here, House
from server.upload import Form, read_form

NEEDED = {"brand", "config", "weights"}
FILES = {"config": CONFIG, "weights": WEIGHTS}

router = APIRouter(prefix="/adapters")


@router.post("")
async def create(request: Request, tenant: CurrentTenant, by: CurrentActor, house: Here) -> JSONResponse:
    """Receive, repair, check, store; let the engine prove it; then record it."""
    async with contextmanager_in_threadpool(imported.workplace(house.settings.home)) as received:
        brand, promote = await _receive(request, received)
        await run_in_threadpool(_check_target, house, tenant, brand)
        ready = await anyio.to_thread.run_sync(_prepare, house, received, limiter=house.heavy)
    version = Version(ready.name(tenant, brand), ready.sha256)
    try:
        verdict = await _prove(house, version, promote)
    except (RolloutRefused, RequestRefused) as refused:
        if not isinstance(refused, RequestRefused) or refused.status != 503:
            await _drop(house, version)
        raise
    record = partial(
        _record, house, ready, tenant=tenant, brand=brand, promote=promote, by=by, verdict=verdict
    )
    done = await run_in_threadpool(record)
    house.names.invalidate()
    return JSONResponse(done.shown())


async def _prove(house: House, version: Version, promote: bool) -> Verdict | None:
    """None when it is proven already or, unless it is to be promoted now, when the engine cannot tell now.
    Raises RolloutRefused, RequestRefused."""
    try:
        return await house.prover.on_call(version)
    except RequestRefused as refused:
        if promote or refused.status != 503:
            raise
        return None


async def _drop(house: House, version: Version) -> None:
    """Nothing of an import that the engine has refused stays, in the engine or on the disk."""
    await house.catalog.release(version.name)
    await run_in_threadpool(_discard, house, version.sha256)


def _discard(house: House, sha256: str) -> None:
    with house.database.write() as session:
        imported.discard(session, house.settings.home, sha256)


async def _receive(request: Request, folder: Path) -> tuple[str, bool]:
    """The files into `folder`; gives the brand, and whether it shall answer with them."""
    with (folder / CONFIG).open("xb") as config, (folder / WEIGHTS).open("xb") as weights:
        form = await read_form(request, {"config": config, "weights": weights}, NEEDED)
    form.check_fields({"brand", "promote"}, NEEDED)
    return form.fields["brand"], _promote(form)


def _promote(form: Form) -> bool:
    given = form.fields.get("promote", "false")
    if given not in ("true", "false"):
        raise invalid("'promote' must be true or false.", "promote", "invalid_value")
    return given == "true"


def _check_target(house: House, tenant: str, brand: str) -> None:
    with house.database.read() as session:
        try:
            imported.check_target(session, tenant, brand, house.base)
        except NotImported as error:
            raise invalid(str(error), error.param, "invalid_value") from None


def _prepare(house: House, folder: Path) -> Ready:
    """Raises RequestRefused with the code of the check."""
    settings = house.settings
    try:
        return imported.prepare(settings.home, folder, house.base, max_rank=settings.largest_rank)
    except Refused as refused:
        if refused.code is Code.UNREADABLE:
            raise unavailable("The server's disk cannot be read; try again in a moment.") from refused
        param = "config" if refused.file == CONFIG else "weights"
        raise invalid(refused.message, param, refused.code) from None


def _record(
    house: House, ready: Ready, *, tenant: str, brand: str, promote: bool, by: By, verdict: Verdict | None
) -> Imported:
    with house.database.write() as session:
        try:
            return imported.record(
                session, house.settings.home, ready, house.base,
                tenant=tenant, brand=brand, promote=promote, by=by, verdict=verdict,
            )  # fmt: skip
        except NotImported as error:
            raise invalid(str(error), error.param, "invalid_value") from None
