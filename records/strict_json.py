"""JSON as its standard says it, of text that can be written down again: for request bodies and file lines.

Python's own parser also takes NaN and Infinity, UTF-16, and halves of surrogate pairs, which fail later and
deeper, in a tokenizer or a database. Depth is bounded too: whoever walks the value later may recurse. A name
that stands twice in an object is refused: whoever read the text before us may have taken the other value.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

MAX_DEPTH = 100
SHOWN_NAME = 64
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class NotJson(ValueError):
    """The text says what is wrong, in words that fit behind "not JSON: "."""


class NameTwice(NotJson):
    """An object has a name twice: `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"an object has the name {name[:SHOWN_NAME]!r} twice")
        self.name = name


def loads(raw: bytes) -> Any:
    """Raises NotJson."""
    try:
        text = raw.decode()
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
        if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
            raise NotJson(f"nested deeper than {MAX_DEPTH} levels")
        if _HALF_PAIR.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise NotJson(f"nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError:
        raise NotJson("not UTF-8 text; save it as UTF-8") from None
    except UnicodeEncodeError:
        raise NotJson("it holds half of a surrogate pair (\\ud800 to \\udfff alone)") from None
    except NotJson:
        raise
    except ValueError:
        raise NotJson("a number has too many digits") from None
    return value


def _too_deep(value: Any) -> bool:
    """Whether containers lie in more than MAX_DEPTH levels; goes level by level, so it needs no stack."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NameTwice(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return found


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is no value of JSON")
