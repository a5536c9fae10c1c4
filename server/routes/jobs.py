"""/v1/fine_tuning/jobs: a job is a row; workers find it there, and so does whoever follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from records import jobs, pages
from records.models import Checkpoint, Event, Job
from server import job_request, shapes
from server.auth import CurrentTenant
from server.body import json_object
from server.engine.base import RequestRefused
from server.errors import INVALID, invalid, missing
from server.house import Here, House
from server.job_create import Retry, create_once

router = APIRouter(prefix="/fine_tuning/jobs")

Limit = Annotated[int, Query(ge=1, le=100)]


@router.post("")
async def create(request: Request, tenant: CurrentTenant, house: Here) -> JSONResponse:
    body = await json_object(request)
    asked = job_request.parse(body)
    retry = Retry.of(body, request.headers)
    return JSONResponse(shapes.job(await run_in_threadpool(create_once, house.office, tenant, asked, retry)))


@router.get("")
def list_jobs(
    request: Request, tenant: CurrentTenant, house: Here, after: str | None = None, limit: Limit = 20
) -> JSONResponse:
    where = [Job.tenant == tenant, *_metadata_filter(request)]
    with house.database.read() as session:
        page = pages.page(session, Job, *where, after=after, limit=limit)
    return JSONResponse(shapes.listed(page.rows, shapes.job, page.has_more))


@router.get("/{job_id}")
def retrieve(job_id: str, tenant: CurrentTenant, house: Here) -> JSONResponse:
    return JSONResponse(shapes.job(_get(house, tenant, job_id)))


@router.post("/{job_id}/cancel")
def cancel(job_id: str, tenant: CurrentTenant, house: Here) -> JSONResponse:
    return _change(house, tenant, job_id, jobs.cancel)


@router.post("/{job_id}/pause")
def pause(job_id: str, tenant: CurrentTenant, house: Here) -> JSONResponse:
    return _change(house, tenant, job_id, jobs.pause)


@router.post("/{job_id}/resume")
def resume(job_id: str, tenant: CurrentTenant, house: Here) -> JSONResponse:
    return _change(house, tenant, job_id, jobs.resume)


@router.get("/{job_id}/events")
def events(
    job_id: str, tenant: CurrentTenant, house: Here, after: str | None = None, limit: Limit = 20
) -> JSONResponse:
    _get(house, tenant, job_id)
    with house.database.read() as session:
        page = pages.page(session, Event, Event.job_id == job_id, after=after, limit=limit)
    return JSONResponse(shapes.listed(page.rows, shapes.event, page.has_more))


@router.get("/{job_id}/checkpoints")
def checkpoints(
    job_id: str, tenant: CurrentTenant, house: Here, after: str | None = None, limit: Limit = 10
) -> JSONResponse:
    _get(house, tenant, job_id)
    with house.database.read() as session:
        page = pages.page(session, Checkpoint, Checkpoint.job_id == job_id, after=after, limit=limit)
    return JSONResponse(shapes.listed(page.rows, shapes.checkpoint, page.has_more))


def _change(
    house: House, tenant: str, job_id: str, rule: Callable[[Session, str, str], Job | None]
) -> JSONResponse:
    try:
        with house.database.write() as session:
            row = rule(session, tenant, job_id)
    except jobs.ChangeRefused as refused:
        raise RequestRefused(400, str(refused), type=INVALID, code=refused.code) from None
    if row is None:
        raise missing("fine-tuning job", job_id)
    return JSONResponse(shapes.job(row))


def _get(house: House, tenant: str, job_id: str) -> Job:
    with house.database.read() as session:
        row = jobs.get(session, tenant, job_id)
    if row is None:
        raise missing("fine-tuning job", job_id)
    return row


def _metadata_filter(request: Request) -> Iterator[ColumnElement[bool]]:
    """`metadata[key]=value` for each pair that must be there, or `metadata=null` for jobs without any."""
    metadata: Any = Job.metadata_
    for name, value in request.query_params.multi_items():
        if name == "metadata" and value == "null":
            yield metadata.is_(None)
        elif name.startswith("metadata[") and name.endswith("]"):
            key = name.removeprefix("metadata[").removesuffix("]")
            if not key or '"' in key or "\\" in key:
                raise invalid("A metadata filter needs a key without quotes.", name[:80], "invalid_value")
            yield metadata[key].as_string() == value
