"""What a line of a training file is. Read by the server at upload and by the trainer at the start of a job:
one definition for both."""

from records.dataset.formats import Completion, Example, Line, Pair
from records.dataset.messages import (
    Assistant,
    Content,
    Message,
    Prompted,
    Signature,
    TextPart,
    Tool,
    ToolCall,
)
from records.dataset.reading import (
    MAX_LINE_BYTES,
    MAX_MESSAGES,
    MIN_EXAMPLES,
    SHOWN_ERRORS,
    InvalidLine,
    Reader,
    check,
    parse,
    parse_line,
)

__all__ = [
    "MAX_LINE_BYTES", "MAX_MESSAGES", "MIN_EXAMPLES", "SHOWN_ERRORS", "Assistant", "Completion", "Content",
    "Example", "InvalidLine", "Line", "Message", "Pair", "Prompted", "Reader", "Signature", "TextPart",
    "Tool", "ToolCall", "check", "parse", "parse_line",
]  # fmt: skip
