"""Places: never more versions at once than there are, the longest waiting one is next, nobody starves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from server.metrics import Metrics, Waits
from server.places import LAST_CALL_SECONDS, LATER_SECONDS, Places


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Room:
    """Places, a clock, and the order in which requests entered."""

    def __init__(self, count: int) -> None:
        self.clock, self.metrics = Clock(), Metrics()
        self.places = Places(count, Waits(self.metrics, "slot"), self.clock)
        self.entered: list[str] = []

    async def come(self, name: str, label: str = "", *, low: bool = False) -> asyncio.Task[None]:
        """A request for the version `name`, which has gone as far as it can by now."""

        async def enter() -> None:
            await self.places.enter(name, low=low)
            self.entered.append(label or name)

        task = asyncio.create_task(enter())
        await self.settle()
        return task

    async def leave(self, name: str) -> None:
        self.places.leave(name)
        await self.settle()

    @staticmethod
    async def settle() -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_version_that_has_a_place_is_joined() -> None:
    room = Room(1)
    for label in ("first", "second", "third"):
        await room.come("a", label)
    assert room.entered == ["first", "second", "third"]
    assert room.places.held == 1


async def test_the_longest_waiting_version_is_next_and_all_its_requests_enter_together() -> None:
    room = Room(1)
    await room.come("a")
    for name, label in (("b", "b1"), ("c", "c1"), ("b", "b2")):
        await room.come(name, label)
    assert room.entered == ["a"]
    await room.leave("a")
    assert room.entered == ["a", "b1", "b2"]
    await room.leave("b")
    assert room.entered[3:] == [], "its other request still holds the place"
    await room.leave("b")
    assert room.entered[3:] == ["c1"]


async def test_a_popular_version_takes_newcomers_until_somebody_has_waited_for_the_last_call() -> None:
    room = Room(1)
    await room.come("popular", "p1")
    await room.come("rare")
    room.clock.now = LAST_CALL_SECONDS / 2
    await room.come("popular", "p2")
    room.clock.now = LAST_CALL_SECONDS
    await room.come("popular", "p3")
    assert room.entered == ["p1", "p2"]
    await room.leave("popular")
    await room.leave("popular")
    assert room.entered == ["p1", "p2", "rare"]
    await room.leave("rare")
    assert room.entered[3:] == ["p3"]


async def test_each_last_call_that_somebody_waits_closes_one_more_of_the_longest_held_places() -> None:
    room = Room(3)
    for name in ("a", "b", "c"):
        await room.come(name)
    await room.come("rare")
    room.clock.now = LAST_CALL_SECONDS
    for name in ("b", "c"):
        await room.come(name, f"{name} again")
    room.clock.now = 2 * LAST_CALL_SECONDS
    for name in ("a", "b", "c"):
        await room.come(name, f"{name} once more")
    assert room.entered[3:] == ["b again", "c again", "c once more"]


async def test_half_of_the_places_take_newcomers_however_many_versions_wait() -> None:
    room = Room(4)
    for name in ("a", "b", "c", "d", "w1", "w2", "w3", "w4", "w5"):
        await room.come(name)
    room.clock.now = 10 * LAST_CALL_SECONDS
    for name in ("a", "b", "c", "d"):
        await room.come(name, f"{name} again")
    assert room.entered[4:] == ["c again", "d again"]


async def test_who_gives_up_takes_its_urgency_along() -> None:
    room = Room(1)
    await room.come("a")
    await room.come("b", "evaluation", low=True)
    hurried = await room.come("b", "client")
    hurried.cancel()
    room.clock.now = 0.1
    await room.come("c", "later")
    await room.leave("a")
    assert room.entered == ["a", "later"]


async def test_a_closed_version_joins_its_own_place_once_its_turn_is_the_oldest() -> None:
    room = Room(2)
    await room.come("a")
    await room.come("b")
    await room.come("rare")
    room.clock.now = LAST_CALL_SECONDS
    await room.come("a", "a again")
    await room.come("late")
    await room.leave("b")
    assert room.entered == ["a", "b", "rare", "a again"], "`a` holds a place still and keeps nobody older out"
    await room.leave("rare")
    assert room.entered[4:] == ["late"]


async def test_what_is_in_no_hurry_lets_others_pass_but_not_for_ever() -> None:
    room = Room(1)
    await room.come("a")
    await room.come("low", low=True)
    room.clock.now = LATER_SECONDS - 0.1
    await room.come("b")
    room.clock.now = LATER_SECONDS + 0.1
    await room.come("c")
    await room.leave("a")
    await room.leave("b")
    assert room.entered == ["a", "b", "low"]


async def test_a_version_is_as_urgent_as_the_most_urgent_of_its_requests() -> None:
    room = Room(1)
    await room.come("a")
    await room.come("b", "evaluation", low=True)
    await room.come("c", "other")
    room.clock.now = 0.1
    await room.come("b", "client")
    await room.leave("a")
    await room.leave("c")
    assert room.entered == ["a", "other", "evaluation", "client"]


async def test_who_gives_up_is_not_waited_for() -> None:
    room = Room(1)
    await room.come("a")
    gone = await room.come("b")
    await room.come("c")
    gone.cancel()
    await room.leave("a")
    assert room.entered == ["a", "c"]


async def test_who_gives_up_in_the_moment_of_its_turn_gives_the_place_back() -> None:
    room = Room(1)
    await room.come("a")
    gone = await room.come("b")
    await room.come("c")
    room.places.leave("a")  # sets b's turn; b has not run since
    gone.cancel()
    await room.settle()
    assert room.entered == ["a", "c"]
    room.places.leave("c")
    assert room.places.held == 0


async def test_a_turn_that_comes_after_a_cancellation_and_before_it_is_noticed_goes_to_the_next() -> None:
    room = Room(1)
    await room.come("a")
    gone = await room.come("b")
    await room.come("c")
    gone.cancel()
    room.places.leave("a")
    await room.settle()
    assert room.entered == ["a", "c"]


async def test_who_waits_and_for_how_long_is_counted() -> None:
    room = Room(1)
    await room.come("a")
    await room.come("b")
    shown = room.metrics.expose().decode()
    assert 'chorus_places_held{place="slot"} 1.0' in shown
    assert 'chorus_requests_waiting{place="slot"} 1.0' in shown
    room.clock.now = 3.0
    await room.leave("a")
    shown = room.metrics.expose().decode()
    assert 'chorus_requests_waiting{place="slot"} 0.0' in shown
    assert 'chorus_place_wait_seconds_sum{place="slot"} 3.0' in shown


@pytest.mark.parametrize("seed", range(30))
async def test_random_traffic_keeps_the_bound_and_leaves_nothing_behind(seed: int) -> None:
    source, count = random.Random(seed), 1 + seed % 4
    room, running, most = Room(count), Counter[str](), 0

    async def request() -> None:
        nonlocal most
        name = f"v{source.randrange(8)}"
        await room.places.enter(name, low=source.random() < 0.3)
        try:
            running[name] += 1
            most = max(most, sum(map(bool, running.values())))
            for _ in range(source.randrange(4)):
                await asyncio.sleep(0)
        finally:
            running[name] -= 1
            room.clock.now += source.random()
            room.places.leave(name)

    tasks = [asyncio.create_task(request()) for _ in range(60)]
    for task in source.sample(tasks, 20):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert 0 < most <= count
    assert (room.places.held, room.places.waiting) == (0, 0)
