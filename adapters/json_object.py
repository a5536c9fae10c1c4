"""A JSON object out of an untrusted file, in which no key stands twice. Called by the files of the check."""

from __future__ import annotations

from typing import Any

from adapters.refused import Code, Refused, shown
from records import strict_json


def read_object(raw: bytes, what: str, code: Code) -> dict[str, Any]:
    """`raw` as a dict. Raises Refused with DUPLICATE_KEY, else with `code`; `what` names the file.

    Two readers may take different ones of two equal keys: what was checked would not be what is loaded.
    """
    try:
        value = strict_json.loads(raw)
    except strict_json.NameTwice as error:
        raise Refused(Code.DUPLICATE_KEY, f"{what} has the key {shown(error.name)} twice") from None
    except strict_json.NotJson as error:
        raise Refused(code, f"{what} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise Refused(code, f"{what} is not a JSON object")
    return value
