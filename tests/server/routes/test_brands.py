"""Brands through HTTP: each action, its audit, what is refused, and that every server sees it."""

from __future__ import annotations

import shutil
from typing import Any

import openai
import pytest

from adapters import publish
from records.models import Version
from tests.server.conftest import Running, Stage, until
from tests.server.proofs import BRAND, HELLO, answering, brand, post


def change(server: Running, **body: Any) -> dict[str, Any]:
    answer = post(server, **body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


@pytest.fixture
def three(server: Running) -> tuple[Running, str, str, str]:
    """A server whose brand `luxe` has three versions, the newest live."""
    first, second, third = (server.publish("luxe", seed=seed) for seed in range(3))
    until(lambda: third in server.engine.resident)
    until(lambda: answering(server) == third)
    return server, first, second, third


def test_a_brand_shows_all_of_its_rollout(server: Running) -> None:
    first, second = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    shown = brand(server)
    assert shown.pop("updated_at") > 0
    assert shown == {
        "id": "luxe", "object": "brand", "base": "tiny", "live": second, "previous": first,
        "candidate": None, "share": 0.0, "shadow": None, "pending": None, "paused": False, "gate": None,
        "generation": 2, "mirrored": None,
    }  # fmt: skip


def test_the_list_has_the_brands_of_the_tenant_by_name(server: Running) -> None:
    for name, tenant in (("luxe", "acme"), ("clinic", "acme"), ("theirs", "rival")):
        server.publish(name, tenant=tenant)
    listed = server.http().get("/v1/brands").json()
    assert listed["object"] == "list"
    assert [row["id"] for row in listed["data"]] == ["clinic", "luxe"]
    assert "mirrored" not in listed["data"][0]


def test_promotion_and_rollback_are_in_force_on_return(three: tuple[Running, str, str, str]) -> None:
    server, first, second, third = three
    assert change(server, action="promote", version=first)["live"] == first
    assert answering(server) == first
    assert change(server, action="rollback")["live"] == third
    assert answering(server) == third
    shown = change(server, action="canary", version=second, share=0)
    assert (shown["candidate"], shown["share"]) == (second, 0)
    assert change(server, action="promote")["live"] == second
    assert answering(server) == second


def test_a_retired_brand_is_a_404_that_says_how_to_promote_and_its_versions_answer_to_their_names(
    three: tuple[Running, str, str, str],
) -> None:
    server, first, second, third = three
    change(server, action="canary", version=first, share=1)
    change(server, action="shadow", version=second)
    shown = change(server, action="retire")
    assert (shown["live"], shown["previous"], shown["paused"]) == (None, third, True)
    assert (shown["candidate"], shown["share"], shown["shadow"]) == (None, 0.0, None)
    for ask in (lambda: answering(server), lambda: server.client().models.retrieve("luxe")):
        with pytest.raises(
            openai.NotFoundError, match=r"no live version\. Promote one of its versions"
        ) as caught:
            ask()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "luxe" not in {model.id for model in server.client().models.list()}
    for name in (first, second, third):
        assert answering(server, name) == name
    assert server.http().get(f"{BRAND}/audit").json()["data"][0]["action"] == "retire"
    assert change(server, action="rollback")["live"] == third
    assert answering(server) == third
    change(server, action="retire")
    assert change(server, action="promote", version=first)["live"] == first
    assert answering(server) == first


def test_the_only_version_of_a_brand_is_deleted_once_the_brand_is_retired(server: Running) -> None:
    only = server.publish("luxe")
    until(lambda: answering(server) == only)
    with pytest.raises(openai.ConflictError, match="promote another or retire the brand first"):
        server.client().models.delete(only)
    change(server, action="retire")
    assert server.client().models.delete(only).deleted is True
    for name in (only, "luxe"):
        with pytest.raises(openai.NotFoundError):
            answering(server, name)
    with pytest.raises(openai.BadRequestError, match="is a brand"):
        server.client().models.delete("luxe")
    again = server.publish("luxe", seed=2)
    assert change(server, action="promote")["live"] == again


def test_a_brand_that_is_retired_on_one_server_is_retired_on_the_other(serve: Stage) -> None:
    one, other = serve(), serve()
    version = one.publish("luxe")
    until(lambda: answering(other) == version)
    change(one, action="retire")
    body = {"model": "luxe", "messages": HELLO}
    until(lambda: other.http().post("/v1/chat/completions", json=body).status_code == 404)
    change(one, action="rollback")
    until(lambda: other.http().post("/v1/chat/completions", json=body).status_code == 200)


def test_a_canary_is_sticky_by_user_and_grows_without_moving_anybody_back(
    three: tuple[Running, str, str, str],
) -> None:
    server, first, _, third = three
    users = [f"user-{n}" for n in range(40)]
    before: set[str] = set()
    for share in (0.0, 0.25, 0.6, 1.0):
        change(server, action="canary", version=first, share=share)
        answers = {user: answering(server, user=user) for user in users}
        assert {user: answering(server, user=user) for user in users[:10]}.items() <= answers.items()
        assert set(answers.values()) <= {first, third}
        chosen = {user for user, model in answers.items() if model == first}
        assert before <= chosen
        assert abs(len(chosen) / len(users) - share) < 0.25
        before = chosen
    assert before == set(users)
    change(server, action="canary")
    assert {answering(server, user=user) for user in users[:5]} == {third}


def test_without_a_user_the_request_id_decides(three: tuple[Running, str, str, str]) -> None:
    server, first, _, third = three
    change(server, action="canary", version=first, share=0.5)
    ids = [f"r-{n}" for n in range(20)]

    def ask(request_id: str, **given: Any) -> str:
        return answering(server, extra_headers={"x-request-id": request_id}, **given)

    answers = {request_id: ask(request_id) for request_id in ids}
    assert set(answers.values()) == {first, third}
    assert {request_id: ask(request_id) for request_id in ids} == answers
    assert len({ask(request_id, user="one") for request_id in ids}) == 1, "a user weighs more"
    assert {answering(server) for _ in range(40)} == {first, third}, "nobody is asked to send an id"


def test_an_exact_name_answers_itself_whatever_the_rollout_says(three: tuple[Running, str, str, str]) -> None:
    server, first, second, third = three
    change(server, action="canary", version=first, share=1)
    for name in (first, second, third):
        assert answering(server, name) == name


def test_the_answering_version_is_named_in_a_stream_and_in_a_completion(
    three: tuple[Running, str, str, str],
) -> None:
    server, first, _, _ = three
    change(server, action="canary", version=first, share=1)
    stream = server.client().chat.completions.create(model="luxe", messages=HELLO, stream=True)
    assert {chunk.model for chunk in stream} == {first}
    assert server.client().completions.create(model="luxe", prompt="x").model == first


def test_a_change_is_seen_by_another_server_and_loaded_there_first(serve: Stage) -> None:
    one, other = serve(), serve()
    first, second = one.publish("luxe", seed=1), one.publish("luxe", seed=2)
    checkpoint = one.publish("luxe", seed=3, step=5)
    for server in (one, other):
        until(lambda server=server: answering(server) == second)  # type: ignore[misc]
    change(one, action="promote", version=checkpoint)
    until(lambda: answering(other) == checkpoint)
    assert checkpoint in other.engine.loads
    change(one, action="rollback")
    until(lambda: answering(other) == second)
    change(one, action="canary", version=first, share=1)
    until(lambda: answering(other, user="u") == first)
    change(one, action="canary")
    until(lambda: answering(other, user="u") == second)


def test_while_paused_a_new_version_waits(three: tuple[Running, str, str, str]) -> None:
    server, _, _, third = three
    assert change(server, action="pause")["paused"] is True
    fourth = server.publish("luxe", seed=4)
    until(lambda: fourth in server.engine.resident)
    assert answering(server) == third
    assert (brand(server)["candidate"], brand(server)["share"]) == (fourth, 0)
    assert change(server, action="promote")["live"] == fourth
    assert change(server, action="resume")["paused"] is False
    fifth = server.publish("luxe", seed=5)
    until(lambda: answering(server) == fifth)


def test_every_change_is_in_the_audit_newest_first(three: tuple[Running, str, str, str]) -> None:
    server, first, _, _ = three
    answer = server.http().post(BRAND, json={"action": "pause"}, headers={"x-request-id": "mine-1"})
    assert answer.status_code == 200
    change(server, action="shadow", version=first)
    listed = server.http().get(f"{BRAND}/audit").json()
    actions = [row["action"] for row in listed["data"]]
    assert actions == ["shadow", "pause", "arrived", "arrived", "arrived"]
    newest, paused, arrived = listed["data"][:3]
    assert newest["after"]["shadow"] == first
    assert newest["before"] == paused["after"]
    assert paused["request_id"] == "mine-1"
    assert paused["actor"] == server.keys["acme"].split("-")[1], "the key's public id"
    assert arrived["actor"].startswith("job:ftjob-")
    page = server.http().get(f"{BRAND}/audit", params={"limit": 2, "after": newest["id"]}).json()
    assert [row["action"] for row in page["data"]] == ["pause", "arrived"]
    assert page["has_more"] is True


def test_what_became_of_its_versions_is_in_a_brands_audit(three: tuple[Running, str, str, str]) -> None:
    server, first, _, _ = three
    server.publish("luxe-2", seed=9)
    server.client().models.delete(first)
    newest = server.http().get(f"{BRAND}/audit").json()["data"][0]
    assert (newest["action"], newest["subject"]) == ("delete", f"version:{first}")
    others = server.http().get("/v1/brands/luxe-2/audit").json()["data"]
    assert [row["subject"] for row in others] == ["rollout:tiny:luxe-2"]


def test_what_is_already_so_changes_nothing(three: tuple[Running, str, str, str]) -> None:
    server, _, _, third = three
    before = brand(server)["generation"]
    for body in ({"action": "promote", "version": third}, {"action": "resume"}, {"action": "shadow"}):
        assert change(server, **body)["generation"] == before


def test_brands_of_another_tenant_do_not_exist(server: Running) -> None:
    version = server.publish("luxe")
    rival = server.http("rival")
    for answer in (
        rival.get(BRAND),
        rival.get(f"{BRAND}/audit"),
        post(server, "rival", action="promote", version=version),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
    assert rival.get("/v1/brands").json()["data"] == []
    theirs = server.publish("luxe", tenant="rival", seed=2)
    refused = post(server, action="promote", version=theirs)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "version_not_found"


def test_nothing_of_it_is_open_without_a_key(shared: Running) -> None:
    http = shared.http(None)
    assert http.get("/v1/brands").status_code == 401
    assert http.post(BRAND, json={"action": "pause"}).status_code == 401
    assert http.get(f"{BRAND}/audit").status_code == 401


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "action", "missing_required_parameter"),
        ({"action": "explode"}, "action", "invalid_value"),
        ({"action": "promote", "forced": True}, "forced", "unknown_parameter"),
        ({"action": "promote", "force": "yes"}, "force", "invalid_value"),
        ({"action": "rollback", "force": True}, "force", "unsupported_parameter"),
        ({"action": "promote", "version": 5}, "version", "invalid_value"),
        ({"action": "promote", "share": 0.5}, "share", "unsupported_parameter"),
        ({"action": "rollback", "version": "ft:x"}, "version", "unsupported_parameter"),
        ({"action": "pause", "share": 0}, "share", "unsupported_parameter"),
        ({"action": "retire", "version": "ft:x"}, "version", "unsupported_parameter"),
        ({"action": "canary", "version": "ft:x", "share": 1.5}, "share", "invalid_value"),
        ({"action": "canary", "version": "ft:x", "share": "0.5"}, "share", "invalid_value"),
        ({"action": "canary", "version": "ft:x", "share": True}, "share", "invalid_value"),
    ],
    ids=str,
)
def test_a_field_at_fault_is_named(shared: Running, body: dict[str, Any], param: str, code: str) -> None:
    answer = shared.http().post(BRAND, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


def test_what_the_rollout_does_not_allow_is_refused_for_good(server: Running) -> None:
    version, clinic = server.publish("luxe", seed=1), server.publish("clinic", seed=2)
    for body, status, code in (
        ({"action": "rollback"}, 409, "no_previous"),
        ({"action": "promote"}, 409, "no_candidate"),
        ({"action": "canary", "share": 0.5}, 409, "no_candidate"),
        ({"action": "canary", "version": version, "share": 0.5}, 400, "already_live"),
        ({"action": "canary", "version": version}, 400, "bad_share"),
        ({"action": "promote", "version": clinic}, 400, "version_of_another_brand"),
        ({"action": "promote", "version": "luxe"}, 400, "version_not_found"),
    ):
        answer = post(server, **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), body
        assert answer.headers.get("x-should-retry") == ("false" if status == 409 else None)
    assert brand(server)["generation"] == 1


def test_a_version_that_cannot_be_loaded_does_not_go_live(three: tuple[Running, str, str, str]) -> None:
    server, first, _, third = three
    server.client().chat.completions.create(model=third, messages=HELLO)
    with server.house.database.read() as session:
        sha256 = session.query(Version.sha256).filter(Version.name == first).scalar()
    server.engine.resident.pop(first, None)
    server.house.catalog._residents.pop(first, None)
    shutil.rmtree(publish.folder(server.house.settings.home, sha256))
    before = brand(server)["generation"]
    for body in ({"action": "promote"}, {"action": "canary", "share": 0.5}, {"action": "shadow"}):
        answer = post(server, version=first, **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "version_unusable")
    assert brand(server)["generation"] == before
    assert answering(server) == third


def test_a_version_for_other_weights_of_this_base_does_not_go_live(server: Running) -> None:
    server.publish("luxe", seed=1)
    foreign = server.publish("luxe", seed=2, base_weights_sha256="0" * 64, step=5)
    answer = post(server, action="promote", version=foreign)
    assert answer.status_code == 404
    assert "weights differs" in answer.json()["error"]["message"]


def test_a_brand_can_be_rolled_back_while_the_engine_is_down(server: Running) -> None:
    first, second = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    until(lambda: {first, second} <= set(server.engine.resident))
    server.house.catalog.forget()
    server.engine.alive = False
    assert change(server, action="rollback")["live"] == first


def test_the_live_version_of_a_brand_and_its_place_in_the_list_of_models_go_together(
    three: tuple[Running, str, str, str],
) -> None:
    server, *_ = three
    checkpoint = server.publish("draft", seed=9, step=3)
    listed = [model.id for model in server.client().models.list()]
    assert "luxe" in listed
    assert "draft" not in listed
    assert checkpoint in listed


@pytest.mark.parametrize("part", ["live", "candidate", "shadow"])
def test_a_version_that_gets_requests_is_not_deleted(three: tuple[Running, str, str, str], part: str) -> None:
    server, first, _, third = three
    if part != "live":
        change(server, action={"candidate": "canary", "shadow": "shadow"}[part], version=first,
               **({"share": 0.0} if part == "candidate" else {}))  # fmt: skip
    name = third if part == "live" else first
    with pytest.raises(openai.ConflictError, match="brand 'luxe'") as caught:
        server.client().models.delete(name)
    assert caught.value.code == "version_in_use"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert answering(server, name) == name


def test_a_previous_version_can_be_deleted_and_is_forgotten(three: tuple[Running, str, str, str]) -> None:
    server, _, second, third = three
    assert server.client().models.delete(second).deleted is True
    shown = brand(server)
    assert (shown["live"], shown["previous"]) == (third, None)
    until(lambda: second not in server.engine.resident)
    assert post(server, action="rollback").status_code == 409
    with pytest.raises(openai.NotFoundError):
        answering(server, second)
