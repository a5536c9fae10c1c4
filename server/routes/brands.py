"""/v1/brands: what each of the tenant's brands means on the base that is served here, and how it changes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from adapters import gating, rollout
from adapters.gate import Gate
from adapters.reference import BRAND
from records import pages
from records.audit import By
from records.models import Audit, Rollout
from server import brand_request, gate_request, shapes
from server.auth import CurrentActor, CurrentTenant
from server.body import json_object
from server.brand_request import BrandRequest
from server.engine.base import EngineUnavailable
from server.errors import missing
from server.house import Here, House

LOAD_SECONDS = 5.0  # how long a change waits for the version that will answer; then it is made all the same

router = APIRouter(prefix="/brands")


@router.get("")
def list_brands(tenant: CurrentTenant, house: Here) -> JSONResponse:
    with house.database.read() as session:
        rows = rollout.of(session, tenant, house.base.slug)
    return JSONResponse({"object": "list", "data": [shapes.brand(row) for row in rows]})


@router.get("/{brand}")
def retrieve(brand: str, tenant: CurrentTenant, house: Here) -> JSONResponse:
    """The brand, and how its shadow compares, as far as this server has mirrored to it."""
    with house.database.read() as session:
        row = _get(session, house, tenant, brand)
    tally = house.shadows.tally(tenant, brand)
    return JSONResponse({**shapes.brand(row), "mirrored": tally.shown() if tally else None})


@router.post("/{brand}")
async def change(
    brand: str, request: Request, tenant: CurrentTenant, by: CurrentActor, house: Here
) -> JSONResponse:
    """One change, in one transaction with its audit row; on this server it is in force on return.

    A version that is about to get requests is loaded first, and proven where it is to answer: where that
    fails nothing is changed.
    """
    body = await json_object(request)
    if body.get("action") == gate_request.ACTION:
        return await _set_gate(brand, body, tenant, by, house)
    asked = brand_request.parse(body)
    for name, answers in await run_in_threadpool(_rehearse, house, tenant, brand, asked, by):
        version = (await house.names.of(tenant, name)).live
        if answers:
            await house.prover.on_call(version)
        with suppress(EngineUnavailable, TimeoutError):  # brands can be changed while the engine is down
            await asyncio.wait_for(house.catalog.preload(version), LOAD_SECONDS)
    row = await run_in_threadpool(_change, house, tenant, brand, asked, by)
    house.names.invalidate()
    return JSONResponse(shapes.brand(row))


async def _set_gate(brand: str, body: dict[str, Any], tenant: str, by: By, house: House) -> JSONResponse:
    """The brand's gate, also before its first version."""
    gate = await run_sync(gate_request.parse, body, limiter=house.heavy)
    if not BRAND.fullmatch(brand) or house.base.is_named(brand):
        raise missing("brand", brand)
    for model in gate_request.models(gate):
        if not house.base.is_named(model):
            await house.names.of(tenant, model)
    await run_sync(_check_gate, house, tenant, gate, limiter=house.heavy)
    row = await run_sync(_write_gate, house, tenant, brand, gate, by, limiter=house.heavy)
    house.names.invalidate()
    return JSONResponse(shapes.brand(row))


@router.get("/{brand}/audit")
def audit(
    brand: str,
    tenant: CurrentTenant,
    house: Here,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JSONResponse:
    """Who changed what of the brand, its versions' imports, proofs and deletions included."""
    with house.database.read() as session:
        row = _get(session, house, tenant, brand)
        page = pages.page(session, Audit, rollout.audited(row), after=after, limit=limit)
    return JSONResponse(shapes.listed(page.rows, shapes.audit, page.has_more))


def _get(session: Session, house: House, tenant: str, brand: str, *, lock: bool = False) -> Rollout:
    row = rollout.find(session, tenant, brand, house.base.slug, lock=lock)
    if row is None:
        raise missing("brand", brand)
    return row


def _rehearse(house: House, tenant: str, brand: str, asked: BrandRequest, by: By) -> set[tuple[str, bool]]:
    """The versions that would newly get requests, and whether clients would get their answers; nothing is
    written. Raises RolloutRefused."""
    with house.database.read() as session:
        row = _get(session, house, tenant, brand)
        before = rollout.state(row)
        after = rollout.state(asked.apply(session, row, by))
    promoted = {(after["pending"], True)} if asked.action == "promote" else set()
    return {
        (name, answers) for name, answers in (_get_requests(after) - _get_requests(before)) | promoted if name
    }


def _get_requests(state: dict[str, Any]) -> set[tuple[str | None, bool]]:
    """The versions of a rollout to which requests go, and whether their answers reach clients."""
    candidate = state["candidate"] if state["share"] > 0 else None
    return {(state["live"], True), (candidate, True), (state["shadow"], False)}


def _check_gate(house: House, tenant: str, gate: Gate | None) -> None:
    """Raises RequestRefused."""
    with house.database.read() as session:
        gate_request.check_file(session, house.blobs, tenant, gate)


def _write_gate(house: House, tenant: str, brand: str, gate: Gate | None, by: By) -> Rollout:
    """Raises RequestRefused."""
    with house.database.write() as session:
        shape = gate.model_dump() if gate else None
        row = gating.set_gate(session, tenant, brand, house.base.slug, shape, by)
        if row is None:
            raise missing("brand", brand)
        return row


def _change(house: House, tenant: str, brand: str, asked: BrandRequest, by: By) -> Rollout:
    with house.database.write() as session:
        return asked.apply(session, _get(session, house, tenant, brand, lock=True), by)
