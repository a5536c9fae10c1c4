"""The commands of `chorus`. Thin: each reads settings and calls one function."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from cli import options
from cli.adapters import adapters
from cli.brand_gate import gate
from cli.brands import brands
from cli.data import data
from cli.doctor import doctor
from cli.job_report import report
from cli.jobs import jobs
from cli.options import Base, Home, Host, Port
from cli.plan import plan
from cli.tenants import tenants
from cli.train import train
from records.disk import is_full

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Fine-tune and serve one LoRA adapter per brand."
)
app.add_typer(adapters, name="adapters", help="Check and import LoRA adapters.")
brands.command("gate")(gate)
app.add_typer(
    brands, name="brands", help="What brands mean: promote, roll back, retire, canary, shadow, gate."
)
app.add_typer(data, name="data", help="Check training data, and split it.")
jobs.command("report")(report)
app.add_typer(jobs, name="jobs", help="Fine-tuning jobs: list, follow, pause, resume, cancel, report.")
app.add_typer(tenants, name="tenants", help="Tenants and their API keys.")
app.command()(doctor)
app.command()(plan)
app.command()(train)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def serve(
    context: typer.Context,
    base: Base = None,
    home: Home = None,
    host: Host = None,
    port: Port = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Serve only; train elsewhere.")] = False,
) -> None:
    """Start the API and one training worker. vLLM's own flags follow after `--`."""
    settings = options.read(base=base, home=home, host=host, port=port)
    from server.engine import launch

    launch.begin(settings)  # on the second core, while this process imports what it needs itself
    from cli.serve import run

    raise typer.Exit(run(settings, worker=not no_worker, flags=context.args))


@app.command()
def work(base: Base = None, home: Home = None) -> None:
    """Start one training worker: it takes jobs from the database until it is stopped."""
    from training.worker import main as run

    settings = options.read(base=base, home=home)
    options.open_database(settings)
    run(settings)


def main() -> None:
    """Run the command. A full disk and a database that fails end it with a sentence, whatever it did."""
    try:
        app()
    except (OSError, DBAPIError) as error:
        if isinstance(error, OSError) and not is_full(error):
            raise
        sys.exit(options.failed(error).exit_code)
