"""A request's JSON body, read after the key was checked, or a 400 that says what is wrong with it."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from fastapi import Request

from server.errors import invalid

# Half of a surrogate pair is legal JSON and no legal text: tokenizers fail on it deep inside the engine.
HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


async def json_object(request: Request) -> dict[str, Any]:
    """Raises RequestRefused: 400 for what is no JSON object of UTF-8 text, 413 (server/limits.py)."""
    raw = await request.body()
    try:
        value = json.loads(raw, parse_constant=_no_constant)
        if HALF_PAIR.search(raw):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise invalid(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise invalid("The body is not JSON that can be read: it is nested too deep.") from None
    except UnicodeError:
        raise invalid("The body holds text that is not UTF-8, or half of a surrogate pair.") from None
    except ValueError as error:
        raise invalid(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object, with `Content-Type: application/json`.")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
