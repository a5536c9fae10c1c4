"""/v1/fine_tuning/alpha/graders: try a grader on one answer, or have its definition checked."""

from __future__ import annotations

from functools import partial

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from server import grader_request, shapes
from server.auth import CurrentTenant
from server.body import json_object
from server.graders.base import Means, Sample
from server.graders.runner import Grading
from server.house import Here
from server.judge import EngineJudge
from server.stream import GONE, ClientGone, unless_gone

router = APIRouter(prefix="/fine_tuning/alpha/graders")


@router.post("/run")
async def run(request: Request, tenant: CurrentTenant, house: Here) -> Response:
    read = partial(grader_request.parse_run, await json_object(request))
    asked, spec = await anyio.to_thread.run_sync(read, limiter=house.heavy)
    judge = EngineJudge(house.engine, house.catalog, tenant, house.salts.of(tenant))
    grading = Grading(spec, Means(judge, house.heavy))
    try:
        grade = await unless_gone(request.receive, grading.grade(Sample(asked.model_sample), asked.item))
    except ClientGone:
        return Response(status_code=GONE)
    return JSONResponse(shapes.grade(spec.name, spec.type, grade))


@router.post("/validate")
async def validate(request: Request, tenant: CurrentTenant, house: Here) -> JSONResponse:
    """The definition as it was sent. A model that it asks must be one that the tenant may ask."""
    body = await json_object(request)
    read = partial(grader_request.parse_validate, body)
    spec = await anyio.to_thread.run_sync(read, limiter=house.heavy)
    for model in grader_request.models(spec):
        if not house.base.is_named(model):
            await house.names.of(tenant, model)
    return JSONResponse({"grader": body["grader"]})
