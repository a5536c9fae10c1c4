"""Whether what a job makes could be served here, asked at its creation: nobody shall train for nothing.

The rank needs no question: without a parent training takes one that the engine has slots for, with one
job_parent.py has looked. All is checked again when the job runs: a disk fills up, and a worker may run on
another machine. Called by job_create.py.
"""

from __future__ import annotations

from collections.abc import Collection

from adapters import base as bases
from adapters import shapes
from adapters.base import BaseNotFound
from adapters.modules import SERVED_LINEARS, rank_for
from adapters.refused import Refused
from adapters.room import Need, NoRoom
from server.engine.base import RequestRefused
from server.errors import INVALID, disk_full, invalid
from server.job_parent import Office


def check_base(office: Office) -> None:
    """Raises RequestRefused unless the base on disk, which a job would train on, is the one that the engine
    holds (409), and has layers to adapt (400)."""
    base = office.base
    try:
        changed = base.differs(bases.on_disk(base, office.settings.home).hashes)
        problem = f"the {changed} of base model {base.slug!r} is no longer" if changed else None
    except BaseNotFound as error:
        problem = f"{str(error).rstrip('.')}, which is not"
    if problem is not None:
        said = (
            f"A job would train on what this server does not serve: {problem} what its engine has loaded. "
            "Have the operator put the files back, or restart the server."
        )
        raise RequestRefused(409, said, type=INVALID, param="model", code="base_changed")
    try:
        shapes.linears(base)
    except Refused as refused:
        raise invalid(
            f"Base model {base.slug!r} takes no adapter: {refused}", "model", refused.code
        ) from None


def check_room(
    office: Office, epochs: int | None, rank: int | None = None, modules: Collection[str] = SERVED_LINEARS
) -> None:
    """Raises RequestRefused when the job would not fit on the disk (507), or in the operator's bound (400).

    `epochs` None is "auto", of which at least one is certain; `rank` and `modules` are a parent's.
    """
    adapted = (
        size for name, size in shapes.linears(office.base).items()
        if shapes.is_served(name) and name.rsplit(".", 1)[-1] in modules
    )  # fmt: skip
    parameters = (rank or rank_for(office.settings.largest_rank)) * sum(map(sum, adapted))
    try:
        Need.of(epochs, parameters).check(office.settings)
    except NoRoom as error:
        if error.code == "job_too_large":
            raise invalid(str(error), "hyperparameters", error.code) from None
        raise disk_full(str(error), error.code) from None
