"""`chorus jobs report`: whether a job was worth it, from the database itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli import options
from cli.jobs import JobId, Tenant, missing
from cli.options import Home
from records import jobs


def report(
    job: JobId,
    tenant: Tenant,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report's page to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    home: Home = None,
) -> None:
    """Show how a job's version compares with the base and with what is live, and whether it was worth it."""
    from server.evaluation.page import page
    from server.evaluation.report import report as make

    database = options.open_database(options.read(home=home))
    with database.read() as session:
        row = jobs.get(session, tenant, job)
        if row is None:
            raise missing(tenant, job)
        found = make(session, row)
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _print(found, Console(highlight=False))
        if html is not None:
            Console(soft_wrap=True, highlight=False).print(f"The page is in {html}.", markup=False)


def _print(found: dict[str, Any], console: Console) -> None:
    verdict = found["verdict"]
    console.print((verdict["said"] or "no verdict").capitalize(), style="bold")
    for why in verdict["why"]:
        console.print(why, markup=False)
    if found["gate"]["held_back"]:
        console.print(f"Gate: not passed. {found['gate']['held_back']}", markup=False)
    if not found["subjects"]:
        return
    shown = Table("Who", "Score", "95% interval", "Passed", "Prompt tokens", "First token, ms")
    for one in found["subjects"]:
        who = one["kind"].replace("_", " ") + (f" (step {one['step']})" if one["step"] is not None else "")
        interval = " to ".join(f"{bound:.2f}" for bound in one["interval"] or ())
        first = one["first_token_seconds"]
        milliseconds = None if first is None else first * 1000
        figures = (f"{one['score']:.2f}" if one["score"] is not None else "left out", interval or "-")
        rest = (_number(one["passed"], 2), _number(one["prompt_tokens"], 0), _number(milliseconds, 0))
        shown.add_row(who, *figures, *rest)
    console.print(shown)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
