"""Between OpenAI's wire format and vLLM's request and response objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from server.engine.base import EngineUnavailable, Kind, RequestRefused
from server.engine.vllm_refusals import of_answer, of_request, plain

# Fields that OpenAI's schemas require even when null; every other null is left out, as OpenAI does.
_KEPT_NULLS = {"content", "refusal", "logprobs", "finish_reason", "bytes"}
# What vLLM adds to an answer that has a meaning only inside vLLM.
_DROPPED = {"kv_transfer_params", "prompt_token_ids", "token_ids", "prompt_text", "routed_experts"}
_NULLS_IN_FRAMES = tuple(
    f',"{name}":null' for name in ("stop_reason", "token_ids", "prompt_token_ids", "prompt_text")
)
_WORKER = re.compile(r"Worker failed with error '(.*)', please check", re.DOTALL)


def request(kind: Kind, sent: dict[str, Any]) -> Any:
    """vLLM's request object. Raises RequestRefused that names the field at fault."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    model = ChatCompletionRequest if kind is Kind.CHAT else CompletionRequest
    try:
        return model(**sent)
    except Exception as error:  # vLLM's own kinds come from no kind of Python's but this
        raise of_request(error, sent) from error


@contextmanager
def refusals(sent: dict[str, Any]) -> Iterator[None]:
    """Turn whatever vLLM raises for the request `sent` into ours."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except (RequestRefused, EngineUnavailable):
        raise
    except EngineDeadError as error:
        raise EngineUnavailable("The engine has died.") from error
    except Exception as error:
        from vllm.entrypoints.serve import create_error_response

        raise of_answer(create_error_response(error).error, sent) from error


def body(answer: Any, sent: dict[str, Any]) -> bytes:
    """One JSON body. Raises RequestRefused or EngineUnavailable for vLLM's error object."""
    if hasattr(answer, "error"):
        raise of_answer(answer.error, sent)
    return json.dumps(
        _clean(answer.model_dump(mode="json")), ensure_ascii=False, separators=(",", ":")
    ).encode()


def frame(text: str) -> bytes:
    """vLLM's SSE frame, with the one field that OpenAI's schema of log-probabilities requires besides, and
    without the nulls of vLLM's own fields: nobody can ask for those (server/fields.py), so all are null.

    Inside the model's words every quote is escaped, so that they never match. Replaced and not parsed: this
    runs once per token of every stream.
    """
    for null in _NULLS_IN_FRAMES:
        text = text.replace(null, "")
    return text.replace('"logprobs":{"content":', '"logprobs":{"refusal":null,"content":').encode()


def first_error(frame: str, sent: dict[str, Any]) -> RequestRefused | EngineUnavailable:
    """What an SSE error frame says before any other: the client has no 200 yet."""
    return of_answer(SimpleNamespace(**json.loads(frame.removeprefix("data: "))["error"]), sent)


def error_frame(frame: str) -> bytes:
    """vLLM's SSE error frame as OpenAI's; what vLLM says to its operators goes no further."""
    lasting = json.loads(frame.removeprefix("data: "))["error"].get("code") != 503
    message = "The engine failed in the midst of this answer. Send the request again."
    code = "internal_error" if lasting else "server_is_overloaded"
    shown = {"message": message, "type": "server_error", "param": None, "code": code}
    return b"data: " + json.dumps({"error": shown}).encode() + b"\n\n"


def adapter_reason(message: str) -> str:
    """Why an adapter was refused, out of the layers of processes that the reason came through."""
    inner = _WORKER.search(message)
    return plain(inner.group(1) if inner else message)


def unknown_model(name: str) -> RequestRefused:
    message = f"The model `{name}` does not exist or you do not have access to it."
    return RequestRefused(404, message, type="invalid_request_error", param="model", code="model_not_found")


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(logprobs := value.get("logprobs"), dict) and "content" in logprobs:
            value = {**value, "logprobs": {"refusal": None, **logprobs}}
        return {
            key: _clean(item)
            for key, item in value.items()
            if key not in _DROPPED and (item is not None or key in _KEPT_NULLS)
        }
    return [_clean(item) for item in value] if isinstance(value, list) else value
