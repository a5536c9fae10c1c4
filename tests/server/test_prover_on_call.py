"""What is promoted or tried on a share is proven first; a change is in force on return, or not made."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from adapters import rollout
from server import prover
from server.prover import Prover
from tests.server.conftest import Running, Stage, until
from tests.server.proofs import Asked, answering, being_proven, brand, change, post, trained, version


def test_a_promotion_proves_first_and_is_in_force_on_return(server: Running) -> None:
    server.publish("luxe", seed=1)
    good = server.publish("luxe", seed=2, step=3, proof=trained())
    wrong = server.publish("luxe", seed=3, step=4, proof=trained(off=0.5))
    assert post(server, action="promote", version=good).json()["live"] == good
    assert answering(server) == good
    refused = post(server, action="promote", version=wrong)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "version_refuted")
    assert (brand(server)["live"], brand(server)["pending"]) == (good, None)


def test_a_promotion_of_what_waits_already_is_in_force_on_return_too(serve: Stage) -> None:
    server, engine, _, new = being_proven(serve)
    threading.Timer(0.3, engine.open.set).start()
    assert post(server, action="promote", version=new).json()["live"] == new
    assert len(engine.proofs) == 2, "both wait for the same proof"


def test_a_canary_proves_first_and_without_a_share_it_need_not(server: Running) -> None:
    server.publish("luxe", seed=1)
    good = server.publish("luxe", seed=2, step=3, proof=trained())
    assert post(server, action="canary", version=good, share=1).status_code == 200
    assert answering(server, user="u") == good
    server.engine.alive = False
    other = server.publish("luxe", seed=3, step=4, proof=trained())
    assert post(server, action="canary", version=other, share=0).status_code == 200
    refused = post(server, action="canary", share=0.5)
    assert (refused.status_code, "has to be proven" in refused.text) == (503, True)
    assert brand(server)["share"] == 0


def test_while_the_engine_is_down_only_what_is_proven_is_promoted(server: Running) -> None:
    first, second = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    checkpoint = server.publish("luxe", seed=3, step=3, proof=trained())
    until(lambda: {first, second} <= set(server.engine.resident))
    server.house.catalog.forget()
    server.engine.alive = False
    refused = post(server, action="promote", version=checkpoint)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert checkpoint in refused.json()["error"]["message"]
    assert (brand(server)["live"], brand(server)["pending"]) == (second, None)
    found = version(server, checkpoint)
    assert (found.proved_at, found.refuted) == (None, None), "an engine that is down is no verdict"
    assert post(server, action="promote", version=first).json()["live"] == first
    assert post(server, action="rollback").json()["live"] == second


def test_a_hung_engine_holds_a_promotion_up_for_a_stated_time_only(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prover, "ON_CALL_SECONDS", 0.3)
    engine = Asked()
    server = serve(engine)
    server.publish("luxe", seed=1)
    engine.open.clear()
    checkpoint = server.publish("luxe", seed=2, step=3, proof=trained())
    refused = post(server, action="promote", version=checkpoint)
    assert (refused.status_code, "The engine is busy." in refused.text) == (503, True)
    engine.open.set()
    until(lambda: version(server, checkpoint).proved_at is not None)
    assert post(server, action="promote", version=checkpoint).json()["live"] == checkpoint


def test_what_came_to_wait_while_a_request_had_it_proven_in_vain_is_tried_again(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the rows changes when that proof fails: it is the failure that makes it due."""
    seen, begin = set[str](), Prover.begin

    def noted(of: Prover, rows: Any) -> None:
        begin(of, rows)
        seen.update(row.name for row in rows)

    monkeypatch.setattr(Prover, "begin", noted)
    monkeypatch.setattr(prover, "ON_CALL_SECONDS", 0.3)
    engine = Asked()
    server = serve(engine)
    server.publish("luxe", seed=1)
    engine.open.clear()
    checkpoint = server.publish("luxe", seed=2, step=3, proof=trained())
    assert post(server, action="promote", version=checkpoint).status_code == 503
    change(server, rollout.promote, checkpoint)
    until(lambda: checkpoint in seen)
    assert len(engine.proofs) == 2, "the request's proof goes on"
    engine.failing = True
    engine.open.set()
    until(lambda: len(engine.proofs) > 2)
    engine.failing = False
    until(lambda: brand(server)["live"] == checkpoint)


def test_a_promotion_from_the_command_line_waits_for_the_next_server_that_sees_it(server: Running) -> None:
    old = server.publish("luxe", seed=1)
    until(lambda: answering(server) == old)
    checkpoint = server.publish("luxe", seed=2, step=3, proof=trained())
    change(server, rollout.promote, checkpoint)
    assert brand(server)["live"] in (old, checkpoint)
    until(lambda: answering(server) == checkpoint)


def test_a_candidate_answers_nobody_before_it_is_proven(serve: Stage) -> None:
    engine = Asked()
    server = serve(engine)
    old = server.publish("luxe", seed=1)
    engine.open.clear()
    checkpoint = server.publish("luxe", seed=2, step=3, proof=trained())
    change(server, rollout.canary, checkpoint, 1.0)
    until(lambda: len(engine.proofs) == 2)
    until(lambda: brand(server)["candidate"] == checkpoint)
    assert {answering(server, user=f"u{n}") for n in range(5)} == {old}
    engine.open.set()
    until(lambda: answering(server, user="u") == checkpoint)
    assert brand(server)["live"] == old
