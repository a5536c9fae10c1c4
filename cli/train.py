"""`chorus train`: a job from files, by the API's rules, in the database itself; followed until it ends."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adapters import base as bases
from adapters import planned
from cli import jobs_shown, options
from cli.options import Base, Home
from cli.quote_shown import table
from records import check_file, files, quotes, tenants
from records.blobs import Blobs
from records.models import METHODS, SUCCEEDED, SUPERVISED, File
from records.processes import computing
from records.quotes import Order
from records.settings import Settings

if TYPE_CHECKING:
    from server.job_parent import Office

PURPOSE = "fine-tune"

Data = Annotated[
    Path, typer.Argument(help="Training data as JSON lines.", exists=True, dir_okay=False, readable=True)
]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose job it is.")]
Brand = Annotated[str, typer.Option("--brand", help="The brand that the result becomes a version of.")]
Validation = Annotated[
    Path | None, typer.Option("--validation", help="Held-out data.", exists=True, dir_okay=False)
]
Model = Annotated[str | None, typer.Option("--model", help="A version (ft:...) to go on from, or the base.")]
Method = Annotated[str, typer.Option("--method", help=f"{' or '.join(METHODS)}, as the data is.")]
Auto = Annotated[str, typer.Option(help='A number, or "auto".')]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same job.")]
Sweep = Annotated[
    int | None, typer.Option("--sweep", help="Try so many settings by short trainings; train the best.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what it would take; create nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="With --dry-run: print the quote as JSON.")]


def train(
    file: Data,
    tenant: Tenant,
    brand: Brand,
    validation: Validation = None,
    model: Model = None,
    method: Method = SUPERVISED,
    epochs: Auto = "auto",
    batch_size: Auto = "auto",
    learning_rate_multiplier: Auto = "auto",
    seed: Seed = None,
    sweep: Sweep = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    base: Base = None,
    home: Home = None,
) -> None:
    """Create a fine-tuning job and follow it; a worker does it: `chorus serve` has one, `chorus work` is one.

    Exits with 1 when it does not succeed. Ctrl-C ends the following only.
    """
    from server.engine.base import RequestRefused

    values = {
        "n_epochs": epochs, "batch_size": batch_size, "learning_rate_multiplier": learning_rate_multiplier,
    }  # fmt: skip
    hyperparameters = {name: _number(value) for name, value in values.items()}
    body = {
        "suffix": brand,
        "seed": seed,
        "method": {"type": method, method: {"hyperparameters": hyperparameters}},
        "sweep": None if sweep is None else {"trials": sweep},
    }
    try:
        office = _office(options.read(base=base, home=home))
        with office.database.read() as session:
            tenants.check_exists(session, tenant)
        given = {"training_file": file, **({"validation_file": validation} if validation else {})}
        body["model"] = model or office.base.slug
        order, size = _order(office, tenant, body, given)
        if dry_run:
            offer = _offer(office, order, size, given)
            if as_json:
                typer.echo(json.dumps(offer, indent=2))
            else:
                Console(highlight=False, markup=False).print(table(offer, file.name))
            return
        job = _create(office, tenant, body, given)
    except RequestRefused as refused:
        raise options.stop(refused.message) from None
    except (tenants.NotFound, bases.BaseNotFound) as error:
        raise options.stop(str(error)) from None
    except OSError as error:
        raise options.failed(error) from None
    try:
        ended = jobs_shown.follow(Console(), office.database, tenant, job)
    except KeyboardInterrupt:
        Console(highlight=False).print(f"The job goes on: chorus jobs follow --tenant {tenant} {job}")
        raise typer.Exit(130) from None
    raise typer.Exit(ended is None or ended.status != SUCCEEDED)


def _office(settings: Settings) -> Office:
    from server.job_parent import Office
    from server.names import Names

    database = options.open_database(settings)
    base = bases.resolve(settings.base, settings.home)
    return Office(planned.with_rank(settings, base, database), database, base, Names(database, base))


def _create(office: Office, tenant: str, body: dict[str, Any], given: dict[str, Path]) -> str:
    from server import job_request
    from server.job_create import Retry, create_once

    body = body | {name: _upload(office, tenant, path).id for name, path in given.items()}
    return create_once(office, tenant, job_request.parse(body), Retry.of(body, {})).id


def _upload(office: Office, tenant: str, path: Path) -> File:
    """Checked and kept as an upload is. Raises RequestRefused."""
    from server.errors import invalid

    blobs = Blobs(office.settings.home)
    with path.open("rb") as lines, blobs.draft() as draft:
        good, bad = check_file.check(lines)
        if bad or not good:
            raise invalid(f"{path}: invalid training data. {' '.join(bad) or 'It holds no example.'}")
        lines.seek(0)
        while chunk := lines.read(1 << 20):
            draft.write(chunk)
        sha256, size = blobs.seal(draft)
        with office.database.write() as session:
            blobs.place(draft, sha256)
            return files.add(session, tenant, sha256=sha256, size=size, filename=path.name, purpose=PURPOSE)


def _order(office: Office, tenant: str, body: dict[str, Any], given: dict[str, Path]) -> tuple[Order, int]:
    """What is to be measured, and the training file's bytes: by the rules of a job's creation, in a session
    that never commits. Raises RequestRefused."""
    from server import job_request
    from server.job_create import checked
    from server.quotes import order_of

    ids = {}
    with office.database.read() as session:
        for name, path in given.items():
            with path.open("rb") as lines:
                sha256 = hashlib.file_digest(lines, "sha256").hexdigest()
            size = path.stat().st_size
            ids[name] = files.add(
                session, tenant, sha256=sha256, size=size, filename=path.name, purpose=PURPOSE
            ).id
        asked = job_request.parse(body | ids)
        return order_of(session, office.settings, checked(session, office, tenant, asked, seed=0))


def _offer(office: Office, order: Order, size: int, given: dict[str, Path]) -> dict[str, Any]:
    """The quote, measured in this process, which has not loaded torch yet: OpenMP reads its variable then.
    Those of malloc, a tenth of a step, are read at a process's start and come too late."""
    os.environ.update(computing(os.environ))
    from adapters import publish
    from training.quote.make import make

    parent = publish.folder(office.settings.home, order.parent_sha256) if order.parent_sha256 else None
    measured = make(office.base, order, *given.values(), parent=parent)
    if measured.quote is None:
        raise options.stop(measured.refusal.message if measured.refusal else "No quote.")
    price = office.settings.price_per_million_tokens
    with office.database.read() as session:
        return quotes.offer(session, measured.quote, size, price)


def _number(text: str) -> Any:
    """A number if it is one; what is none the request's check names."""
    try:
        return json.loads(text)
    except ValueError:
        return text
