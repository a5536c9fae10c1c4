"""/v1/files: what clients upload (and jobs produce), kept by content, seen by its tenant only."""

from __future__ import annotations

from typing import Annotated, BinaryIO, Literal

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from records import files, pages
from records.models import File
from server import shapes
from server.auth import CurrentTenant
from server.engine.base import RequestRefused
from server.errors import INVALID, invalid, missing
from server.house import Here, House
from server.training_file import check_training
from server.upload import Form, read_form

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
KEEP_SECONDS = range(3600, 2_592_001)
BATCH_SECONDS = 2_592_000  # OpenAI keeps batch files for 30 days unless told otherwise
FIELDS = {"purpose", "expires_after[anchor]", "expires_after[seconds]"}
NEEDED = {"file", "purpose"}

router = APIRouter()


@router.post("/files")
async def create(request: Request, tenant: CurrentTenant, house: Here) -> JSONResponse:
    with house.blobs.draft() as draft:
        form = await read_form(request, {"file": draft}, NEEDED)
        purpose, seconds = _purpose(form), _keep_seconds(form)
        if purpose == "fine-tune":
            await check_training(draft, house.heavy)
        row = await anyio.to_thread.run_sync(
            _keep, house, tenant, draft, form.filenames["file"], purpose, seconds, limiter=house.heavy
        )
    if purpose == "fine-tune":
        house.reports.begin(tenant, row.sha256)
    return JSONResponse(shapes.file(row))


@router.get("/files")
def list_files(
    tenant: CurrentTenant,
    house: Here,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
) -> JSONResponse:
    where = [*files.of(tenant), *([File.purpose == purpose] if purpose else [])]
    with house.database.read() as session:
        page = pages.page(session, File, *where, after=after, limit=limit, order=order)
    return JSONResponse(shapes.listed(page.rows, shapes.file, page.has_more, empty=""))


@router.get("/files/{file_id}")
def retrieve(file_id: str, tenant: CurrentTenant, house: Here) -> JSONResponse:
    return JSONResponse(shapes.file(_get(house, tenant, file_id)))


@router.get("/files/{file_id}/content")
def content(file_id: str, tenant: CurrentTenant, house: Here) -> FileResponse:
    row = _get(house, tenant, file_id)
    path = house.blobs.path(row.sha256)
    if not path.is_file():
        raise RequestRefused(
            410, f"The bytes of {file_id} are gone from the server's disk.", type=INVALID, code="file_missing"
        )
    return FileResponse(path, media_type="application/octet-stream", filename=row.filename)


@router.get("/files/{file_id}/report")
async def report(file_id: str, tenant: CurrentTenant, house: Here) -> Response:
    """What the data doctor says of training data; waits for it where it is not made yet."""
    row = await anyio.to_thread.run_sync(_get, house, tenant, file_id)
    if row.purpose != "fine-tune":
        raise invalid(
            f"{file_id} has purpose '{row.purpose}': only files of purpose 'fine-tune' have a report.",
            "file_id",
            "invalid_purpose",
        )
    return Response(await house.reports.get(tenant, row.sha256), media_type="application/json")


@router.delete("/files/{file_id}")
def delete(file_id: str, tenant: CurrentTenant, house: Here) -> JSONResponse:
    with house.database.write() as session:
        row = files.get(session, tenant, file_id)
        if row is None:
            raise missing("file", file_id)
        job = files.needed_by(session, row)
        if job is not None:
            said = f"{file_id} is needed by the fine-tuning job {job}; cancel it or wait for its end."
            raise RequestRefused(409, said, type=INVALID, code="file_in_use")
        if files.remove(session, row):
            house.blobs.remove(row.sha256)
            house.reports.remove(row.sha256)
    return JSONResponse(shapes.deleted("file", file_id))


def _get(house: House, tenant: str, file_id: str) -> File:
    with house.database.read() as session:
        row = files.get(session, tenant, file_id)
    if row is None:
        raise missing("file", file_id)
    return row


def _purpose(form: Form) -> str:
    form.check_fields(FIELDS, NEEDED)
    purpose = form.fields["purpose"]
    if purpose not in PURPOSES:
        raise invalid(f"Invalid 'purpose': use one of {', '.join(PURPOSES)}.", "purpose", "invalid_value")
    return purpose


def _keep_seconds(form: Form) -> int | None:
    anchor, seconds = (form.fields.get(f"expires_after[{part}]") for part in ("anchor", "seconds"))
    if anchor is None and seconds is None:
        return BATCH_SECONDS if form.fields["purpose"] == "batch" else None
    if anchor != "created_at":
        raise invalid("'expires_after[anchor]' must be created_at.", "expires_after[anchor]", "invalid_value")
    if not (seconds or "").isdecimal() or int(str(seconds)[:9]) not in KEEP_SECONDS:
        said = f"'expires_after[seconds]' must be a whole number from 3600 to {KEEP_SECONDS[-1]}."
        raise invalid(said, "expires_after[seconds]", "invalid_value")
    return int(str(seconds))


def _keep(
    house: House, tenant: str, draft: BinaryIO, filename: str, purpose: str, seconds: int | None
) -> File:
    """Sync, name, record: what was acknowledged is on disk."""
    sha256, size = house.blobs.seal(draft)
    if size == 0:
        raise invalid("The file is empty.", "file", "invalid_value")
    with house.database.write() as session:
        house.blobs.place(draft, sha256)
        return files.add(
            session,
            tenant,
            sha256=sha256,
            size=size,
            filename=filename,
            purpose=purpose,
            keep_seconds=seconds,
        )
