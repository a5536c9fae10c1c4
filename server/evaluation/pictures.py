"""Pictures of a report as inline SVG, drawn for a phone's width: a few lines each, no library.

All text goes through `escape`; colours are the page's classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 30
ROW, LABEL = 34, 16
MOST_POINTS = 400

Point = tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """`value` None is drawn as "not measured"; `interval` as a whisker."""

    label: str
    value: float | None
    interval: tuple[float, float] | None = None
    strong: bool = False


def lines(
    series: Mapping[str, Sequence[Point]], *, x: str, y: str, top: float | None = None, dots: bool = False
) -> Markup:
    """A curve per name over a common scale, which begins at 0; empty where nothing was measured."""
    there = {name: _thinned(points) for name, points in series.items() if points}
    if not there:
        return Markup("")
    every = [point for points in there.values() for point in points]
    first, last = min(point[0] for point in every), max(point[0] for point in every)
    high = top or _round_up(max(point[1] for point in every))
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(point: Point) -> Point:
        along = (point[0] - first) / (last - first) if last > first else 0.5
        return LEFT + wide * along, TOP + tall * (1 - min(point[1], high) / high)

    parts = []
    for share in (0.0, 0.5, 1.0):
        level = TOP + tall * (1 - share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level}" y2="{level}"/>')
        parts.append(_text(LEFT - 6, level + 4, _number(high * share), "end"))
    parts.append(_text(LEFT, HEIGHT - 8, f"{x} {_number(first)}", "start"))
    parts.append(_text(WIDTH - RIGHT, HEIGHT - 8, _number(last), "end"))
    for number, points in enumerate(there.values()):
        places = [at(point) for point in points]
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        parts.append(f'<polyline class="line s{number}" points="{path}"/>')
        if dots or len(places) == 1:
            parts += [f'<circle class="dot s{number}" cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in places]
    legend = "".join(f'<span class="key s{k}">{escape(name)}</span>' for k, name in enumerate(there))
    return Markup(_svg(HEIGHT, parts, y) + f'<p class="legend">{legend}</p>')  # noqa: S704 (escaped above)


def bars(rows: Iterable[Bar], *, unit: str, said: str, top: float | None = None) -> Markup:
    """A bar per row, its label above it and its figure at its end; empty where nothing was measured."""
    given = list(rows)
    values = [row.value for row in given if row.value is not None]
    if not values:
        return Markup("")
    highest = max([*values, *(row.interval[1] for row in given if row.interval)])
    high, wide = top or _round_up(highest), WIDTH - 90
    parts = []
    for number, row in enumerate(given):
        down = number * (ROW + LABEL)
        parts.append(_text(0, down + 13, row.label, "start"))
        if row.value is None:
            parts.append(_text(0, down + 33, "not measured", "start", "faint"))
            continue
        long = max(wide * min(row.value, high) / high, 1)
        kind = "bar strong" if row.strong else "bar"
        parts.append(
            f'<rect class="{kind}" x="0" y="{down + LABEL + 3}" width="{long:.1f}" height="20" rx="3"/>'
        )
        end = long
        if row.interval:
            low, most = (wide * min(bound, high) / high for bound in row.interval)
            middle = down + LABEL + 13
            parts.append(
                f'<line class="whisker" x1="{low:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}"/>'
            )
            end = max(end, most)
        parts.append(_text(end + 8, down + LABEL + 18, f"{_number(row.value)}{unit}", "start", "figure"))
    return Markup(_svg(len(given) * (ROW + LABEL), parts, said))  # noqa: S704 (escaped in _text and _svg)


def _svg(height: float, parts: Sequence[str], said: str) -> str:
    name = escape(said)
    inside = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{name}">{inside}</svg>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _thinned(points: Sequence[Point]) -> list[Point]:
    stride = -(-len(points) // MOST_POINTS)
    return [point for place, point in enumerate(points) if place % stride == 0 or place == len(points) - 1]


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def _number(value: float) -> str:
    if value == round(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.2g}"
