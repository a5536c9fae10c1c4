"""What another process writes, this server serves: publications, deletions, expiries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from records.models import Rollout, Version
from server import follow
from server.engine.fake import FakeEngine
from server.prover import Prover
from tests.server.conftest import Running, Stage, until
from tests.server.proofs import brand, trained


def noted(function: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    """The function, that notes each of its calls."""

    def called(*given: Any) -> Any:
        calls.append(1)
        return function(*given)

    return called


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


def test_what_waits_for_a_proof_is_read_when_the_rows_have_changed_and_not_else(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, read = list[int](), list[int]()
    monkeypatch.setattr(follow, "stamp", noted(follow.stamp, looked))
    monkeypatch.setattr(Prover, "waiting", noted(Prover.waiting, read))
    server = serve()
    name = server.publish("luxe", proof=trained())
    until(lambda: brand(server)["live"] == name)

    def quiet() -> bool:
        """Three looks in a row without a reading."""
        reads, until_look = len(read), len(looked) + 3
        until(lambda: len(looked) >= until_look)
        return len(read) == reads

    until(quiet)
    before = len(read)
    newer = server.publish("luxe", seed=2, proof=trained())
    until(lambda: brand(server)["live"] == newer)
    assert len(read) > before


def test_a_version_row_that_is_not_for_this_base_harms_nobody(server: Running) -> None:
    foreign = server.publish("foreign", base_config_sha256="0" * 64)
    version = server.publish("luxe", seed=1)
    until(lambda: version in server.engine.resident)
    assert foreign not in server.engine.loads
    with server.house.database.read() as session:
        assert session.query(Version).count() == 2


def test_a_manifest_of_a_newer_chorus_keeps_nobody_from_following_or_starting(serve: Stage) -> None:
    """As in an upgrade of one server after the other."""
    older = serve()
    strange = older.publish("strange", seed=1)
    with older.house.database.write() as session:
        row = session.query(Version).filter(Version.name == strange).one()
        row.manifest = {**row.manifest, "format": 2}
        row.proved_at = None
        session.query(Rollout).update({"pending": strange, "live": None, "generation": 9})
    fresh = older.publish("fresh", seed=2)
    until(lambda: fresh in older.engine.resident)
    refused = older.http().post("/v1/chat/completions", json={"model": strange, "messages": HELLO})
    assert (refused.status_code, "newer Chorus" in refused.text) == (404, True)
    with older.house.database.write() as session:
        session.query(Rollout).filter(Rollout.brand == "strange").update({"live": strange})
    assert fresh in serve(FakeEngine()).engine.resident
