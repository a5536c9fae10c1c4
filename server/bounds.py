"""How much one chat or completion request may ask for, so that no tenant's request holds up the others.

The engine compiles what an answer must look like in one thread, cannot break that off, and takes seconds for
a large one. What it compiles but can never finish, as a rule that begins with itself, is refused here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from records import dataset, strict_json
from server.engine.base import RequestRefused
from server.errors import invalid

MAX_CHOICES = 128  # prompts x `n`; 128 is OpenAI's own limit of `n`
MAX_MESSAGES = dataset.MAX_MESSAGES  # what can be taught can be asked
MAX_SHAPE_BYTES = 64 * 1024  # one schema, grammar, regular expression or list of choices, as JSON text
MAX_TOOLS_BYTES = 256 * 1024  # the parameters of all tools
MAX_NUMBER = 2**31 - 1  # what the engine's arrays hold; it fails on more
MAX_ENUM_VALUES = 1000  # OpenAI's own limit, over all of a schema

_CONSTRAINTS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
STRUCTURED_KEYS = frozenset(
    (*_CONSTRAINTS, "disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")
)
_SAME_PLACE = ("anyOf", "oneOf", "allOf")
# None of these goes back over what it has read: a grammar of nothing but brackets must cost no more.
_LITERAL = re.compile(r'"(?:\\.|[^"\\\n])*+"?|\[(?:\\.|[^\]\\\n])*+\]?')
_COMMENT = re.compile(r"#[^\n]*")
_RULE = re.compile(r"(?<![\w.\-])([\w.\-]++)\s*+::=")
_FIRST = re.compile(r"[\s(]*([\w.\-]+)")


def check_number(name: str, value: Any) -> None:
    """Raises RequestRefused for a whole number that the engine cannot hold; of seeds it holds larger ones."""
    if isinstance(value, int) and abs(value) > MAX_NUMBER and name != "seed":
        raise invalid(f"Invalid '{name}': at most {MAX_NUMBER}.", name, "invalid_value")


def check_choices(n: Any, prompt: Any = "") -> None:
    """Raises RequestRefused for more than MAX_CHOICES answers."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise invalid("'n' must be a whole number.", "n", "invalid_type")
    one = isinstance(prompt, str) or not isinstance(prompt, list) or isinstance(prompt[0], int | float)
    prompts = 1 if one else len(prompt)
    if prompts > MAX_CHOICES:
        raise invalid(
            f"Invalid 'prompt': at most {MAX_CHOICES} prompts per request.", "prompt", "invalid_value"
        )
    if n * prompts > MAX_CHOICES:
        times = " ('n' times the number of prompts)" if prompts > 1 else ""
        raise invalid(f"Invalid 'n': at most {MAX_CHOICES} choices per request{times}.", "n", "invalid_value")


def check_shapes(body: Mapping[str, Any]) -> None:
    """The schemas and grammars of a request. What is of the wrong kind is left to the engine to refuse."""
    wanted, structured, tools = (
        body.get(name) for name in ("response_format", "structured_outputs", "tools")
    )
    if isinstance(wanted, dict):
        _check_size("response_format", wanted)
        _check_enums("response_format", wanted)
        if wanted.get("type") == "json_schema":
            _check_endless("response_format", _schema(wanted))
    if isinstance(structured, dict):
        _check_size("structured_outputs", structured)
        unpacked = {**structured, **dict(_unpacked(structured))}
        _check_enums("structured_outputs", unpacked)
        _check_endless("structured_outputs", unpacked.get("json"))
        _check_grammar("structured_outputs", structured.get("grammar"))
    if isinstance(tools, list):
        _check_tools(tools)


def check_schema(param: str, schema: dict[str, Any]) -> None:
    """A schema that stands alone. Raises RequestRefused."""
    _check_size(param, schema)
    _check_enums(param, schema)
    _check_endless(param, schema)


def _check_tools(tools: list[Any]) -> None:
    size = 0
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            param = f"tools[{index}]"
            raise invalid(f"'{param}' must be an object with `function.name`.", param, "invalid_type")
        param = f"tools[{index}].function.parameters"
        size += _check_size(param, function.get("parameters"))
        _check_endless(param, function.get("parameters"))
    if size > MAX_TOOLS_BYTES:
        raise _too_large(
            "tools", f"the parameters of all tools together have at most {MAX_TOOLS_BYTES} bytes"
        )
    _check_enums("tools", tools)


def _check_size(param: str, value: Any) -> int:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_SHAPE_BYTES:
        raise _too_large(param, f"at most {MAX_SHAPE_BYTES} bytes of JSON text")
    return size


def _check_enums(param: str, value: Any) -> None:
    lists = (item[name] for item in _objects(value) for name in ("enum", "choice") if name in item)
    if sum(len(values) for values in lists if isinstance(values, list)) > MAX_ENUM_VALUES:
        raise _too_large(param, f"at most {MAX_ENUM_VALUES} values of enums in all")


def _too_large(param: str, limit: str) -> RequestRefused:
    return invalid(f"Invalid '{param}': {limit}.", param, "invalid_value")


def _schema(wanted: dict[str, Any]) -> dict[str, Any]:
    named = wanted.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(schema, dict):
        param = "response_format.json_schema.schema"
        raise invalid(f"'{param}' must be an object.", param, "missing_required_parameter")
    return schema


def _unpacked(structured: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Those of its values that may be JSON inside text."""
    for name in ("json", "structural_tag"):
        if isinstance(text := structured.get(name), str):
            try:
                yield name, strict_json.loads(text.encode())
            except strict_json.NotJson as error:
                param = f"structured_outputs.{name}"
                raise invalid(f"'{param}' is not JSON: {error}.", param, "invalid_value") from None


def _check_endless(param: str, schema: Any) -> None:
    """No schema that stands for itself, as {"$ref": "#"}: an answer could never begin."""
    leads: dict[int, list[int]] = {}
    for item in _objects(schema):
        lists = [item[name] for name in _SAME_PLACE if isinstance(item.get(name), list)]
        same = [one for members in lists for one in members]
        if isinstance(item.get("$ref"), str):
            same.append(_target(schema, item["$ref"]))
        if same:
            leads[id(item)] = [id(one) for one in same if isinstance(one, dict)]
    if _circular(leads):
        raise invalid(f"Invalid '{param}': a `$ref` leads back to itself.", param, "invalid_value")


def _target(schema: Any, reference: str) -> Any:
    head, *parts = reference.split("/")
    for part in parts:
        schema = schema.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(schema, dict) else None
    return schema if head == "#" else None


def _check_grammar(param: str, grammar: Any) -> None:
    """No rule of an EBNF that begins with itself."""
    if not isinstance(grammar, str):
        return
    _, *pieces = _RULE.split(_COMMENT.sub("", _LITERAL.sub('""', grammar)))
    leads: dict[str, list[str]] = {}
    for name, text in zip(pieces[::2], pieces[1::2], strict=True):
        firsts = (_FIRST.match(alternative) for alternative in re.split(r"[|(]", text))
        leads.setdefault(name, []).extend(first.group(1) for first in firsts if first)
    if _circular(leads):
        raise invalid(f"Invalid '{param}': a rule of its grammar begins with itself.", param, "invalid_value")


def _circular(leads: Mapping[Any, list[Any]]) -> bool:
    try:
        TopologicalSorter(leads).prepare()
    except CycleError:
        return True
    return False


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as item:
                yield item
                waiting.extend(item.values())
            case list() as items:
                waiting.extend(items)
