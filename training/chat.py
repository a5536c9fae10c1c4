"""Renders messages as the serving engine will: the same template fed with the same, equally prepared input.

vLLM prepares messages before the template sees them (vllm/renderers/chat_utils.py and hf.py, 0.32); the
steps that touch text-only chats are repeated here, as training must not import the engine.
A test compares the two. Called by mask.py.
"""

from __future__ import annotations

import json
from typing import Any

import jinja2
from jinja2 import nodes
from transformers.utils.chat_template_utils import _compile_jinja_template

from records.dataset import Assistant, Content, Example, Message, Prompted, Signature, Tool


class Renderer:
    """One base model's tokenizer and what its template expects. `tokenizer` is a fast Hugging Face one."""

    def __init__(self, tokenizer: Any) -> None:
        """Raises ValueError for a tokenizer that has no chat template or cannot give offsets."""
        if not tokenizer.is_fast:
            raise ValueError("this base model has no tokenizer.json, so its answers cannot be located")
        self.tokenizer = tokenizer
        self.template: str = tokenizer.get_chat_template()
        self.takes_parts = _loops_over_content(self.template)
        marked = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
        self.ends: tuple[str, ...] = tuple({*tokenizer.all_special_tokens, *marked})  # may end a turn
        self.knows_developer = "'developer'" in self.template or '"developer"' in self.template

    def messages(self, example: Example) -> list[dict[str, Any]]:
        """What the template gets; one message each, so that indices are the example's."""
        return [self._message(message) for message in example.messages]

    def render(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *, prompt: bool
    ) -> str:
        """The text of a conversation; with `prompt` it ends where the assistant begins to speak.

        Raises jinja2.TemplateError when the template refuses the conversation.
        """
        if not self.knows_developer and any(message["role"] == "developer" for message in messages):
            messages = _merge_systems([_as_system(message) for message in messages])
        text: str = self.tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=prompt, tokenize=False
        )
        return text

    def _message(self, message: Message) -> dict[str, Any]:
        told: dict[str, Any] = {"role": message.role, "content": self._content(message)}
        if isinstance(message, Assistant) and message.tool_calls:
            told["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": _object(call.function.arguments)},
                }
                for call in message.tool_calls
            ]
        if isinstance(message, Assistant) and message.reasoning_content is not None:
            told["reasoning"] = told["reasoning_content"] = message.reasoning_content
        if isinstance(message, Tool):
            told["tool_call_id"] = message.tool_call_id
        elif message.name is not None:
            told["name"] = message.name
        if isinstance(message, Prompted) and message.role == "developer":
            told["tools"] = None
        return told

    def _content(self, message: Message) -> Any:
        texts = _texts(message.content)
        if self.takes_parts and not isinstance(message, Tool):
            return [{"type": "text", "text": text} for text in texts]
        return "\n".join(texts)


def tools_of(example: Example) -> list[dict[str, Any]] | None:
    """The tools as vLLM's request model writes them: its own fields, in its order, absent ones as null."""
    if not example.tools:
        return None
    return [{"type": "function", "function": _function(tool.function)} for tool in example.tools]


def _function(given: Signature) -> dict[str, Any]:
    told = {"name": given.name, "description": given.description, "parameters": given.parameters}
    return told if given.strict is None else told | {"strict": given.strict}


def _texts(content: Content | None) -> list[str]:
    if content is None:
        return []
    return [content] if isinstance(content, str) else [part.text for part in content]


def _object(arguments: str) -> dict[str, Any]:
    """Templates want a mapping; what is no JSON object becomes {}, as vLLM does."""
    try:
        value = json.loads(arguments) if arguments else {}
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _as_system(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] != "developer":
        return message
    return {name: value for name, value in message.items() if name != "tools"} | {"role": "system"}


def _merge_systems(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One system message in front, when there are several or it is not the first."""
    systems = [message for message in messages if message["role"] == "system"]
    if systems == messages[:1]:
        return messages
    texts = [
        said if isinstance(said, str) else "\n".join(part["text"] for part in said)
        for said in (message["content"] for message in systems)
    ]
    merged = {"role": "system", "content": "\n\n".join(text for text in texts if text)}
    return [merged, *(message for message in messages if message["role"] != "system")]


def _loops_over_content(template: str) -> bool:
    """Whether vLLM would hand this template content as a list of parts: it loops over a message's content."""
    try:
        tree = _compile_jinja_template(template).environment.parse(template)
    except jinja2.TemplateError:
        return False
    return any(_is_content(loop.iter) for loop in tree.find_all(nodes.For))


def _is_content(node: nodes.Node | None) -> bool:
    while isinstance(node, nodes.Filter | nodes.Test):
        node = node.node
    if isinstance(node, nodes.Getattr):
        return node.attr == "content"
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value == "content"
    return isinstance(node, nodes.Name) and node.name == "content"
