"""A JSON schema (draft 2020-12) that values are checked against, within a bound of processor time.

Schemas are foreign: they may multiply by references, ask for regular expressions that go back without end, or
name addresses to fetch. Nothing is fetched; each keyword looks at the clock; expressions have a time limit.
How large one may be is for server/bounds.py to say.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import regex
from jsonschema import Draft202012Validator, ValidationError, validators
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from server.graders.base import CannotGrade, Fault

SECONDS = 0.25  # of the processor, for one value
MAX_PATTERN = 1000
MAX_UNIQUE = 500  # items: to find twins among those without an order, jsonschema compares each pair
MAX_NAMES = 64  # the same for the lists of a schema itself, which the bound does not reach
MAX_SAID = 300
# jsonschema gives these keys of a schema to `re`, which has no time limit, or walks them past the keywords.
REFUSED = {
    "patternProperties": "use properties, or propertyNames with a pattern",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
}
_ANY_LIST = frozenset(("anyOf", "allOf", "oneOf", "prefixItems", "enum", "examples", "const", "default"))
_AT_TOP = ("$schema", "$id")  # further down they would bring in jsonschema's own keywords, without a clock

Errors = Iterator[ValidationError]
Keyword = Callable[[Any, Any, Any, Any], Errors | None]
_KEYWORDS: dict[str, Keyword] = dict(Draft202012Validator.VALIDATORS)


class TooCostly(Exception):
    """The clock ran out."""


class Schema:
    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises ValueError for what is no schema, or holds what cannot be checked within bounds."""
        self._schema = {name: value for name, value in schema.items() if name not in _AT_TOP}
        self._lock, self._until = threading.Lock(), 0.0
        own = {**_KEYWORDS, "pattern": _pattern, "uniqueItems": _unique_items}
        keywords = {name: self._timed(keyword) for name, keyword in own.items()}
        extended: Any = validators.extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call]
        self._validator = extended(self._schema, registry=Registry())
        for part in _objects(self._schema):
            _check_part(part, self._schema)
        problem = _first(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
        if problem:
            raise ValueError(f"it is no JSON schema: {problem}")

    def problem(self, value: Any) -> str | None:
        """What of the value does not fit, and where; None if all of it does. Raises CannotGrade."""
        with self._lock:  # one clock; the interpreter runs one of these at a time anyway
            self._until = time.thread_time() + SECONDS
            try:
                return _first(self._validator.iter_errors(value))
            except (TooCostly, TimeoutError):
                said = f"it takes longer than {SECONDS} s"
            except (RecursionError, ArithmeticError, LookupError, TypeError, AttributeError, ValueError):
                said = "a reference leads to what is no schema or too deep, or a number is too large"
        raise CannotGrade(Fault.OTHER, f"The JSON cannot be checked against the schema: {said}.")

    def _timed(self, keyword: Keyword) -> Keyword:
        def timed(validator: Any, given: Any, instance: Any, schema: Any) -> Errors:
            if time.thread_time() > self._until:
                raise TooCostly
            yield from keyword(validator, given, instance, schema) or ()

        return timed


def _pattern(_validator: Any, given: Any, instance: Any, _schema: Any) -> Errors:
    if isinstance(instance, str) and not regex.search(given, instance, timeout=SECONDS, concurrent=True):
        yield ValidationError(f"{instance[:MAX_SAID]!r} does not match {given!r}")


def _unique_items(validator: Any, given: Any, instance: Any, schema: Any) -> Errors:
    if given and isinstance(instance, list) and len(instance) > MAX_UNIQUE:
        raise TooCostly
    yield from _KEYWORDS["uniqueItems"](validator, given, instance, schema) or ()


def _first(errors: Errors) -> str | None:
    error = next(errors, None)
    if error is None:
        return None
    message = error.message if len(error.message) <= MAX_SAID else f"{error.message[:MAX_SAID]}..."
    return f"{message} (at {error.json_path[:MAX_SAID]})"


def _check_part(part: dict[str, Any], schema: dict[str, Any]) -> None:
    for name, value in part.items():
        if name in REFUSED and not isinstance(value, str | None):
            raise ValueError(f"'{name}' is not supported; {REFUSED[name]}")
        if name in ("$dynamicRef", "$recursiveRef", *_AT_TOP) and isinstance(value, str):
            raise ValueError(f"'{name}' is not supported here; {REFUSED.get(name, 'leave it out')}")
        long = isinstance(value, list) and len(value) > MAX_NAMES and name not in _ANY_LIST
        if long and not all(isinstance(one, str) for one in value):
            raise ValueError(f"'{name[:80]}' is a list of more than {MAX_NAMES}, and not of names")
    if isinstance(part.get("pattern"), str):
        _check_pattern(part["pattern"])
    if isinstance(part.get("$ref"), str):
        _check_reference(part["$ref"], schema)


def _check_pattern(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern has at most {MAX_PATTERN} characters")
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise ValueError(f"the pattern {pattern[:80]!r} is no regular expression: {error}") from None


def _check_reference(reference: str, schema: dict[str, Any]) -> None:
    if not reference.startswith("#"):
        raise ValueError(f"'$ref' {reference[:80]!r} leads elsewhere; put the definition under '$defs'")
    try:
        root: Any = DRAFT202012.create_resource(schema)
        found = Registry().resolver_with_root(root).lookup(reference).contents
    except Unresolvable:
        found = None
    if not isinstance(found, dict | bool):
        raise ValueError(f"'$ref' {reference[:80]!r} leads to no schema in this one")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as part:
                yield part
                waiting.extend(part.values())
            case list() as parts:
                waiting.extend(parts)
