"""A request's JSON body, read after the key was checked, or a 400 that says what is wrong with it."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from records import strict_json
from server.errors import invalid


async def json_object(request: Request) -> dict[str, Any]:
    """Raises RequestRefused: 400 for what is no JSON object of UTF-8 text, 413 (server/limits.py)."""
    try:
        value = strict_json.loads(await request.body())
    except strict_json.NotJson as error:
        raise invalid(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object, with `Content-Type: application/json`.")
    return value
