"""How many adapters an engine holds: `max_loras` slots of its step, `max_cpu_loras` in memory, and the rank
that fits all. Chosen from the machine, the base and the registered versions; what is set stays as it is.

Pure: adapters/planned.py reads what goes in. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.modules import PREFERRED_RANK
from records.settings import DEFAULT_SLOTS, LEAST_RANK, SERVED_RANKS, enough

GIB = 1024**3
KV_CACHE = "VLLM_CPU_KVCACHE_SPACE"  # vLLM's variable, in GiB
BYTES = 2  # of a number of an adapter, which is served in bf16
BLOCK = 16  # on CPU adapters are kept in whole blocks of so many ranks (server/engine/native/lora.c)
PROCESSES = 3 * GIB  # server, engine and worker: what they import, and what they compute with
SHARE = 2  # of what is left, one part in so many is for adapters: jobs train beside, and files are cached
SLOTS_SHARE = 4  # one part in so many of the adapters' share may be slots
DEVICE_SHARE = 10  # on a GPU: one part in so many of what the base leaves, as the KV cache gets the others
STREAMS_PER_CORE = 8  # more versions in a step than streams are served at once nobody needs
MOST_SLOTS, MOST_KEPT = 64, 4096


@dataclass(frozen=True)
class Machine:
    """`device` is the memory of a CUDA device, None on CPU, where `kv_cache` is taken from `memory`."""

    memory: int
    cores: int
    kv_cache: int
    device: int | None = None


@dataclass(frozen=True)
class Load:
    """What is to be served: the base's weights, what adapters weigh per rank (`width`: inputs + outputs of
    the layers that can be adapted), and how many versions of each rank are registered; `number`: the bytes
    of a number of theirs."""

    base: int
    width: int
    ranks: Mapping[int, int]
    number: int = BYTES


@dataclass(frozen=True)
class Wishes:
    """Settings as given; None is for the plan to choose."""

    max_loras: int | None = None
    max_cpu_loras: int | None = None
    max_lora_rank: int | None = None


@dataclass(frozen=True)
class Plan:
    """`share` is the host's memory that adapters may take, `slots_share` what of it, or of the device, slots
    may; `kept` is what an average version takes in memory, `slot` what each slot does at most: the native
    kernel's slots only point at what is kept."""

    machine: Machine
    load: Load
    max_loras: int
    max_cpu_loras: int
    max_lora_rank: int
    share: int
    slots_share: int
    slot: int
    kept: int

    @property
    def slots(self) -> int:
        return self.max_loras * self.slot

    @property
    def all_kept(self) -> int:
        return self.max_cpu_loras * self.kept

    @property
    def fits(self) -> bool:
        """Whether what it takes when all places are full is within the adapters' share."""
        on_host = self.slots if self.machine.device is None else 0
        return self.slots <= self.slots_share and on_host + self.all_kept <= self.share

    @property
    def unserved(self) -> int:
        """Registered versions of too large a rank: only a rank that was set leaves any."""
        return sum(count for rank, count in self.load.ranks.items() if rank > self.max_lora_rank)


def rank(ranks: Mapping[int, int]) -> int:
    """The least that serves all registered versions, and LEAST_RANK, which new ones may have. It is of the
    rows alone, so that servers, workers and commands on any machine come to the same."""
    wanted = max([LEAST_RANK, *ranks])
    return min((served for served in SERVED_RANKS if served >= wanted), default=SERVED_RANKS[-1])


def weight(load: Load, rank: int) -> int:
    """Bytes of an adapter of that rank on all layers."""
    return load.number * load.width * rank


def in_memory(machine: Machine, load: Load, rank: int) -> int:
    """Bytes that one of that rank takes where it is kept."""
    return weight(load, rank if machine.device is not None else -(-rank // BLOCK) * BLOCK)


def choose(machine: Machine, load: Load, wishes: Wishes) -> Plan:
    """The plan: the rank by `rank`, then slots, then all the places in memory that are left to pay for."""
    largest = wishes.max_lora_rank or rank(load.ranks)
    on_cpu = machine.device is None
    taken = PROCESSES + (load.base + machine.kv_cache if on_cpu else 0)
    share = max(0, machine.memory - taken) // SHARE
    slots_share = (
        share // SLOTS_SHARE if machine.device is None else max(0, machine.device - load.base) // DEVICE_SHARE
    )
    slot = weight(load, largest)
    slots = wishes.max_loras or _slots(machine, slot, slots_share)
    kept = _typical(machine, load)
    left = max(0, share - (slots * slot if on_cpu else 0))
    places = wishes.max_cpu_loras or min(MOST_KEPT, left // kept if kept else MOST_KEPT)
    return Plan(machine, load, slots, enough(slots, places), largest, share, slots_share, slot, kept)


def _slots(machine: Machine, slot: int, room: int) -> int:
    """A power of two, at least one."""
    streams = MOST_SLOTS if machine.device is not None else STREAMS_PER_CORE * machine.cores
    wanted, slots = min(MOST_SLOTS, max(DEFAULT_SLOTS, streams)), 1
    while 2 * slots <= wanted and 2 * slots * slot <= room:
        slots *= 2
    return slots


def _typical(machine: Machine, load: Load) -> int:
    """Bytes that what is registered takes in the mean; one that training makes where nothing is."""
    ranks = load.ranks or {PREFERRED_RANK: 1}
    taken = sum(many * in_memory(machine, load, one) for one, many in ranks.items())
    return -(-taken // sum(ranks.values()))
