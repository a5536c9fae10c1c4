"""JSON as its standard says it, of text that can be written down again: for request bodies and file lines.

Python's own parser also takes NaN and Infinity, UTF-16, and halves of surrogate pairs, which fail later and
deeper, in a tokenizer or a database.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class NotJson(ValueError):
    """The text says what is wrong, in words that fit behind "not JSON: "."""


def loads(raw: bytes) -> Any:
    """Raises NotJson."""
    try:
        text = raw.decode()
        value = json.loads(text, parse_constant=_no_constant)
        if _HALF_PAIR.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise NotJson("nested too deep") from None
    except UnicodeDecodeError:
        raise NotJson("not UTF-8 text; save it as UTF-8") from None
    except UnicodeEncodeError:
        raise NotJson("it holds half of a surrogate pair (\\ud800 to \\udfff alone)") from None
    except NotJson:
        raise
    except ValueError:
        raise NotJson("a number has too many digits") from None
    return value


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is no value of JSON")
