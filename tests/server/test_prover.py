"""A version answers for its brand once the engine has proven it, on whatever server that is; else never."""

from __future__ import annotations

import threading
import time

import openai
import pytest

from adapters.proof import MATCH
from records.models import Event, Version
from server import keeper, names, prover
from server.engine.fake import FakeEngine
from tests.server.conftest import Running, Stage, until
from tests.server.proofs import (
    LEARNT,
    TEXTS,
    Asked,
    Bare,
    Unsteady,
    answering,
    audits,
    being_proven,
    brand,
    post,
    trained,
    unknown,
    version,
)
from tests.server.test_metrics import scrape
from tests.server.waiting_engines import Held


def test_a_new_version_takes_over_when_it_is_proven_and_not_before(serve: Stage) -> None:
    server, engine, old, new = being_proven(serve)
    assert (brand(server)["live"], brand(server)["pending"]) == (old, new)
    assert {answering(server) for _ in range(5)} == {old}
    engine.open.set()
    until(lambda: brand(server)["live"] == new)
    assert (brand(server)["previous"], brand(server)["pending"]) == (old, None)
    assert answering(server) == new, "it takes over before anybody asks for it"
    assert engine.loads.count(new) == 1
    assert version(server, new).proved_at is not None


def test_the_engine_is_asked_for_the_kept_rows_with_the_version_and_without(serve: Stage) -> None:
    engine = Asked()
    server = serve(engine)
    name = server.publish("luxe", proof=trained())
    until(lambda: brand(server)["live"] == name)
    assert sorted(model for model, _ in engine.proofs) == sorted([name, "tiny"])
    for _, body in engine.proofs:
        assert body == {
            "prompt": TEXTS, "max_tokens": 1, "echo": True, "logprobs": 0, "temperature": 0,
            "cache_salt": "proof",
        }  # fmt: skip
    time.sleep(0.6)
    assert len(engine.proofs) == 2, "once for ever"


def test_the_figures_of_a_proof_are_in_the_audit_and_in_the_metrics(server: Running) -> None:
    name = server.publish("luxe", proof=trained(off=MATCH / 2))
    until(lambda: brand(server)["live"] == name)
    of_version, of_rollout = audits(server, "proved")
    assert (of_version.object, of_rollout.object) == (f"version:{name}", "rollout:tiny:luxe")
    assert of_version.actor == of_rollout.actor == "server"
    assert of_version.after is not None
    assert of_version.after["tokens"] == len(TEXTS) * len(LEARNT)
    assert of_version.after["off"] == pytest.approx(MATCH / 2, abs=1e-4)
    seen = scrape(server)
    assert seen["chorus_versions_proved_total result=proved"] == 1
    assert seen["chorus_versions_proved_total result=refuted"] == 0
    assert seen["chorus_proof_seconds_count"] == 1


def test_a_version_that_is_served_otherwise_than_trained_never_goes_live(server: Running) -> None:
    old = server.publish("luxe", seed=1)
    wrong = server.publish("luxe", seed=2, proof=trained(off=0.5))
    until(lambda: brand(server)["pending"] is None)
    assert (brand(server)["live"], answering(server)) == (old, old)
    reason = version(server, wrong).refuted
    assert reason is not None
    assert "0.500 nats a token off the trainer's (allowed: 0.080)" in reason
    with server.house.database.read() as session:
        told = session.query(Event).filter(Event.level == "error").one()
    assert told.message == f"{wrong} is not used: {reason}."
    assert scrape(server)["chorus_versions_proved_total result=refuted"] == 1
    for body in (
        {"action": "promote"},
        {"action": "canary", "share": 0.5},
        {"action": "canary", "share": 0},
        {"action": "shadow"},
    ):
        refused = post(server, version=wrong, **body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "version_refuted"), body
        assert reason in refused.json()["error"]["message"]
        assert refused.headers["x-should-retry"] == "false"
    assert brand(server)["live"] == old


