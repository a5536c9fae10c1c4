"""Random sentences from phrase sheets.

A sheet has [sections] of one phrase per line. In a phrase, `(a|b|)` is a choice, `{slot}` a filler,
`\\n` a line break, `&lp;` and `&rp;` a bracket that is no choice.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_SLOT = re.compile(r"\{([a-z_]+)\}")


@cache
def sheet(name: str) -> dict[str, tuple[str, ...]]:
    """The phrases of phrases/NAME.txt by section; lines that begin with '#' are comments."""
    text = (Path(__file__).parent / "phrases" / f"{name}.txt").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and not line.startswith("#"):
            found.setdefault(section, []).append(line)
    return {head: tuple(lines) for head, lines in found.items()}


def _choose(random: Random, phrase: str) -> str:
    while match := _CHOICE.search(phrase):
        phrase = phrase[: match.start()] + random.choice(match.group(1).split("|")) + phrase[match.end() :]
    return phrase


@cache
def lines(name: str, section: str) -> tuple[str, ...]:
    """The phrases of one section as they stand, with their line breaks."""
    return tuple(line.replace("\\n", "\n") for line in sheet(name)[section])


def pairs(name: str, section: str) -> list[tuple[str, str]]:
    """The phrases of a section whose lines read `left | right`."""
    return [(left, right) for left, _, right in (line.partition(" | ") for line in lines(name, section))]


def expand(random: Random, sheet_name: str, section: str, slots: Mapping[str, str]) -> str:
    """One phrase of the section with all choices and slots filled."""
    return fill(random, random.choice(sheet(sheet_name)[section]), slots)


def fill(random: Random, phrase: str, slots: Mapping[str, str]) -> str:
    """A phrase with all choices and slots filled."""
    filled = _SLOT.sub(lambda match: slots[match.group(1)], _choose(random, phrase))
    return filled.replace("\\n", "\n").replace("&lp;", "(").replace("&rp;", ")")
