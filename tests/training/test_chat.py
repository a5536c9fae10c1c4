"""Training shows a model what the engine would: vLLM's own functions are the reference."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest

from adapters.base import TINY
from records.dataset import parse_line
from tests.training.families import FAMILIES, tokenizer
from training.adapter import load_tokenizer
from training.chat import Renderer, tools_of

CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "track", "arguments": '{"b": 1, "a": "\\u00e9"}'},
}
BAD_CALL = {"id": "c2", "type": "function", "function": {"name": "track", "arguments": "[1"}}
TOOL = {"type": "function", "function": {"name": "track", "parameters": {"z": 1, "a": 2}, "strict": True}}
PLAIN_TOOL = {"type": "function", "function": {"description": "Finds.", "name": "find"}}
ASKED = {"role": "user", "content": "Where is it?", "name": "ann"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Where"}, {"type": "text", "text": "is it?"}]}
SAID = {"role": "assistant", "content": "There."}
CALLED = {"role": "assistant", "tool_calls": [CALL, BAD_CALL]}
FOUND = {
    "role": "tool",
    "tool_call_id": "c1",
    "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}],
}
SYSTEM = {"role": "system", "content": "Be kind."}
DEVELOPER = {"role": "developer", "content": "Be brief."}

CONVERSATIONS = {
    "plain": {"messages": [SYSTEM, ASKED, SAID]},
    "parts": {"messages": [PARTS, SAID]},
    "developer": {"messages": [DEVELOPER, ASKED, SAID]},
    "developer in the middle": {"messages": [SYSTEM, ASKED, SAID, DEVELOPER, PARTS, SAID]},
    "tools": {"messages": [ASKED, CALLED, FOUND, SAID], "tools": [TOOL, PLAIN_TOOL]},
    "thoughts": {"messages": [ASKED, SAID | {"reasoning": "Look."}]},
    "no tools": {"messages": [ASKED, SAID], "tools": []},
}
TEMPLATES = {
    "tiny": None,
    "strings": "{% for m in messages %}[{{ m.role }}{{ m.name }}]{{ m.content }}"
    "{{ m.tool_calls | tojson if m.tool_calls }}{% endfor %}"
    "{{ tools | tojson if tools }}{{ '[go]' if add_generation_prompt }}",
    "knows developer": "{% for m in messages %}{{ '<dev>' if m.role == 'developer' else m.role }}"
    "{{ m.content }}{% endfor %}{{ '[go]' if add_generation_prompt }}",
    "loops": "{% for m in messages %}{{ m.role }}{% for p in m['content'] | list %}({{ p.text }}){% endfor %}"
    "{% endfor %}{{ '[go]' if add_generation_prompt }}",
} | {family: tokenizer(family).chat_template for family in FAMILIES}


@pytest.fixture(scope="module")
def vllm() -> Any:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionToolsParam
    from vllm.exceptions import VLLMValidationError
    from vllm.renderers import chat_utils, hf

    return SimpleNamespace(chat=chat_utils, hf=hf, Tool=ChatCompletionToolsParam, Refused=VLLMValidationError)


def served(vllm: Any, tokenizer: Any, line: dict[str, Any], prompt: bool) -> str:
    """What vLLM's chat handler gives the engine (vllm/renderers/hf.py, render_messages)."""
    config = SimpleNamespace(
        multimodal_config=None,
        enable_prompt_embeds=False,
        is_multimodal_model=False,
        trust_remote_code=False,
        allowed_local_media_path="",
        allowed_media_domains=None,
        tokenizer_revision=None,
        revision=None,
        code_revision=None,
        tokenizer=str(TINY),
        model=str(TINY),
        hf_config=SimpleNamespace(model_type="llama"),
    )
    layout = vllm.hf._detect_content_format(tokenizer.chat_template, default="string")
    messages = json.loads(json.dumps(line["messages"]))
    conversation, _, _ = vllm.chat.parse_chat_messages(messages, config, layout)
    tools = [vllm.Tool.model_validate(tool).model_dump() for tool in line.get("tools") or ()] or None
    text: str = vllm.hf.safe_apply_chat_template(
        config, tokenizer, conversation, tools=tools, chat_template=tokenizer.chat_template, tokenize=False,
        add_generation_prompt=prompt,
    )  # fmt: skip
    return text


@pytest.mark.parametrize("prompt", [True, False], ids=["prompt", "whole"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("line", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_training_renders_a_conversation_as_the_engine_does(
    vllm: Any, line: dict[str, Any], template: str | None, prompt: bool
) -> None:
    coder = load_tokenizer(TINY)
    if template is not None:
        coder.chat_template = template
    example = parse_line(json.dumps(line).encode(), 1)
    renderer = Renderer(coder)
    try:
        theirs = served(vllm, coder, line, prompt)
    except vllm.Refused:  # what the engine refuses is refused here
        with pytest.raises((jinja2.TemplateError, TypeError)):
            renderer.render(renderer.messages(example), tools_of(example), prompt=prompt)
    else:
        assert renderer.render(renderer.messages(example), tools_of(example), prompt=prompt) == theirs