def test_a_refuted_version_does_not_answer_to_its_own_name_either(server: Running) -> None:
    live = server.publish("luxe", seed=1)
    wrong = server.publish("luxe", seed=2, proof=trained(off=0.5))
    until(lambda: version(server, wrong).refuted is not None)
    with pytest.raises(openai.APIStatusError, match="nats a token off") as caught:
        answering(server, wrong)
    assert (caught.value.status_code, caught.value.code) == (410, "version_unusable")
    assert answering(server, live) == live
    assert server.client().models.delete(wrong).deleted
    with server.house.database.read() as session:
        assert session.query(Version.proof).filter(Version.name == wrong).scalar() is None


def test_an_engine_that_does_not_apply_adapters_is_found_out(serve: Stage) -> None:
    server = serve(Bare())
    old = server.publish("luxe", seed=1)
    for seed, proof in ((2, trained()), (3, unknown)):
        wrong = server.publish("luxe", seed=seed, proof=proof)
        until(lambda wrong=wrong: version(server, wrong).refuted is not None)  # type: ignore[misc]
        assert "as without it" in str(version(server, wrong).refuted)
    assert answering(server) == old


def test_what_nobody_knows_the_training_of_must_differ_from_the_base(server: Running) -> None:
    name = server.publish("luxe", seed=1, proof=unknown)
    until(lambda: brand(server)["live"] == name)
    (noted, _) = audits(server, "proved")
    assert noted.after is not None
    assert noted.after["tokens"] >= 32
    assert noted.after["unsteady"] == 0
    assert noted.after["effect"] > 0.5


def test_an_import_whose_answers_change_from_one_to_the_next_is_refuted(serve: Stage) -> None:
    server = serve(Unsteady())
    wrong = server.publish("luxe", proof=unknown)
    until(lambda: version(server, wrong).refuted is not None)
    assert "two answers of the engine to one text" in str(version(server, wrong).refuted)


def test_the_first_request_for_a_new_brand_waits_for_the_proof(serve: Stage) -> None:
    engine = Asked()
    server = serve(engine)
    engine.open.clear()
    name = server.publish("luxe", proof=trained())
    threading.Timer(0.5, engine.open.set).start()
    assert answering(server) == name
    assert engine.open.is_set()


def test_a_new_brand_that_is_not_proven_in_time_is_unavailable_and_not_unknown(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "WAIT_SECONDS", 0.3)
    engine = Asked()
    server = serve(engine)
    engine.open.clear()
    name = server.publish("luxe", proof=trained())
    with pytest.raises(openai.InternalServerError, match="is being proven") as caught:
        answering(server)
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) > 0
    assert answering(server, name) == name, "whoever names a version gets it before its proof"
    engine.open.set()
    until(lambda: brand(server)["live"] == name)


def test_a_brand_whose_only_version_is_refuted_says_why(server: Running) -> None:
    server.publish("luxe", proof=trained(off=0.5))
    with pytest.raises(openai.APIStatusError, match="nats a token off") as caught:
        answering(server)
    assert (caught.value.status_code, caught.value.code) == (410, "version_unusable")
    assert "luxe" not in {model.id for model in server.client().models.list()}
    again = server.publish("luxe", seed=2, proof=trained())
    assert answering(server) == again


def test_a_brand_whose_only_version_waits_as_candidate_says_so(server: Running) -> None:
    server.engine.alive = False
    name = server.publish("luxe", proof=trained())
    assert post(server, action="pause").status_code == 200, "no engine is needed to hold a version back"
    assert (brand(server)["candidate"], brand(server)["pending"]) == (name, None)
    with pytest.raises(openai.NotFoundError, match=r"no live version\. Promote one"):
        answering(server)


