"""What another process writes, this server serves: publications, deletions, expiries."""

from __future__ import annotations

from typing import Any

import pytest

from records.models import Version
from tests.server.conftest import Running, Stage, until

HELLO: Any = [{"role": "user", "content": "hello"}]


def test_a_publication_is_warm_before_its_first_request(server: Running) -> None:
    version = server.publish("luxe")
    until(lambda: version in server.engine.resident)
    server.client().chat.completions.create(model="luxe", messages=HELLO)
    assert server.engine.loads == [version]


def test_checkpoints_are_loaded_when_asked_for_and_not_before(server: Running) -> None:
    checkpoint, final = server.publish("luxe", seed=1, step=5), server.publish("luxe", seed=2)
    until(lambda: final in server.engine.resident)
    assert checkpoint not in server.engine.loads
    assert server.client().chat.completions.create(model=checkpoint, messages=HELLO).model == checkpoint


def test_a_deletion_by_another_server_is_seen(serve: Stage) -> None:
    one, other = serve(), serve()
    version, live = one.publish("luxe", seed=1), one.publish("luxe", seed=2)
    until(lambda: all({version, live} <= set(server.engine.resident) for server in (one, other)))
    assert other.client().chat.completions.create(model=version, messages=HELLO).model == version
    one.client().models.delete(version)
    until(lambda: version not in other.engine.resident)
    body = {"model": version, "messages": HELLO}
    assert other.http().post("/v1/chat/completions", json=body).status_code == 404


def test_rows_that_cannot_be_read_for_a_while_leave_the_known_names_in_force(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = server.publish("luxe")
    ask = server.client().chat.completions.create
    assert ask(model="luxe", messages=HELLO).model == version
    failures = list[int]()

    def broken(*_: object) -> None:
        failures.append(1)
        raise OSError("the disk is away")

    with monkeypatch.context() as patched:
        patched.setattr("server.follow.stamp", broken)
        until(lambda: len(failures) > 1)
        assert ask(model="luxe", messages=HELLO).model == version
    newer = server.publish("luxe", seed=2)
    until(lambda: ask(model="luxe", messages=HELLO).model == newer)


def test_a_version_row_that_is_not_for_this_base_harms_nobody(server: Running) -> None:
    foreign = server.publish("foreign", base_config_sha256="0" * 64)
    version = server.publish("luxe", seed=1)
    until(lambda: version in server.engine.resident)
    assert foreign not in server.engine.loads
    with server.house.database.read() as session:
        assert session.query(Version).count() == 2
