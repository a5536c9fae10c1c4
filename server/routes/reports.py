"""/v1/fine_tuning/jobs/{id}/report: whether a job was worth it, as JSON or as a page."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header
from fastapi.responses import HTMLResponse, JSONResponse, Response

from records import jobs
from server.auth import CurrentTenant
from server.errors import missing
from server.evaluation.page import POLICY, page
from server.evaluation.report import report
from server.house import Here

HTML = "text/html"

router = APIRouter(prefix="/fine_tuning/jobs")


@router.get("/{job_id}/report")
def retrieve(
    job_id: str,
    tenant: CurrentTenant,
    house: Here,
    format: Literal["json", "html"] | None = None,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """`?format=html` or `Accept: text/html` asks for the page."""
    with house.database.read() as session:
        job = jobs.get(session, tenant, job_id)
        if job is None:
            raise missing("fine-tuning job", job_id)
        found = report(session, job)
    if format == "html" or (format is None and accept.strip().startswith(HTML)):
        return HTMLResponse(page(found), headers={"Content-Security-Policy": POLICY})
    return JSONResponse(found)
