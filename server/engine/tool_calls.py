"""Forced tool calls fit their function's schema, and are written compactly. Called by vllm.py.

vLLM 0.32 holds only the arguments of `strict` functions to their schema, and allows white space without end
between them: a small model may write nothing else until it is cut.
"""

from __future__ import annotations

from typing import Any

WHITE_SPACE = 1  # characters in a row outside of strings, as in the calls that models are taught


def hold_to_schemas(renderer: Any) -> None:
    """Make the grammars of calls by our rule, in the object that makes vLLM's requests out of chats."""
    parser = renderer.parser
    if parser is not None and parser.tool_parser_cls is not None:
        parser.tool_parser_cls = _held(parser.tool_parser_cls)


def _held(tool_parser: Any) -> Any:
    """The class `tool_parser` with other grammars. Where it makes none (None), vLLM holds forced calls to the
    schemas by JSON alone, as compactly as its flags say."""
    from vllm.tool_parsers.tool_strict_level import ToolStrictLevel

    def get_structural_tag(
        self: Any, request: Any, *, reasoning: bool = False, strict_level: Any = ToolStrictLevel.AUTO
    ) -> Any:
        if request.tool_choice not in (None, "none", "auto"):
            strict_level = ToolStrictLevel.PARAMETER
        tag = tool_parser.get_structural_tag(self, request, reasoning=reasoning, strict_level=strict_level)
        _write_compactly(tag)
        return tag

    return type(tool_parser.__name__, (tool_parser,), {"get_structural_tag": get_structural_tag})


def _write_compactly(node: Any) -> None:
    """In a structural tag of xgrammar, at any depth."""
    from pydantic import BaseModel
    from xgrammar.structural_tag import JSONSchemaFormat

    if isinstance(node, JSONSchemaFormat):
        node.max_whitespace_cnt = WHITE_SPACE
    elif isinstance(node, BaseModel):
        _write_compactly([getattr(node, name) for name in type(node).model_fields])
    elif isinstance(node, list | tuple):
        for part in node:
            _write_compactly(part)
