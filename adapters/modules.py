"""Which layers an adapter may change: the linear layers of attention and MLP, under the names that Llama,
Mistral, Qwen, Gemma and Phi share. The trainer adapts those that the base has, the engine serves these.

Not the embedding nor the LM head: vLLM 0.32 answers prompt log-probabilities wrongly with an adapted head,
and a changed vocabulary cannot be mixed in one batch.
"""

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
