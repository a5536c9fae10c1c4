"""Published chat formats for tests: a template (in templates/) and a tokenizer that is trained on the spot.

The templates are our own wording of each family's documented format; they give the texts that the family's
own template gives, but for the instructions around a list of tools, which are shortened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).with_name("templates")
WORDS = ["On its way.", "Where is order 12?", "Be kind.", "First. Second.", "assistant\n", "It is in Lyon."]


@dataclass(frozen=True)
class Family:
    """`marks` are special tokens, `plain` are tokens of their own that are not special, as published."""

    marks: tuple[str, ...]
    eos: str
    bos: str | None = None
    plain: tuple[str, ...] = ()


IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CALL = ("<tool_call>", "</tool_call>")
TURN = ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
PHI = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
FAMILIES = {
    "chatml": Family(IM, "<|im_end|>", plain=CALL),
    "chatml_open": Family(IM, "<|im_end|>"),
    "llama3": Family(
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        "<|begin_of_text|>",
    ),
    "mistral": Family(
        ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
         "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
        "</s>",
        "<s>",
    ),
    # As published, the token that ends a turn is not the one that is named as the end of a text.
    "gemma": Family(TURN, "<eos>", "<bos>"),
    "gemma3": Family(TURN, "<eos>", "<bos>"),
    "phi3": Family(PHI, "<|endoftext|>"),
    "phi4": Family((*IM, "<|im_sep|>"), "<|im_end|>"),
    "phi4_mini": Family(
        PHI, "<|endoftext|>", plain=("<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>")
    ),
    "qwen3": Family(IM, "<|im_end|>", plain=(*CALL, "<think>", "</think>")),
}  # fmt: skip


@cache
def tokenizer(name: str, merges: int = 120) -> Any:
    """A byte-level BPE with the family's tokens and template; without merges a character is a token."""
    family = FAMILIES[name]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        WORDS,
        trainers.BpeTrainer(
            vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False
        ),
    )
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in family.marks])
    made.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in family.plain])
    template = (TEMPLATES / f"{name}.jinja").read_text()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=family.eos, bos_token=family.bos, chat_template=template
    )
