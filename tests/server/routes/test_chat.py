"""Chat and completions through the real client: who answers, in which shape, and what is refused."""

from __future__ import annotations

import openai
import pytest

from tests.server.conftest import Running

HELLO = [{"role": "user", "content": "hello there"}]


def test_the_base_model_answers_under_its_slug(server: Running) -> None:
    answer = server.client().chat.completions.create(model="tiny", messages=HELLO)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "tiny heard: hello there"
    assert answer.model == "tiny"


def test_a_stream_says_the_same_as_an_answer_in_one_piece(server: Running) -> None:
    stream = server.client().chat.completions.create(model="tiny", messages=HELLO, stream=True)  # type: ignore[arg-type]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert said == "tiny heard: hello there"


def test_an_unknown_model_is_a_404_in_the_shape_of_openai(server: Running) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        server.client().chat.completions.create(model="gpt-4o", messages=HELLO)  # type: ignore[arg-type]
    assert caught.value.code == "model_not_found"
    assert caught.value.type == "invalid_request_error"
    assert "gpt-4o" in caught.value.message
