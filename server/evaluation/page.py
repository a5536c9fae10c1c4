"""A report as one HTML page without anything from elsewhere; all that is foreign is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from records.cases import CHECKPOINT_CASES
from server.evaluation import subjects
from server.evaluation.pictures import Bar, bars, lines
from server.evaluation.texts import figure, when

SHORT = {
    subjects.NEW: "New version",
    subjects.LIVE: "Live until now",
    subjects.BASE: "Base",
    subjects.INSTRUCTED: "Base + instruction",
    subjects.FEW_SHOT: "Base + examples",
    subjects.CHECKPOINT: "Checkpoint",
}
# No script, nothing loaded: answers of models stand in it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

Shape = dict[str, Any]


def page(report: Shape) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"figure": figure, "when": when}
    template = environment.get_template("page.html")
    return template.render(report=report, pictures=_pictures(report), short=SHORT, policy=POLICY)


def _pictures(report: Shape) -> list[Shape]:
    """Those of what was measured, in the page's order."""
    asked = [one for one in report["subjects"] if one["kind"] != subjects.CHECKPOINT]
    ratio = [Bar(SHORT[one["kind"]], one["length_ratio"], strong=_is_new(one)) for one in asked]
    shown = [
        ("Score on held-out examples", "The mean, and its 95% interval.", _scores(asked)),
        (
            "Score per checkpoint",
            f"On {CHECKPOINT_CASES} held-out examples at most. The published one is the new version.",
            _per_checkpoint(report),
        ),
        ("Loss", "Per token, while training.", _losses(report)),
        (
            "Length of answers",
            "Characters, over those of the reference: 1 is as long.",
            bars(ratio, unit="x", said="length of answers over the reference's"),
        ),
        (
            "Time to the first token",
            "Median milliseconds, measured at the lowest priority beside whatever else was answered.",
            _times(asked, "first_token_seconds", 1000, " ms", "time to the first token"),
        ),
        ("Time to the whole answer", "Median seconds.", _times(asked, "seconds", 1, " s", "seconds")),
        ("Prompt tokens of a request", "Means.", _times(asked, "prompt_tokens", 1, "", "prompt tokens")),
    ]
    return [{"title": title, "said": said, "svg": svg} for title, said, svg in shown if svg]


def _scores(asked: list[Shape]) -> Any:
    rows = [
        Bar(
            SHORT[one["kind"]],
            one["score"],
            tuple(one["interval"]) if one["interval"] else None,
            _is_new(one),
        )
        for one in asked
    ]
    return bars(rows, unit="", said="score on held-out examples", top=1.0)


def _times(asked: list[Shape], name: str, factor: float, unit: str, said: str) -> Any:
    rows = [
        Bar(SHORT[one["kind"]], None if one[name] is None else one[name] * factor, strong=_is_new(one))
        for one in asked
    ]
    return bars(rows, unit=unit, said=said)


def _losses(report: Shape) -> Any:
    def series(name: str) -> list[tuple[float, float]]:
        return [(row["step"], row[name]) for row in report["loss"] if row[name] is not None]

    held_out = [
        (row["step"], row["full_valid_loss"])
        for row in report["checkpoints"]
        if row["full_valid_loss"] is not None
    ]
    return lines({"training": series("train_loss"), "held out": held_out}, x="step", y="loss per step")


def _per_checkpoint(report: Shape) -> Any:
    scores = [(row["step"], row["score"]) for row in report["checkpoints"] if row["score"] is not None]
    accuracy = [
        (row["step"], row["train_mean_token_accuracy"])
        for row in report["checkpoints"]
        if row["train_mean_token_accuracy"] is not None
    ]
    series = {"score, held out": scores, "token accuracy, training": accuracy}
    return lines(series, x="step", y="score per checkpoint", top=1.0, dots=True) if scores else ""


def _is_new(one: Shape) -> bool:
    return bool(one["kind"] == subjects.NEW)
