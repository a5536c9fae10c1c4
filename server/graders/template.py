"""`{{ item.reference }}` and `{{ sample.output_json.total }}` in a text, replaced by what they name.

A path and no language: nothing is called, nothing is computed. What is no text is written as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from server.graders.base import MAX_TEXT, CannotGrade, Fault, Item, Sample

MAX_DIGITS = 9  # of a place in a list: Python refuses to read thousands of them
SAMPLE_VARIABLES = ("output_text", "output_json", "output_tools")
_REFERENCE = re.compile(r"\{\{([^{}]*)\}\}")
_PATH = re.compile(r"""(item|sample)((?:\.[\w-]+|\[\d+\]|\["[^"\]]+"\]|\['[^'\]]+'\])+)""")
_STEP = re.compile(r"""\.([\w-]+)|\[(\d+)\]|\["([^"\]]+)"\]|\['([^'\]]+)'\]""")


def check(text: str) -> str:
    """The text as it is. Raises ValueError for a reference that can name nothing, whatever the item."""
    for found in _REFERENCE.finditer(text):
        _path(found[1])
    if "{{" in _REFERENCE.sub("", text):
        raise ValueError("a '{{' has no '}}', or holds braces; write {{ item.NAME }} or {{ sample.NAME }}")
    return text


Template = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(check)]


def render(text: str, sample: Sample, item: Item) -> str:
    """Raises CannotGrade, which names the reference, or says that the text has become too long."""
    parts = _REFERENCE.split(text)  # text, reference, text, ...
    size = 0
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = _text(_value(part, sample, item))
        size += len(parts[place])
        if size > MAX_TEXT:
            said = f"With its references filled in a text has more than {MAX_TEXT} characters."
            raise CannotGrade(Fault.OTHER, said)
    return "".join(parts)


def _path(reference: str) -> tuple[str, list[str]]:
    """(namespace, steps). Raises ValueError."""
    shown = "{{" + reference[:80] + "}}"
    path = _PATH.fullmatch(reference.strip())
    if path is None:
        raise ValueError(f"{shown} is no reference; write {{{{ item.NAME }}}} or {{{{ sample.NAME }}}}")
    namespace = path[1]
    steps = ["".join(step) for step in _STEP.findall(path[2])]
    if namespace == "sample":
        if steps[0] not in SAMPLE_VARIABLES:
            raise ValueError(f"{shown} names nothing: a sample has {', '.join(SAMPLE_VARIABLES)}")
        if steps[0] == "output_text" and len(steps) > 1:
            raise ValueError(f"{shown} names nothing: sample.output_text is text, without parts")
    return namespace, steps


def _value(reference: str, sample: Sample, item: Item) -> Any:
    namespace, steps = _path(reference)
    value: Any = item
    if namespace == "sample":
        value, steps = getattr(sample, steps[0]), steps[1:]
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif _is_list(value) and _is_place(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            said = f"{{{{{reference[:80]}}}}} names nothing: there is no '{step[:80]}'{_there(value)}."
            raise CannotGrade(Fault.VARIABLE, said)
    return value


def _is_place(step: str) -> bool:
    return step.isascii() and step.isdigit() and len(step) <= MAX_DIGITS


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _there(value: Any) -> str:
    if isinstance(value, dict):
        return f" among {', '.join(list(value)[:20])[:200]}" if value else " in an empty object"
    return f" among {len(value)} entries" if _is_list(value) else " in what has no parts"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
