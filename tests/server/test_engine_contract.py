"""What every engine does, whatever is inside: the same tests for the fake and for vLLM."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from adapters.proof import MATCH
from bench.adapters import random_adapter
from server.echo import TEXT
from server.engine.base import AdapterRefused, Engine, EngineUnavailable, Kind, RequestRefused, Version
from server.engine.fake import FakeEngine
from server.stream import NO_CHOICES
from server.usage import tokens
from tests.conforms import conforms

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHOLE = {Kind.CHAT: "CreateChatCompletionResponse", Kind.COMPLETION: "CreateCompletionResponse"}
KINDS = pytest.mark.parametrize("kind", list(Kind))


def body(kind: Kind, **given: Any) -> dict[str, Any]:
    asked = (
        {"prompt": "Once upon a time"}
        if kind is Kind.COMPLETION
        else {"messages": [{"role": "user", "content": "Hello, where is my order?"}]}
    )
    return {**asked, "max_tokens": 8, "temperature": 0, "cache_salt": "salt", **given}


async def one(engine: Engine, kind: Kind, version: Version | None = None, **given: Any) -> dict[str, Any]:
    (answer,) = [item async for item in engine.generate(kind, body(kind, **given), version)]
    whole: dict[str, Any] = json.loads(answer)
    conforms(whole, WHOLE[kind])
    return whole


async def frames(engine: Engine, kind: Kind, version: Version | None = None, **given: Any) -> list[bytes]:
    asked = body(kind, stream=True, stream_options={"include_usage": True}, **given)
    return [frame async for frame in engine.generate(kind, asked, version)]


def text(kind: Kind, choice: dict[str, Any]) -> str:
    if kind is Kind.COMPLETION:
        return str(choice["text"])
    return str((choice.get("message") or choice["delta"]).get("content") or "")


async def echoed(engine: Engine, version: Version | None, texts: list[list[int]]) -> list[list[float | None]]:
    """The log-probabilities of each text's tokens, and of the one that the engine adds."""
    asked = {
        "prompt": texts,
        "echo": True,
        "logprobs": 0,
        "max_tokens": 1,
        "temperature": 0,
        "cache_salt": "x",
    }
    (item,) = [item async for item in engine.generate(Kind.COMPLETION, asked, version)]
    choices = json.loads(item)["choices"]
    assert [choice["index"] for choice in choices] == list(range(len(texts)))
    return [choice["logprobs"]["token_logprobs"] for choice in choices]


def apart(one: list[float | None], other: list[float | None], tokens: int) -> float:
    """The mean absolute difference over the given tokens, but for the first."""
    pairs = list(zip(one[1:tokens], other[1:tokens], strict=True))
    return sum(abs((a or 0) - (b or 0)) for a, b in pairs) / len(pairs)


TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
ANOTHER = {"type": "function", "function": {"name": "touch"}}
# No call of it has more than 150 bytes, so that none is cut, whatever the model would say.
ORDER = {
    "type": "object",
    "properties": {
        "order": {"type": "string", "pattern": "[a-z0-9]{1,12}"},
        "lines": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 99}, "maxItems": 3},
        "late": {"type": "boolean"},
    },
    "required": ["order", "lines", "late"],
    "additionalProperties": False,
}
FORCED = [
    {**ANOTHER, "function": {"name": "find", "parameters": ORDER}},
    {"type": "function", "function": {"name": "hold", "parameters": ORDER, "strict": False}},
]
# Fields that contradict or need each other, and the one that the refusal names.
CONTRADICTIONS = [
    (Kind.CHAT, {"top_logprobs": 2}, "top_logprobs"),
    (Kind.CHAT, {"tools": []}, "tools"),
    (Kind.CHAT, {"tool_choice": "auto"}, "tool_choice"),
    (Kind.CHAT, {"tool_choice": "required"}, "tool_choice"),
    (Kind.CHAT, {"tools": TOOLS, "tool_choice": ANOTHER}, "tool_choice"),
    (Kind.CHAT, {"tools": TOOLS, "tool_choice": "perhaps"}, "tool_choice"),
    (Kind.CHAT, {"response_format": {"type": "json_schema"}}, "response_format"),
    (
        Kind.CHAT,
        {"continue_final_message": True, "add_generation_prompt": True},
        "continue_final_message",
    ),
    (Kind.CHAT, {"structured_outputs": {}}, "structured_outputs"),
    (Kind.CHAT, {"structured_outputs": {"jsn": {}}}, "structured_outputs"),
    (Kind.CHAT, {"structured_outputs": {"json": {}, "regex": "a"}}, "structured_outputs"),
    (Kind.CHAT, {"structured_outputs": {"json": {}, "grammar": "a"}}, "structured_outputs"),
    (Kind.CHAT, {"structured_outputs": {"structural_tag": "{"}}, "structured_outputs"),
    (Kind.CHAT, {"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs"),
    (Kind.COMPLETION, {"structured_outputs": {}}, "structured_outputs"),
    (Kind.COMPLETION, {"prompt": ""}, "prompt"),
    (Kind.COMPLETION, {"prompt": ["a"] * 1025}, "prompt"),
]

# What the handlers of vLLM add to answers for its own routers and tools.
VLLMS_OWN = {"prompt_token_ids", "token_ids", "prompt_text", "kv_transfer_params", "routed_experts"}


def names(value: Any) -> set[str]:
    """Of all fields, at any depth; where tokens are keys, they are no fields."""
    if isinstance(value, dict):
        return set(value).union(*(names(item) for key, item in value.items() if key != "top_logprobs"))
    return set().union(*map(names, value)) if isinstance(value, list) else set()


class Contract:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return random_adapter(tmp_path_factory.mktemp("adapter") / "a", seed=7, strength=0.5)

    @pytest_asyncio.fixture(loop_scope="module")
    async def version(self, engine: Engine, folder: Path) -> AsyncIterator[Version]:
        version = Version("ft:tiny:acme:luxe:01234567", "01234567" + "0" * 56)
        await engine.load(version, folder)
        yield version
        await engine.unload(version)

    @KINDS
    async def test_an_answer_that_may_only_choose_is_one_of_the_choices(
        self, engine: Engine, kind: Kind
    ) -> None:
        choices = ["0.25", "very good", 'a "quoted" one, perhaps \\']
        answer = await one(engine, kind, max_tokens=64, structured_outputs={"choice": choices})
        assert text(kind, answer["choices"][0]) in choices

    @KINDS
    async def test_an_answer_in_one_piece_is_one_item_in_the_shape_of_openai(
        self, engine: Engine, kind: Kind
    ) -> None:
        answer = await one(engine, kind)
        assert answer["model"] == "tiny"
        assert text(kind, answer["choices"][0])
        assert answer["usage"]["completion_tokens"] > 0

    @KINDS
    async def test_a_stream_says_what_the_answer_in_one_piece_says(self, engine: Engine, kind: Kind) -> None:
        whole = await one(engine, kind)
        *parts, usage, done = await frames(engine, kind)
        assert done == b"data: [DONE]\n\n"
        said = ""
        for frame in parts:
            assert frame.startswith(b"data: ")
            assert frame.endswith(b"\n\n")
            chunk = json.loads(frame[6:])
            if kind is Kind.CHAT:  # for completions the document has no schema of a chunk
                conforms(chunk, "CreateChatCompletionStreamResponse")
            said += text(kind, chunk["choices"][0])
        assert said == text(kind, whole["choices"][0])
        assert NO_CHOICES in usage
        assert not any(NO_CHOICES in frame for frame in parts)
        assert tokens(usage) == (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"])

    @KINDS
    @pytest.mark.parametrize("given", [{}, {"logprobs": 1, "n": 2, "temperature": 1}], ids=str)
    async def test_a_stream_has_no_fields_but_those_of_the_answer_in_one_piece(
        self, engine: Engine, kind: Kind, given: dict[str, Any]
    ) -> None:
        given = {**given, "logprobs": True} if given and kind is Kind.CHAT else given
        whole = names(await one(engine, kind, **given))
        assert not whole & VLLMS_OWN
        *parts, done = await frames(engine, kind, **given)
        assert done == b"data: [DONE]\n\n"
        for part in parts:
            assert names(json.loads(part[6:])) - {"delta", "finish_reason"} <= whole | {"role", "content"}

    @KINDS
    async def test_a_loaded_version_answers_under_its_own_name(
        self, engine: Engine, kind: Kind, version: Version
    ) -> None:
        answer = await one(engine, kind, version)
        assert answer["model"] == version.name
        assert text(kind, answer["choices"][0]) != text(kind, (await one(engine, kind))["choices"][0])
        for frame in await frames(engine, kind, version):
            assert frame == b"data: [DONE]\n\n" or json.loads(frame[6:])["model"] == version.name

    async def test_loading_twice_is_loading_once(
        self, engine: Engine, version: Version, folder: Path
    ) -> None:
        before = await one(engine, Kind.CHAT, version)
        await engine.load(version, folder)
        assert (await one(engine, Kind.CHAT, version))["choices"] == before["choices"]

    async def test_an_unknown_version_is_refused_before_the_first_item(self, engine: Engine) -> None:
        unknown = Version("ft:tiny:acme:luxe:ffffffff", "f" * 64)
        with pytest.raises(RequestRefused) as caught:
            await anext(engine.generate(Kind.CHAT, body(Kind.CHAT, stream=True), unknown))
        assert caught.value.status == 404

    async def test_an_unloaded_version_answers_no_more_and_can_come_back(
        self, engine: Engine, version: Version, folder: Path
    ) -> None:
        before = await one(engine, Kind.CHAT, version)
        await engine.unload(version)
        await engine.unload(version)
        with pytest.raises(RequestRefused):
            await one(engine, Kind.CHAT, version)
        await engine.load(version, folder)
        assert (await one(engine, Kind.CHAT, version))["choices"] == before["choices"]

    @pytest.mark.parametrize("damage", ["no files", "no weights", "empty weights"])
    async def test_a_broken_adapter_is_refused_and_the_engine_goes_on(
        self, engine: Engine, folder: Path, tmp_path: Path, damage: str
    ) -> None:
        if damage != "no files":
            (tmp_path / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
        if damage == "empty weights":
            (tmp_path / "adapter_model.safetensors").touch()
        broken = Version("ft:tiny:acme:broken:00000000", "0" * 64)
        with pytest.raises(AdapterRefused):
            await engine.load(broken, tmp_path)
        assert await one(engine, Kind.CHAT)
        with pytest.raises(RequestRefused):
            await one(engine, Kind.CHAT, broken)

    @pytest.mark.parametrize(
        "given",
        [
            {"temperature": -1},
            {"temperature": "hot"},
            {"max_tokens": 10**7},
            {"max_tokens": -1},
            {"n": 0},
            {"messages": "hello"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_bad_request_is_a_400_before_the_first_item(
        self, engine: Engine, given: dict[str, Any], stream: bool
    ) -> None:
        with pytest.raises(RequestRefused) as caught:
            await anext(engine.generate(Kind.CHAT, body(Kind.CHAT, stream=stream, **given), None))
        assert caught.value.status == 400
        assert caught.value.message

    @pytest.mark.parametrize(("kind", "given", "param"), CONTRADICTIONS, ids=lambda value: str(value)[:50])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_fields_that_contradict_each_other_are_a_400_that_names_one(
        self, engine: Engine, kind: Kind, given: dict[str, Any], param: str, stream: bool
    ) -> None:
        with pytest.raises(RequestRefused) as caught:
            await anext(engine.generate(kind, body(kind, stream=stream, **given), None))
        assert caught.value.status == 400
        assert caught.value.param == param
        assert "\n" not in caught.value.message

    async def test_closing_an_answer_early_leaves_the_engine_healthy(
        self, engine: Engine, version: Version
    ) -> None:
        before = await one(engine, Kind.CHAT, version)
        for _ in range(3):
            answer = engine.generate(Kind.CHAT, body(Kind.CHAT, stream=True, max_tokens=64), version)
            assert await anext(answer)
            await answer.aclose()  # type: ignore[attr-defined]
        assert (await one(engine, Kind.CHAT, version))["choices"] == before["choices"]

    async def test_many_at_once_answer_as_each_alone(self, engine: Engine, version: Version) -> None:
        alone = [(await one(engine, Kind.CHAT, who))["model"] for who in (None, version)]
        both = await asyncio.gather(*(one(engine, Kind.CHAT, who) for who in (None, version) * 8))
        assert [answer["model"] for answer in both] == alone * 8

    async def test_n_choices_are_numbered_and_counted(self, engine: Engine) -> None:
        answer = await one(engine, Kind.CHAT, n=3, max_tokens=2, temperature=1)
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]

    async def test_a_length_limit_ends_the_answer_and_says_so(self, engine: Engine) -> None:
        answer = await one(engine, Kind.CHAT, max_tokens=1)
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == 1

    async def test_log_probabilities_come_one_per_token(self, engine: Engine) -> None:
        answer = await one(engine, Kind.CHAT, logprobs=True, max_tokens=3)
        assert len(answer["choices"][0]["logprobs"]["content"]) == answer["usage"]["completion_tokens"]
        *parts, _, _ = await frames(engine, Kind.CHAT, logprobs=True, max_tokens=3)
        for part in parts:
            conforms(json.loads(part[6:]), "CreateChatCompletionStreamResponse")

    async def test_completions_give_log_probabilities_in_the_shape_of_openai(self, engine: Engine) -> None:
        answer = await one(engine, Kind.COMPLETION, logprobs=2, max_tokens=4)
        assert len(answer["choices"][0]["logprobs"]["tokens"]) == 4

    async def test_a_text_is_repeated_with_what_the_version_and_the_base_think_of_it(
        self, engine: Engine, version: Version
    ) -> None:
        """What a proof asks for: server/echo.py."""
        texts = [list(range(7, 40)), list(range(90, 300, 7)), [11] * 12]
        together = await echoed(engine, version, texts)
        assert [len(thought) for thought in together] == [len(text) + 1 for text in texts], (
            "and one new token"
        )
        for text, thought in zip(texts, together, strict=True):
            assert thought[0] is None, "the first token follows on nothing"
            assert all(value is not None and -9999 < value <= 0 for value in thought[1:])
            (alone,) = await echoed(engine, version, [text])
            assert apart(alone, thought, len(text)) < MATCH, "it is the same with others in the batch"
        for text, thought, base in zip(texts, together, await echoed(engine, None, texts), strict=True):
            assert apart(base, thought, len(text)) > 2 * MATCH

    async def test_a_text_in_words_is_repeated_too_and_its_tokens_are_counted(self, engine: Engine) -> None:
        asked = {"prompt": TEXT, "echo": True, "logprobs": 0, "max_tokens": 1}
        (item,) = [item async for item in engine.generate(Kind.COMPLETION, asked, None)]
        answer = json.loads(item)
        thought = answer["choices"][0]["logprobs"]["token_logprobs"]
        assert len(thought) == answer["usage"]["prompt_tokens"] + 1
        assert answer["usage"]["prompt_tokens"] >= 32
        assert answer["usage"]["completion_tokens"] == 1

    async def test_the_body_is_left_as_it_was(self, engine: Engine) -> None:
        given = body(Kind.CHAT)
        before = json.dumps(given)
        _ = [item async for item in engine.generate(Kind.CHAT, given, None)]
        assert json.dumps(given) == before


class TestFake(Contract):
    @pytest_asyncio.fixture(loop_scope="module")
    async def engine(self) -> AsyncIterator[Engine]:
        engine = FakeEngine()
        await engine.start()
        yield engine
        assert engine.running == 0
        await engine.stop()

    async def test_before_the_start_and_after_the_stop_it_is_unavailable(self) -> None:
        engine = FakeEngine()
        with pytest.raises(EngineUnavailable):
            await one(engine, Kind.CHAT)
        await engine.start()
        assert await one(engine, Kind.CHAT)
        await engine.stop()
        await engine.stop()
        with pytest.raises(EngineUnavailable):
            await one(engine, Kind.CHAT)


@pytest.mark.engine
class TestVllm(Contract):
    @pytest.fixture
    def engine(self, real_engine: Engine) -> Engine:
        return real_engine

    async def test_a_schema_is_kept_to(self, engine: Engine) -> None:
        """A schema without room for blanks: a small model may else go on with them to its limit."""
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["yes", "no"]}}}
        answer = await one(engine, Kind.CHAT, response_format=asked, max_tokens=40)
        assert json.loads(text(Kind.CHAT, answer["choices"][0])) in ("yes", "no")

    async def test_an_answer_without_tools_has_no_list_of_calls(self, engine: Engine) -> None:
        answer = await one(engine, Kind.CHAT)
        assert not set(answer["choices"][0]["message"]) - {"role", "content", "refusal"}

    async def test_tools_that_must_not_be_called_are_not_shown_to_the_model(self, engine: Engine) -> None:
        plain = await one(engine, Kind.CHAT)
        shown = await one(engine, Kind.CHAT, tools=TOOLS, tool_choice="auto")
        hidden = await one(engine, Kind.CHAT, tools=TOOLS, tool_choice="none")
        assert hidden["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
        assert shown["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]

    @pytest.mark.parametrize(
        "choice", ["required", {"type": "function", "function": {"name": "hold"}}], ids=["required", "named"]
    )
    async def test_a_forced_call_fits_its_functions_schema_and_is_compact(
        self, engine: Engine, choice: Any
    ) -> None:
        """At a temperature at which the model's own words are noise: only the grammar holds them."""
        asked = {
            "tools": FORCED, "tool_choice": choice, "parallel_tool_calls": False,
            "temperature": 1.8, "n": 8, "max_tokens": 160,
        }  # fmt: skip
        answer = await one(engine, Kind.CHAT, **asked)
        for given in answer["choices"]:
            (call,) = given["message"]["tool_calls"]
            assert call["function"]["name"] in ({"find", "hold"} if choice == "required" else {"hold"})
            jsonschema.validate(json.loads(call["function"]["arguments"]), ORDER)
        streamed = dict.fromkeys(range(8), "")
        for frame in (await frames(engine, Kind.CHAT, **asked))[:-1]:
            for given in json.loads(frame[6:])["choices"]:
                for call in given["delta"].get("tool_calls", ()):
                    streamed[given["index"]] += call["function"].get("arguments", "")
        for arguments in streamed.values():
            jsonschema.validate(json.loads(arguments), ORDER)
            assert not re.search(r"\s\s", arguments)

    @pytest.mark.parametrize(
        ("kind", "given", "param"),
        [
            (Kind.COMPLETION, {"prompt": [5] * 100_000}, "prompt"),
            (Kind.COMPLETION, {"prompt": "word " * 50_000}, "prompt"),
            (Kind.CHAT, {"messages": [{"role": "user", "content": "word " * 50_000}]}, "messages"),
            (Kind.CHAT, {"structured_outputs": {"grammar": "root ::= ("}}, "structured_outputs"),
            (Kind.CHAT, {"structured_outputs": {"regex": "("}}, "structured_outputs"),
            (Kind.CHAT, {"structured_outputs": {"choice": []}}, "structured_outputs"),
            (
                Kind.CHAT,
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "x", "schema": {"type": 5}},
                    }
                },
                "response_format",
            ),
            (
                Kind.CHAT,
                {
                    "tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": 5}}}],
                    "tool_choice": "required",
                },
                "tools",
            ),
            (Kind.CHAT, {"logprobs": True, "top_logprobs": 1000}, "top_logprobs"),
            (Kind.COMPLETION, {"logprobs": 1000}, "logprobs"),
            (Kind.CHAT, {"temperature": -1}, "temperature"),
            (Kind.CHAT, {"top_p": 7}, "top_p"),
            (Kind.CHAT, {"n": 0}, "n"),
            (Kind.CHAT, {"max_tokens": -1}, "max_tokens"),
            (Kind.CHAT, {"max_completion_tokens": -1}, "max_completion_tokens"),
            (Kind.CHAT, {"logit_bias": {"a": 1}}, "logit_bias"),
            (Kind.CHAT, {"allowed_token_ids": [10**9]}, "allowed_token_ids"),
            (Kind.CHAT, {"stop_token_ids": ["a"]}, "stop_token_ids[0]"),
            (Kind.COMPLETION, {"prompt": [10**8]}, "prompt"),
        ],
        ids=lambda value: str(value)[:50],
    )
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_refusal_names_the_field_in_one_sentence(
        self, engine: Engine, kind: Kind, given: dict[str, Any], param: str, stream: bool
    ) -> None:
        with pytest.raises(RequestRefused) as caught:
            await anext(engine.generate(kind, body(kind, stream=stream, **given), None))
        message = caught.value.message
        assert (caught.value.status, caught.value.param) == (400, param), message
        assert not any(
            noise in message for noise in ("\n", ".cc:", "<path>", "For further", "(parameter=")
        ), message
        assert len(message) < 450
