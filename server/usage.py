"""The token counts in an answer, found without parsing the whole of it."""

from __future__ import annotations

import re

_PROMPT = re.compile(rb'"prompt_tokens":\s*(\d+)')
_COMPLETION = re.compile(rb'"completion_tokens":\s*(\d+)')


def tokens(item: bytes) -> tuple[int, int]:
    """(prompt tokens, completion tokens) of the last `usage` in one JSON body or SSE frame; zeros if none.

    Text of the model cannot be taken for it: inside a JSON string every quote is escaped.
    """
    start = item.rfind(b'"usage":')
    if start < 0:
        return 0, 0
    prompt, completion = _PROMPT.search(item, start), _COMPLETION.search(item, start)
    return (int(prompt[1]) if prompt else 0), (int(completion[1]) if completion else 0)
