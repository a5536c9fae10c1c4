"""Chat and completions through the real client: who answers, in which shape, and what is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.server.conftest import Running, until

HELLO: Any = [{"role": "user", "content": "hello there"}]
CHAT = "/v1/chat/completions"


def test_the_base_model_answers_under_its_slug(server: Running) -> None:
    answer = server.client().chat.completions.create(model="tiny", messages=HELLO)
    assert answer.choices[0].message.content == "tiny heard: hello there"
    assert answer.model == "tiny"


def test_a_stream_says_the_same_as_an_answer_in_one_piece(server: Running) -> None:
    stream = server.client().chat.completions.create(model="tiny", messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "tiny heard: hello there"


def test_completions_answer_whole_and_streamed(server: Running) -> None:
    ask = server.client().completions.create
    assert ask(model="tiny", prompt="one two").choices[0].text == "tiny heard: one two"
    stream = ask(model="tiny", prompt="one two", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "tiny heard: one two"


def test_usage_is_in_a_stream_only_when_asked_for(server: Running) -> None:
    ask = server.client().chat.completions.create
    assert all(chunk.choices for chunk in ask(model="tiny", messages=HELLO, stream=True))
    options: Any = {"include_usage": True}
    *_, last = ask(model="tiny", messages=HELLO, stream=True, stream_options=options)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 4


def test_a_stream_ends_with_done(server: Running) -> None:
    answer = server.http().post(CHAT, json={"model": "tiny", "messages": HELLO, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
    assert answer.text.count("[DONE]") == 1


def test_an_unknown_model_is_a_404_in_the_shape_of_openai(shared: Running) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        shared.client().chat.completions.create(model="gpt-4o", messages=HELLO)
    assert caught.value.body == {
        "message": "The model `gpt-4o` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_versions_and_brands_of_another_tenant_do_not_exist(server: Running) -> None:
    version = server.publish("luxe", tenant="acme")
    for model in (version, "luxe"):
        with pytest.raises(openai.NotFoundError) as caught:
            server.client("rival").chat.completions.create(model=model, messages=HELLO)
        assert caught.value.code == "model_not_found"


def test_two_tenants_with_one_brand_name_each_get_their_own(server: Running) -> None:
    versions = {who: server.publish("luxe", tenant=who, seed=n) for n, who in enumerate(("acme", "rival"))}
    for who, version in versions.items():
        assert server.client(who).chat.completions.create(model="luxe", messages=HELLO).model == version


def test_a_checkpoint_answers_to_its_name_and_not_for_its_brand(server: Running) -> None:
    final = server.publish("luxe", seed=1)
    checkpoint = server.publish("luxe", seed=2, step=5)
    ask = server.client().chat.completions.create
    assert ask(model=checkpoint, messages=HELLO).model == checkpoint
    assert ask(model="luxe", messages=HELLO).model == final


def test_a_version_for_another_base_is_a_404_that_says_so(server: Running) -> None:
    version = server.publish("luxe", base_weights_sha256="0" * 64)
    with pytest.raises(openai.NotFoundError, match="weights differs"):
        server.client().chat.completions.create(model=version, messages=HELLO)
    assert version not in {model.id for model in server.client().models.list()}


def test_a_version_whose_files_are_gone_is_a_410_and_others_answer(server: Running) -> None:
    lost, kept = server.publish("luxe", seed=1), server.publish("clinic", seed=2)
    until(lambda: {lost, kept} <= set(server.engine.resident))
    server.engine.resident.clear()
    server.house.catalog.forget()
    for path in (server.house.settings.home / "adapters").glob("*/*.safetensors"):
        if path.read_bytes() == b"luxe":
            path.unlink()
    with pytest.raises(openai.APIStatusError) as caught:
        server.client().chat.completions.create(model="luxe", messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (410, "version_unusable")
    assert str(server.house.settings.home) not in caught.value.message
    assert server.client().chat.completions.create(model="clinic", messages=HELLO).model == kept


def test_a_refusal_of_the_engine_is_an_error_and_no_stream(shared: Running) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            shared.client().chat.completions.create(
                model="tiny", messages=HELLO, temperature=-1, stream=stream
            )
        assert caught.value.param == "temperature"


def test_a_hundred_requests_at_once_each_get_their_own_answer(server: Running) -> None:
    version = server.publish("luxe")
    client = server.client()

    def ask(number: int) -> tuple[str, str | None]:
        model = (version, "tiny")[number % 2]
        message: Any = [{"role": "user", "content": f"number {number}"}]
        if number % 3:
            answer = client.chat.completions.create(model=model, messages=message)
            return answer.model, answer.choices[0].message.content
        chunks = list(client.chat.completions.create(model=model, messages=message, stream=True))
        return chunks[0].model, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    with ThreadPoolExecutor(32) as pool:
        for number, (model, said) in enumerate(pool.map(ask, range(100))):
            assert model == (version, "tiny")[number % 2]
            assert said == f"{model} heard: number {number}"
    assert server.engine.running == 0
    assert server.engine.loads.count(version) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"\xff\xfe",
        b'{"model": "tiny", "temperature": NaN}',
        b'{"model": "tiny", "temperature": -Infinity}',
        b'{"model": "tiny", "n": ' + b"9" * 5000 + b"}",
        b'{"model": "tiny", "messages": ' + b"[" * 100_000,
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "tiny", "\\udfff": 1}',
        b'{"model": "\\ud800", "messages": []}',
    ],
    ids=lambda raw: raw[:40],
)
def test_a_body_that_is_no_json_object_of_text_is_a_400(shared: Running, raw: bytes) -> None:
    answer = shared.http().post(CHAT, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_key_given_twice_is_refused_as_others_may_have_read_the_other_value(shared: Running) -> None:
    raw = b'{"model": "other", "model": "tiny", "messages": ' + json.dumps(HELLO).encode() + b"}"
    answer = shared.http().post(CHAT, content=raw)
    assert answer.status_code == 400
    assert "'model' twice" in answer.json()["error"]["message"]
