"""What vLLM says of a request at fault, as a refusal of ours: one sentence, and the field as it was sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from server.engine.base import EngineUnavailable, RequestRefused

log = logging.getLogger("chorus.server")

MAX_MESSAGE = 400
# What vLLM and its libraries add for their developers: appendices, addresses, times and files of source code.
_APPENDICES = (" (parameter=", ": {'json': ", " To increase this limit, set")
_NOISE = re.compile(
    r"For further information visit \S+"
    r"|\[type=[^\n]*\]"
    r"|\[\d\d:\d\d:\d\d\]"
    r"|[\w./\-]+\.(?:cc|cpp|h|py):\d+:"
    r"|<path>:\d+:"  # vLLM has put that in itself
)
_PATH = re.compile(r"(?:/[\w.\-]+){2,}")
_SHAPE = re.compile(r"structured.output|grammar|schema|regex|choice|structural.tag", re.IGNORECASE)
_SHAPES = ("structured_outputs", "response_format", "tools")
# Where vLLM calls by one name what was sent under another.
_OTHER_NAMES = {"logprobs": "top_logprobs", "max_tokens": "max_completion_tokens"}
_OURS = ("model", "cache_salt")
_NO_SCHEMA = (
    "Invalid value for 'tools': the parameters of a function that must be called, or that is strict, are no "
    "JSON Schema that any arguments fit."
)


def refused(message: str, *, param: str | None = None, code: str | None = None) -> RequestRefused:
    return RequestRefused(400, message, type="invalid_request_error", param=param, code=code)


def plain(message: str) -> str:
    """One line without paths of this machine and without vLLM's own appendices."""
    for appendix in _APPENDICES:
        message = message.split(appendix, 1)[0]
    said = _PATH.sub("<path>", " ".join(_NOISE.sub("", message[: 4 * MAX_MESSAGE]).split()))
    return said if len(said) <= MAX_MESSAGE else f"{said[:MAX_MESSAGE]}..."


def of_request(error: Exception, sent: dict[str, Any]) -> RequestRefused:
    """Why vLLM could make no request object out of the body `sent`."""
    from vllm.exceptions import VLLMClientError

    if isinstance(error, ValidationError):
        return _of_validation(error, sent)
    if isinstance(error, VLLMClientError | ValueError):
        said = plain(str(error))
        return refused(said, param=field(getattr(error, "parameter", None), said, sent))
    # Its checks take the kinds of values for granted: what Python says of them helps no client. The log keeps
    # it, as it may be a fault of ours.
    log.warning("vLLM could not read a request", exc_info=error)
    return refused("The request cannot be read: one of its fields holds a value of the wrong kind.")


def of_answer(error: Any, sent: dict[str, Any]) -> RequestRefused | EngineUnavailable:
    """vLLM's error object."""
    said = plain(error.message)
    if error.code == 503:
        return EngineUnavailable(said)
    if error.code >= 500:
        return RequestRefused(500, "The engine failed to answer this request.", type="server_error")
    if said.startswith("Invalid structural tag") and "structured_outputs" not in sent and "tools" in sent:
        said = _NO_SCHEMA
    too_long = "maximum context length" in error.message
    return RequestRefused(
        error.code,
        said,
        type="invalid_request_error",
        param=_text_field(sent) if too_long else field(error.param, said, sent),
        code="context_length_exceeded" if too_long else None,
    )


def field(named: str | None, said: str, sent: dict[str, Any]) -> str | None:
    """The field of `sent` that vLLM means: the one that it names, or else the first one in its words."""
    place = _place((named or "").split("."), sent)
    other = _OTHER_NAMES.get(place or named or "")
    if other in sent:
        return other
    if place is not None:
        return place
    if said.startswith("Token id "):
        return _text_field(sent)
    found = [(match.start(), name) for name in sent if (match := re.search(rf"\b{re.escape(name)}\b", said))]
    found = [one for one in found if one[1] not in _OURS]
    if found:
        return min(found)[1]
    return next((name for name in _SHAPES if name in sent), None) if _SHAPE.search(said) else None


def _of_validation(error: ValidationError, sent: dict[str, Any]) -> RequestRefused:
    problems = error.errors(include_url=False, include_input=False)
    first = problems[0]
    loc = first["loc"]
    param = _place(loc, sent)
    if param is None:  # vLLM reads the calls in messages late, and says no more where they were
        param = _text_field(sent)
    elif first["type"] == "missing" and param == _path(loc[:-1]):
        param = _path(loc)
        return refused(f"Missing required parameter: '{param}'.", param=param)
    if loc[0] == "stop" and isinstance(sent.get("stop"), list) and len(sent["stop"]) > 4:
        return refused("Invalid value for 'stop': at most 4 stop sequences.", param="stop")
    # A field of several kinds has a problem with each of them.
    texts = [plain(one["msg"]).removeprefix("Value error, ") for one in problems if one["loc"][0] == loc[0]]
    said = ", or: ".join(list(dict.fromkeys(texts))[:3]).rstrip(".")
    return refused(f"Invalid value for '{param}': {said}.", param=param)


def _text_field(sent: dict[str, Any]) -> str:
    return "messages" if "messages" in sent else "prompt"


def _place(loc: Sequence[str | int], sent: Any) -> str | None:
    """`loc` as far as it is a place in what was sent: pydantic adds the kinds that it has tried."""
    value, depth = sent, 0
    for part in loc:
        in_object = isinstance(value, dict) and part in value
        if not in_object and not (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            break
        value, depth = value[part], depth + 1
    return _path(loc[:depth]) if depth else None


def _path(loc: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
