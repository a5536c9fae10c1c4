"""Builds the tokenizer: byte-level BPE in which every group of up to three digits is one token.

Word merges are learnt from text without digits; the digit merges are then written out, so that a
number costs few tokens and is cut the same way everywhere. A line break is always a token of its own:
what stands before it can never change how the text after it is cut. Any UTF-8 comes back unchanged.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOOL_MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
SPLIT = (
    r"\n"
    r"|'(?:s|t|re|ve|m|ll|d)\b"
    r"| ?\p{L}+"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+"
    r"|[^\S\n]+(?![^\S\n]|\S)|[^\S\n]+(?=[^\S\n]\S)|[^\S\n]"
)
TEMPLATE = Path(__file__).with_name("template.jinja")


def _digit_merges() -> list[tuple[str, str]]:
    digits = "0123456789"
    pairs = [(a, b) for a in digits for b in digits]
    return pairs + [(a + b, c) for a, b in pairs for c in digits]


def _train_words(texts: Iterable[str], size: int) -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, TURN, END, *TOOL_MARKS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    built: dict[str, Any] = json.loads(tokenizer.to_str())
    return built


def build(texts: Iterable[str], size: int, context: int) -> PreTrainedTokenizerFast:
    """A tokenizer of exactly `size` tokens, from digit-free `texts`; the chat template is attached."""
    merges = _digit_merges()
    built = _train_words(texts, size - len(merges))
    vocabulary: dict[str, int] = built["model"]["vocab"]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
        built["model"]["merges"].append([left, right])
    if len(vocabulary) != size:
        raise ValueError(
            f"the text gives {len(vocabulary)} tokens, not {size}: give more text or a smaller size"
        )
    for token in built["added_tokens"]:
        token["special"] = token["content"] not in TOOL_MARKS
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(built)),
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=context,
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
    )
