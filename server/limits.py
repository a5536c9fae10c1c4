"""How large a request body may be. Checked when the body is read, so after the key was checked."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope

from records.settings import Settings
from server.errors import too_large

UPLOADS = "/v1/files"
FORM_SLACK = 64 * 1024  # what a multipart form adds to its file


def limited(scope: Scope, receive: Receive, settings: Settings) -> Receive:
    """`receive` that raises RequestRefused (413) as soon as the body is, or says it will be, too large."""
    upload = scope["path"] == UPLOADS
    limit = settings.max_file_bytes + FORM_SLACK if upload else settings.max_body_bytes
    shown = settings.max_file_bytes if upload else limit
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        if seen == 0 and _declared(scope) > limit:
            raise too_large(shown)
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise too_large(shown)
        return message

    return counted


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
