"""Ways in which an attempt at a job is broken off; the fixture `at` (conftest.py) says when."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from records import jobs
from records.models import Job
from tests.training.place import Place
from training import attempt
from training.attempt import Attempt

At = Callable[[int, Callable[[Attempt], None]], None]


def killed(_: Attempt) -> None:
    raise MemoryError


def break_off(place: Place, job_id: str, ends: type[BaseException]) -> BaseException:
    """An attempt that ends so; then its worker is gone too."""
    lease = place.claim()
    assert lease.job_id == job_id
    with pytest.raises(ends) as caught:
        attempt.run(place.settings, lease)
    with place.database.write() as session:
        jobs.let_go(session, job_id, "test")
    return caught.value


def change(place: Place, rule: Callable[..., Job | None], job_id: str) -> None:
    with place.database.write() as session:
        rule(session, "acme", job_id)
