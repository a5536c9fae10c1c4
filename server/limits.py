"""How large a request body may be. Checked when the body is read, so after the key was checked."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope

from records.settings import Settings
from server.errors import too_large

# What a multipart form adds to its large file; an adapter's configuration has 256 KiB at most.
FORM_SLACK = {"/v1/files": 64 * 1024, "/v1/adapters": 384 * 1024}


def limited(scope: Scope, receive: Receive, settings: Settings) -> Receive:
    """`receive` that raises RequestRefused (413) as soon as the body is, or says it will be, too large."""
    slack = FORM_SLACK.get(scope["path"])
    limit = settings.max_body_bytes if slack is None else settings.max_file_bytes + slack
    shown = settings.max_body_bytes if slack is None else settings.max_file_bytes
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
