"""Models: what a tenant may name, and what a deletion does."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from records.models import Audit
from tests.server.conftest import Running, Stage, until
from tests.server.waiting_engines import Stepwise

HELLO: Any = [{"role": "user", "content": "hello there"}]


def test_the_list_has_the_base_the_brands_and_the_versions_of_the_tenant(server: Running) -> None:
    first, second = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    checkpoint = server.publish("clinic", seed=3, step=4)
    server.publish("theirs", tenant="rival")
    listed = [model.id for model in server.client().models.list()]
    assert listed == ["tiny", "luxe", first, second, checkpoint]
    owners = {model.id: model.owned_by for model in server.client().models.list()}
    assert (owners["tiny"], owners["luxe"]) == ("chorus", "acme")


def test_base_brand_and_version_can_be_retrieved(server: Running) -> None:
    version = server.publish("luxe")
    for name in ("tiny", "luxe", version):
        assert server.client().models.retrieve(name).id == name
    for who, name in (("rival", version), ("rival", "luxe"), ("acme", "unknown"), ("acme", "a/b")):
        with pytest.raises(openai.NotFoundError) as caught:
            server.client(who).models.retrieve(name)
        assert caught.value.code == "model_not_found"


def test_a_deleted_version_answers_no_more_and_leaves_the_engine(server: Running) -> None:
    older, newer = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    until(lambda: newer in server.engine.resident)
    ask = server.client().chat.completions.create
    assert ask(model=older, messages=HELLO).model == older
    assert server.client().models.delete(older).deleted is True
    with pytest.raises(openai.NotFoundError):
        ask(model=older, messages=HELLO)
    assert ask(model="luxe", messages=HELLO).model == newer
    until(lambda: older not in server.engine.resident)
    with pytest.raises(openai.NotFoundError):
        server.client().models.delete(older)


def test_a_deletion_is_in_the_audit(server: Running) -> None:
    version, _ = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    server.client().models.delete(version)
    with server.house.database.read() as session:
        row = session.query(Audit).filter(Audit.action == "delete").one()
    assert (row.object, row.tenant) == (f"version:{version}", "acme")
    assert row.actor == server.keys["acme"].split("-")[1]


def test_a_stream_outlives_the_deletion_of_its_version(serve: Stage) -> None:
    engine = Stepwise()
    server = serve(engine)
    version, _ = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    engine.may_give = 1
    stream = server.client().chat.completions.create(model=version, messages=HELLO, stream=True)
    next(stream)
    server.client().models.delete(version)
    time.sleep(0.05)
    assert version in server.engine.resident
    engine.may_give = 1000
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in stream) == f"{version} heard: hello there"
    )
    until(lambda: version not in server.engine.resident)


@pytest.mark.parametrize("name", ["tiny"])
def test_the_base_cannot_be_deleted(server: Running, name: str) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        server.client().models.delete(name)


def test_a_brand_is_deleted_by_its_versions(server: Running) -> None:
    server.publish("luxe")
    with pytest.raises(openai.BadRequestError, match="versions"):
        server.client().models.delete("luxe")


def test_nobody_deletes_the_version_of_another_tenant(server: Running) -> None:
    version, _ = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    with pytest.raises(openai.NotFoundError):
        server.client("rival").models.delete(version)
    assert server.client().models.retrieve(version)
