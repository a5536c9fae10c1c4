"""Whether the server lives, whether chat works, and its metrics. The only routes without an API key."""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from server.auth import unauthorized
from server.errors import RETRY_AFTER_SECONDS
from server.house import Here

router = APIRouter()


@router.get("/livez")
async def live() -> JSONResponse:
    return JSONResponse({"status": "alive"})


@router.get("/readyz")
@router.get("/health")
@router.get("/startupz")
async def ready(house: Here) -> JSONResponse:
    """200 only when chat works."""
    keeper = house.keeper
    shown = {"status": "ready" if keeper.ready else "not ready", "reason": keeper.reason}
    headers = {} if keeper.ready else {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return JSONResponse(shown, 200 if keeper.ready else 503, headers)


@router.get("/metrics")
def metrics(request: Request, house: Here) -> Response:
    """Open, unless an admin key is set: then for `Authorization: Bearer <admin key>` only."""
    admin = house.settings.admin_key
    if admin is not None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {admin.get_secret_value()}".encode()):
            raise unauthorized("/metrics needs the admin key.")
    return Response(house.metrics.expose(), media_type=CONTENT_TYPE_LATEST)
