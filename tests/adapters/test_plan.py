"""The plan: within memory, what is registered is served, what is set stays, more memory is never less."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from adapters.modules import PREFERRED_RANK
from adapters.plan import GIB, MOST_KEPT, MOST_SLOTS, PROCESSES, Load, Machine, Wishes, choose, rank, weight
from records.settings import DEFAULT_SLOTS, LEAST_RANK, SERVED_RANKS

MEDIUM = Load(base=274_000_000, width=216_192, ranks={})  # bench/models.py: 6.9 MB at rank 16
HOST = Machine(memory=24 * GIB, cores=2, kv_cache=GIB)

sizes = st.integers(0, 512 * GIB)
machines = st.builds(
    Machine, memory=sizes, cores=st.integers(1, 256), kv_cache=st.integers(0, 64 * GIB),
    device=st.none() | st.integers(GIB, 192 * GIB),
)  # fmt: skip
ranks = st.dictionaries(st.integers(1, 512), st.integers(1, 5000), max_size=6)
loads = st.builds(Load, base=st.integers(0, 200 * GIB), width=st.integers(0, 10**8), ranks=ranks)
counts = st.none() | st.integers(1, 5000)
wishes = st.builds(
    Wishes, max_loras=counts, max_cpu_loras=counts, max_lora_rank=st.none() | st.sampled_from(SERVED_RANKS)
)


@given(machines, loads)
def test_what_is_planned_fits_unless_it_is_the_least_that_there_is(machine: Machine, load: Load) -> None:
    plan = choose(machine, load, Wishes())
    assert plan.fits or plan.max_loras == 1 or plan.max_cpu_loras == plan.max_loras


@given(machines, loads, wishes)
def test_the_plan_is_one_that_an_engine_can_be_started_with(
    machine: Machine, load: Load, wished: Wishes
) -> None:
    plan = choose(machine, load, wished)
    assert plan.max_loras >= 1
    assert plan.max_lora_rank in SERVED_RANKS
    if wished.max_loras is None:
        assert plan.max_loras in (1, 2, 4, 8, 16, 32, 64)
    if wished.max_cpu_loras is None:
        assert plan.max_loras <= plan.max_cpu_loras <= max(MOST_KEPT, plan.max_loras)


@given(machines, loads, wishes)
def test_what_is_set_stays(machine: Machine, load: Load, wished: Wishes) -> None:
    plan = choose(machine, load, wished)
    for name in ("max_loras", "max_lora_rank"):
        assert getattr(wished, name) in (None, getattr(plan, name))
    # What a step mixes lies in memory too, whatever is set.
    assert wished.max_cpu_loras is None or plan.max_cpu_loras == max(2, plan.max_loras, wished.max_cpu_loras)


@given(ranks)
def test_every_registered_rank_and_what_jobs_and_imports_may_have_is_served(
    registered: dict[int, int],
) -> None:
    largest = rank(registered)
    assert largest >= max([LEAST_RANK, *registered])
    smaller = [one for one in SERVED_RANKS if one < largest]
    assert all(one < max([LEAST_RANK, *registered]) for one in smaller), "and no larger one than need be"


@given(machines, loads, st.integers(0, 64 * GIB))
def test_more_memory_is_never_fewer_slots_nor_fewer_places(machine: Machine, load: Load, more: int) -> None:
    assume(load.width)
    one, other = (
        choose(replace(machine, memory=machine.memory + extra), load, Wishes()) for extra in (0, more)
    )
    assert other.max_loras >= one.max_loras
    # More slots, which a CPU's plan pays from the same memory, may leave fewer places.
    assert other.max_loras > one.max_loras or other.max_cpu_loras >= one.max_cpu_loras


@given(machines, loads, st.sampled_from(SERVED_RANKS))
def test_versions_above_a_rank_that_is_set_are_counted_as_not_served(
    machine: Machine, load: Load, largest: int
) -> None:
    plan = choose(machine, load, Wishes(max_lora_rank=largest))
    assert plan.unserved == sum(count for one, count in load.ranks.items() if one > largest)
    assert choose(machine, load, Wishes()).unserved == 0


def test_a_small_machine_gets_the_usual_slots_and_over_a_thousand_places() -> None:
    plan = choose(HOST, MEDIUM, Wishes())
    assert (plan.max_loras, plan.max_lora_rank) == (DEFAULT_SLOTS, LEAST_RANK)
    assert plan.kept == weight(MEDIUM, PREFERRED_RANK) == 6_918_144
    assert 1000 < plan.max_cpu_loras < MOST_KEPT
    assert plan.fits


def test_many_cores_and_a_gpu_get_more_slots() -> None:
    assert choose(replace(HOST, cores=64), MEDIUM, Wishes()).max_loras == MOST_SLOTS
    assert choose(replace(HOST, device=80 * GIB), MEDIUM, Wishes()).max_loras == MOST_SLOTS


def test_a_machine_without_room_still_gets_one_slot_and_is_told() -> None:
    plan = choose(replace(HOST, memory=PROCESSES), MEDIUM, Wishes())
    assert (plan.max_loras, plan.max_cpu_loras, plan.fits) == (1, 2, False)


def test_large_registered_versions_leave_fewer_places() -> None:
    small, large = (choose(HOST, replace(MEDIUM, ranks={one: 10}), Wishes()) for one in (16, 256))
    assert large.max_lora_rank == 256
    assert large.max_cpu_loras < small.max_cpu_loras / 8
    assert large.slot == 8 * small.slot


def test_small_ranks_are_kept_in_whole_blocks_on_cpu() -> None:
    small, usual = (choose(HOST, replace(MEDIUM, ranks={one: 10}), Wishes()) for one in (4, 16))
    assert small.kept == usual.kept == weight(MEDIUM, 16)
    gpu = replace(HOST, device=80 * GIB)
    assert choose(gpu, replace(MEDIUM, ranks={4: 10}), Wishes()).kept == weight(MEDIUM, 4)
