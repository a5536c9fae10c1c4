"""Turns for what only so many versions can have at once: a slot of an engine step, a place in its memory.

One place serves all requests of its version. Who finds a free place, or its version in one, enters; else its
version waits, the longest waiting one is next, and all that wait for it enter together. Each LAST_CALL that a
version waits closes one more place, of those held for longest, half of all at most: newcomers for its version
wait for a turn of their own, so that the place empties however popular the brand is. Low priority counts as
come LATER.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from server.metrics import Waits

LAST_CALL_SECONDS = 1.0
LATER_SECONDS = 10.0


@dataclass(eq=False)
class Turn:
    """A version that waits: its requests, and when each came."""

    waiting: dict[asyncio.Future[None], float] = field(default_factory=dict)

    @property
    def since(self) -> float:
        """When its most urgent request came."""
        return min(self.waiting.values())


class Places:
    """`count` places. `enter` and `leave` go by the version's name, each as often as the other."""

    def __init__(self, count: int, waits: Waits, clock: Callable[[], float] = time.monotonic) -> None:
        self.count, self._waits, self._clock = count, waits, clock
        self._held: dict[str, int] = {}  # requests by version; held for longest first
        self._turns: dict[str, Turn] = {}

    @property
    def held(self) -> int:
        """Places in use: never more than `count`."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(len(turn.waiting) for turn in self._turns.values())

    async def enter(self, name: str, *, low: bool = False) -> bool:
        """Comes back once the version `name` has a place: whether that took a wait. Who is cancelled
        meanwhile has none."""
        if self._may_join(name) or (name not in self._held and self.held < self.count and not self._turns):
            self._take(name, 1)
            self._waits.seconds.observe(0)
            return False
        came, place = self._clock(), asyncio.get_running_loop().create_future()
        since = came + LATER_SECONDS if low else came
        turn = self._turns.setdefault(name, Turn())
        turn.waiting[place] = since
        self._waits.waiting.inc()
        self._admit()
        try:
            await place
            return True
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(name)  # its turn came in the moment in which it gave up
            else:
                self._give_up(name, turn, place)
            raise
        finally:
            self._waits.waiting.dec()
            self._waits.seconds.observe(self._clock() - came)

    def leave(self, name: str) -> None:
        """One request of the version has ended."""
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]
            self._waits.held.set(self.held)
            self._admit()

    def _may_join(self, name: str) -> bool:
        if name not in self._held or name in self._turns:
            return False
        if not self._turns:
            return True
        now = self._clock()
        closed = sum(max(0, int((now - turn.since) / LAST_CALL_SECONDS)) for turn in self._turns.values())
        return list(self._held).index(name) >= min(closed, (self.count + 1) // 2)

    def _admit(self) -> None:
        while self._turns:
            name = min(self._turns, key=lambda name: self._turns[name].since)
            if self.held == self.count and name not in self._held:
                return
            # Who has given up may not have run since: its future is done.
            waiting = [place for place in self._turns.pop(name).waiting if not place.done()]
            if waiting:
                self._take(name, len(waiting))
            for place in waiting:
                place.set_result(None)

    def _take(self, name: str, requests: int) -> None:
        self._held[name] = self._held.get(name, 0) + requests
        self._waits.held.set(self.held)

    def _give_up(self, name: str, turn: Turn, place: asyncio.Future[None]) -> None:
        del turn.waiting[place]
        if not turn.waiting and self._turns.get(name) is turn:
            del self._turns[name]
            self._admit()
