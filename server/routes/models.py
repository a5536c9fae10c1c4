"""/v1/models: the base model, the tenant's brands (the live version answers) and each of its versions."""

from __future__ import annotations

import time

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from adapters import resolve, rollout
from records import audit, jobs
from records.audit import By
from records.models import Version
from server import shapes
from server.auth import CurrentActor, CurrentTenant
from server.engine.base import RequestRefused
from server.errors import INVALID, invalid, unknown_model
from server.evaluation.card import MEDIA_TYPE, card
from server.house import Here, House
from server.shapes import Shape

OWNER = "chorus"  # of the base model

router = APIRouter(prefix="/models")


@router.get("")
def list_models(tenant: CurrentTenant, house: Here) -> JSONResponse:
    with house.database.read() as session:
        rows = resolve.versions_of(session, tenant, house.base)
        rollouts = rollout.of(session, tenant, house.base.slug)
    live = {row.live for row in rollouts}
    silent = {"", *(row.brand for row in rollouts if row.live is None and row.pending is None)}
    finals = [row for row in rows if row.step is None and row.refuted is None]
    answering = {row.brand: row for row in finals if row.brand not in silent}
    answering |= {row.brand: row for row in rows if row.name in live}
    brands = [shapes.model(brand, row.created_at, tenant) for brand, row in answering.items()]
    versions = [shapes.model(row.name, row.created_at, tenant) for row in rows]
    return JSONResponse({"object": "list", "data": [_base(house), *brands, *versions]})


@router.get("/{model:path}/card")
def show_card(model: str, tenant: CurrentTenant, house: Here) -> Response:
    """The model card of a version, or of what is live for a brand; also of a version that cannot answer."""
    if house.base.is_named(model):
        said = "The base model has no card here; its publisher has one. Versions (ft:...) and brands have."
        raise RequestRefused(404, said, type=INVALID, param="model", code="model_not_found")
    with house.database.read() as session:
        return Response(card(session, house.names.row_of(session, tenant, model)), media_type=MEDIA_TYPE)


@router.get("/{model:path}")
def retrieve(model: str, tenant: CurrentTenant, house: Here) -> JSONResponse:
    if house.base.is_named(model):
        return JSONResponse(_base(house))
    with house.database.read() as session:
        row = house.names.row_of(session, tenant, model)
    house.names.version_of(row)  # what cannot answer here is not there
    return JSONResponse(shapes.model(model, row.created_at, tenant))


@router.delete("/{model:path}")
async def delete(model: str, tenant: CurrentTenant, by: CurrentActor, house: Here) -> JSONResponse:
    """Forget a version: it stops to answer now, and leaves the engine when its last stream has ended.

    Refused (409) while a rollout sends it requests; a brand's last version goes once the brand is retired.
    """
    if house.base.is_named(model):
        said = "The base model cannot be deleted; only fine-tuned versions can."
        raise RequestRefused(403, said, type=INVALID, param="model", code="model_not_deletable")
    await run_in_threadpool(_mark_deleted, house, tenant, model, by)
    house.names.invalidate()
    await house.catalog.release(model)
    return JSONResponse(shapes.deleted("model", model))


def _mark_deleted(house: House, tenant: str, model: str, by: By) -> None:
    mine = select(Version).where(Version.tenant == tenant, Version.deleted_at.is_(None))
    with house.database.write() as session:
        row = session.scalar(mine.where(Version.name == model))
        if row is not None:
            _check_unneeded(session, row)
            rollout.release(session, row, by)
            row.deleted_at = int(time.time())
            row.proof = None  # it quotes what the tenant trained on
            was = {"sha256": row.sha256, "job_id": row.job_id}
            audit.note(session, by, tenant, "delete", f"version:{row.name}", before=was, after=None)
        elif _is_brand(session, house, tenant, model):
            said = f"'{model}' is a brand; delete its versions (ft:...) instead."
            raise invalid(said, "model", "model_not_deletable")
        else:
            raise unknown_model(model)


def _check_unneeded(session: Session, row: Version) -> None:
    """Raises RequestRefused (409): a job that has not ended begins from these weights, on each attempt."""
    job = jobs.going_on_from(session, row.name)
    if job is not None:
        said = f"{row.name} is what the fine-tuning job {job} goes on from; cancel it or wait for its end."
        raise RequestRefused(409, said, type=INVALID, param="model", code="version_in_use")


def _is_brand(session: Session, house: House, tenant: str, model: str) -> bool:
    if rollout.find(session, tenant, model, house.base.slug) is not None:
        return True
    return resolve.version_for(session, tenant, model, house.base) is not None


def _base(house: House) -> Shape:
    return shapes.model(house.base.slug, int((house.base.path / "config.json").stat().st_mtime), OWNER)