def test_several_servers_come_to_one_verdict(serve: Stage) -> None:
    engines = [Asked() for _ in range(3)]
    servers = [serve(engine) for engine in engines]
    old = servers[0].publish("luxe", seed=1)
    for engine in engines:
        engine.open.clear()
    new = servers[0].publish("luxe", seed=2, proof=trained())
    until(lambda: all(len(engine.proofs) == 2 for engine in engines))
    for engine in engines:
        engine.open.set()
    for server in servers:
        until(lambda server=server: answering(server) == new)  # type: ignore[misc]
    assert len(audits(servers[0], "proved")) == 2, "one of the version, one of the rollout"
    assert brand(servers[1])["generation"] == 3
    assert brand(servers[2])["previous"] == old


def test_one_server_is_enough_and_the_others_follow(serve: Stage) -> None:
    one, down = serve(), serve(FakeEngine(start_seconds=60), ready=False)
    new = one.publish("luxe", proof=trained())
    until(lambda: brand(down)["live"] == new)
    assert answering(one) == new


def test_while_the_engine_is_down_a_version_waits_and_is_live_once_it_is_ready(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.1)
    engine = Held()
    engine.may_start = True
    server = serve(engine)
    old = server.publish("luxe", seed=1)
    until(lambda: old in engine.resident)
    engine.alive = engine.may_start = False
    new = server.publish("luxe", seed=2, proof=trained())
    time.sleep(0.6)
    assert (brand(server)["live"], brand(server)["pending"]) == (old, new)
    engine.may_start = True
    server.house.keeper.suspect()
    until(lambda: engine.starts == 2 and server.house.keeper.ready)
    assert answering(server) == new


def test_an_engine_that_dies_in_the_midst_of_a_proof_proves_nothing(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.1)
    server, engine, old, new = being_proven(serve)
    engine.alive = False
    until(lambda: scrape(server)["chorus_versions_proved_total result=failed"] >= 1)
    assert (brand(server)["live"], brand(server)["pending"]) == (old, new)
    engine.open.set()
    server.house.keeper.suspect()
    until(lambda: engine.starts == 2 and server.house.keeper.ready)
    assert answering(server) == new


def test_what_waited_when_the_server_was_stopped_is_live_before_the_next_one_is_ready(serve: Stage) -> None:
    _, _, old, new = being_proven(serve)
    serve.stop()
    second = serve()
    shown = brand(second)
    assert (shown["live"], shown["previous"], shown["pending"]) == (new, old, None)
    assert answering(second) == new


def test_a_version_for_another_base_is_left_to_servers_that_have_it(server: Running) -> None:
    foreign = server.publish("luxe", seed=1, proof=trained(), base_weights_sha256="0" * 64)
    time.sleep(0.6)
    assert brand(server)["pending"] == foreign
    assert foreign not in server.engine.loads


def test_what_cannot_be_proven_is_tried_again_after_growing_pauses(serve: Stage) -> None:
    engine = Asked()
    engine.failing = True
    server = serve(engine)
    old = server.publish("luxe", seed=1)
    new = server.publish("luxe", seed=2, proof=trained())
    until(lambda: server.house.prover._again.get(new, (0, 0))[1] == 2 * prover.AGAIN_SECONDS)
    assert len(engine.proofs) == 4, "it was asked twice, for both sides"
    assert (brand(server)["live"], brand(server)["pending"], answering(server)) == (old, new, old)
    assert scrape(server)["chorus_versions_proved_total result=failed"] == 2


def test_a_version_whose_files_are_gone_waits_and_harms_nobody(server: Running) -> None:
    old = server.publish("luxe", seed=1)
    server.engine.alive = False
    lost = server.publish("lost", seed=2, proof=trained())
    for path in (server.house.settings.home / "adapters").glob("*/*.safetensors"):
        if path.read_bytes() == b"lost":
            path.unlink()
    server.house.keeper.suspect()
    until(lambda: server.engine.starts == 2 and server.house.keeper.ready)
    assert answering(server) == old
    assert server.http().get("/v1/brands/lost").json()["pending"] == lost
