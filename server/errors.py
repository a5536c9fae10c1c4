"""Every error in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, code a string or null.

`RequestRefused` (server/engine/base.py) is the one exception for a request at fault, raised by all layers;
the builders here keep its texts and codes in one place. What is unexpected is masked in server/edge.py.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DataError, DBAPIError
from starlette.exceptions import HTTPException

from adapters.eligible import RolloutRefused
from records.disk import is_full
from records.pages import UnknownCursor
from server.engine.base import EngineUnavailable, RequestRefused

RETRY_AFTER_SECONDS = 5
SHOWN_NAME = 256  # of a name that a client sent; all of ours are shorter
INVALID = "invalid_request_error"
# The same request cannot do better: the SDK would else retry every 409 and 5xx (openai-python 3.54).
FINAL = (409, 507)

log = logging.getLogger("chorus.server")


def invalid(message: str, param: str | None = None, code: str | None = None) -> RequestRefused:
    """400: the message says which field and what to send instead."""
    return RequestRefused(400, message, type=INVALID, param=param, code=code)


def missing(what: str, name: str) -> RequestRefused:
    """404 for an object that does not exist or belongs to somebody else: the two must look the same."""
    message = f"No such {what}: {name[:SHOWN_NAME]!r}. It does not exist or you do not have access to it."
    return RequestRefused(404, message, type=INVALID, code="not_found")


def unknown_model(model: str) -> RequestRefused:
    message = f"The model `{model[:SHOWN_NAME]}` does not exist or you do not have access to it."
    return RequestRefused(404, message, type=INVALID, param="model", code="model_not_found")


def nothing_live(brand: str) -> RequestRefused:
    """404: the brand is there, and no version answers for it, as when it was retired."""
    message = (
        f"The brand `{brand}` has no live version. Promote one of its versions: POST /v1/brands/{brand} with "
        '{"action": "promote", "version": "ft:..."}. Each version still answers to its own full name.'
    )
    return RequestRefused(404, message, type=INVALID, param="model", code="model_not_found")


def unusable(version: str, why: str) -> RequestRefused:
    """410: it is there, and no engine may answer with it."""
    message = f"The model `{version}` cannot be served: {why}. Use another version."
    return RequestRefused(410, message, type=INVALID, param="model", code="version_unusable")


def too_large(limit: int) -> RequestRefused:
    message = f"The request body is larger than {limit} bytes; send less."
    return RequestRefused(413, message, type=INVALID, code="request_too_large")


def disk_full(
    message: str = "The server's disk is full; nothing was kept. Ask its operator to make room.",
    code: str = "disk_full",
) -> RequestRefused:
    return RequestRefused(507, message, type="server_error", code=code)


def from_validation(
    error: ValidationError | RequestValidationError, skip: int = 0, under: str = ""
) -> RequestRefused:
    """The first problem of a pydantic model as a 400 that names the field, without `skip` leading parts and
    as a part of the field `under`."""
    details: Any = error.errors()
    first: ErrorDetails = details[0]
    param = ".".join([*([under] if under else []), *(str(part) for part in first["loc"][skip:])])
    said = first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "extra_forbidden":
            return invalid(f"Unknown parameter: '{param}'.", param, "unknown_parameter")
        case "missing":
            return invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
        case "model_type" | "model_attributes_type" | "dict_type":  # pydantic names its classes
            return invalid(f"'{param}' must be an object.", param, "invalid_type")
        case _:
            return invalid(f"Invalid value for '{param}': {said}.".replace("..", "."), param, "invalid_value")


def body_of(refusal: RequestRefused) -> dict[str, Any]:
    shown = {
        "message": refusal.message,
        "type": refusal.type,
        "param": refusal.param,
        "code": refusal.code,
    }
    return {"error": shown}


def respond(refusal: RequestRefused) -> JSONResponse:
    headers = {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if refusal.status in FINAL:
        headers["x-should-retry"] = "false"
    return JSONResponse(body_of(refusal), refusal.status, headers)


def unavailable(message: str) -> RequestRefused:
    """503: the same request may succeed in a while."""
    return RequestRefused(503, message, type="server_error", code="server_is_overloaded")


def internal(request_id: str) -> RequestRefused:
    """500 that tells nothing of the cause; the log has it under the same id."""
    message = f"The server had an error while processing the request. Its id is {request_id}."
    return RequestRefused(500, message, type="server_error", code="internal_error")


def install(app: FastAPI) -> None:
    """Register one handler per kind of exception that a route may raise."""

    @app.exception_handler(RequestRefused)
    async def refused(_request: Request, error: RequestRefused) -> JSONResponse:
        return respond(error)

    @app.exception_handler(EngineUnavailable)
    async def engine_unavailable(request: Request, error: EngineUnavailable) -> JSONResponse:
        request.app.state.house.keeper.suspect()
        return respond(unavailable(f"{error} Try again in a moment."))

    @app.exception_handler(RolloutRefused)
    async def rollout_refused(_request: Request, error: RolloutRefused) -> JSONResponse:
        status = 409 if error.param is None else 400  # what is asked may be right, and the state is not
        return respond(RequestRefused(status, str(error), type=INVALID, param=error.param, code=error.code))

    @app.exception_handler(UnknownCursor)
    async def unknown_cursor(_request: Request, error: UnknownCursor) -> JSONResponse:
        return respond(invalid(f"Invalid 'after': this list holds no {error}.", "after", "invalid_value"))

    @app.exception_handler(RequestValidationError)
    async def bad_parameters(_request: Request, error: RequestValidationError) -> JSONResponse:
        return respond(from_validation(error, skip=1))

    @app.exception_handler(OSError)
    async def disk(_request: Request, error: OSError) -> JSONResponse:
        if not is_full(error):
            raise error
        return respond(disk_full())

    @app.exception_handler(DBAPIError)
    async def database(_request: Request, error: DBAPIError) -> JSONResponse:
        if isinstance(error, DataError):  # PostgreSQL takes no NUL in text
            return respond(invalid("The request holds text that cannot be looked up, such as a NUL."))
        log.exception("The database failed", exc_info=error)
        if is_full(error):
            return respond(disk_full())
        return respond(unavailable("The database does not answer; try again in a moment."))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        said = {404: "Invalid URL", 405: "Method not allowed"}.get(error.status_code, str(error.detail))
        refusal = RequestRefused(
            error.status_code, f"{said} ({request.method} {request.url.path})", type=INVALID
        )
        response = respond(refusal)
        response.headers.update(error.headers or {})
        return response
