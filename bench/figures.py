"""What a bench is to the runner and the document: figures, bars, plots. bench/catalogue.py lists all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Bar:
    """The most, or the least, that a figure may be; neither: nothing was promised."""

    most: float | None = None
    least: float | None = None

    def __str__(self) -> str:
        if self.most is not None:
            return f"at most {self.most:g}"
        return "" if self.least is None else f"at least {self.least:g}"

    def held(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True)
class Figure:
    """`key` in a bench's last line (`25m/memory_ratio` is nested), and the most, or the least, it may be;
    `on` has the bars of kinds of CPU (adapters/cpu.py) on which that is another.

    A `*` in a key is what each case of a nested result has; such a figure has no bar.
    """

    key: str
    means: str
    most: float | None = None
    least: float | None = None
    on: Mapping[str, Bar] = field(default_factory=dict)

    def bar(self, kind: str) -> Bar:
        return self.on.get(kind, Bar(self.most, self.least))


@dataclass(frozen=True)
class Plot:
    """A bar for each (label, key). A `*` in a key is any case of a nested result: its name is the label.

    What is `others` is drawn paler: what ours is compared with.
    """

    name: str
    title: str
    rows: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Bench:
    """`serving`: it starts servers, so it takes --device and --base."""

    name: str
    title: str
    says: str
    figures: tuple[Figure, ...]
    plots: tuple[Plot, ...] = ()
    serving: bool = False


def named(pattern: str, keys: Iterable[str]) -> Iterator[str]:
    """Those of `keys` that a figure's or a plot's key names; a `*` in it is any text."""
    return (key for key in keys if fnmatchcase(key, pattern))


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(`case/key`, value) of a last line, in its order."""
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value
