"""Which layers an adapter may change: the linear layers of attention and MLP, under the names that Llama,
Mistral, Qwen, Gemma and Phi share. The trainer adapts those that the base has, the engine serves these.

Not the embedding nor the LM head: vLLM 0.32 answers prompt log-probabilities wrongly with an adapted head,
and a changed vocabulary cannot be mixed in one batch.
"""

from records.settings import SERVED_RANKS

PREFERRED_RANK = 16
SERVED_LINEARS = (
    "q_proj",
    "k_proj",
    "v_proj",
    "qkv_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "gate_up_proj",
    "down_proj",
)


def rank_for(largest: int) -> int:
    """PREFERRED_RANK, or the next lower one that an engine with `max_lora_rank=largest` serves."""
    return max(rank for rank in SERVED_RANKS if rank <= min(PREFERRED_RANK, largest))
