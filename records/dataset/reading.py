"""Lines of bytes become examples, or errors that name the line and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from records import strict_json
from records.dataset.formats import CHAT, FORMATS, Example, Format, Line, Pair, format_of

MIN_EXAMPLES = 10
MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_MESSAGES = 2048  # of one conversation, as of a chat request
SHOWN_ERRORS = 5
SHOWN_KEYS = 8
ROLES = ("system", "developer", "user", "assistant", "tool")  # pydantic puts them into the place of a fault


class InvalidLine(ValueError):
    """A line that is no training example; the text names the line and what to change."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"Line {line}: {problem}")
        self.line, self.problem = line, problem


class Reader:
    """The lines of one file: all have the format of the first one that has any."""

    def __init__(self) -> None:
        self._first: tuple[int, Format] | None = None

    def read(self, raw: bytes, number: int) -> Line:
        """One JSONL line (UTF-8, a BOM on line 1 is dropped). Raises InvalidLine."""
        value = _object(raw, number)
        found = format_of(value)
        if self._first is not None and found is not self._first[1]:
            where, wanted = self._first
            raise InvalidLine(
                number,
                f"expected {wanted.shape}, as in line {where}, and found "
                f"{found.shape if found else _keys(value)}; one file has one format.",
            )
        if found is None:
            others = ", ".join(format.shape for format in FORMATS[1:])
            raise InvalidLine(number, f"found {_keys(value)}, and expected {CHAT.shape}, or one of {others}.")
        self._first = self._first or (number, found)
        try:
            meant: Line = found.model.model_validate(value).means()
        except ValidationError as error:
            raise InvalidLine(number, _first_problem(error)) from None
        for one in (meant.preferred, meant.other) if isinstance(meant, Pair) else (meant,):
            if isinstance(one, Example) and len(one.messages) > MAX_MESSAGES:
                raise InvalidLine(
                    number,
                    f"a conversation of {len(one.messages):,} messages, and at most {MAX_MESSAGES:,} are "
                    "taken; split the conversation.",
                )
        return meant


def parse_line(raw: bytes, number: int) -> Line:
    """A line by itself. Raises InvalidLine."""
    return Reader().read(raw, number)


def parse(lines: Iterable[bytes]) -> Iterator[tuple[int, Line]]:
    """(line number from 1, what it holds) of each line that is not blank. Raises InvalidLine at a bad one."""
    reader = Reader()
    for number, raw in enumerate(lines, start=1):
        if raw.strip():
            yield number, reader.read(raw, number)


def check(lines: Iterable[bytes]) -> tuple[int, list[InvalidLine]]:
    """(number of good examples, the first SHOWN_ERRORS bad lines)."""
    reader = Reader()
    good, bad = 0, list[InvalidLine]()
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            reader.read(raw, number)
            good += 1
        except InvalidLine as error:
            bad.append(error)
            if len(bad) == SHOWN_ERRORS:
                break
    return good, bad


def _object(raw: bytes, number: int) -> dict[str, object]:
    if len(raw) > MAX_LINE_BYTES:
        raise InvalidLine(number, f"longer than {MAX_LINE_BYTES} bytes; split the conversation.")
    try:
        value = strict_json.loads(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)
    except strict_json.NotJson as error:
        raise InvalidLine(number, f"not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise InvalidLine(number, f"not a JSON object; expected {CHAT.shape}.")
    return value


def _keys(value: dict[str, object]) -> str:
    names = sorted(key[:40] for key in value)
    more = ", ..." if len(names) > SHOWN_KEYS else ""
    return f"the keys {', '.join(map(repr, names[:SHOWN_KEYS]))}{more}" if names else "an empty object"


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ROLES)
    return f"{where or 'example'}: {first['msg'].removeprefix('Value error, ')}."
