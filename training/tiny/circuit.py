"""The first weights: a copying circuit instead of pure chance, in two layers.

Copying is done by induction heads: look for an earlier match of the current token, say what came after it.
Found by chance they cost a model of this size most of its training, so it begins with them. In layer 0 one
head notes, in coordinates kept free for it, which the previous token was; in layer 1 four heads look for a
place whose note equals the current token and say the token there. All of it is trained like all else.
Called by model.py. The rotation is RoPE's in transformers' Llama, whose pairs are (f, f + size/2).
"""

import math

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

NOTE = 32
"""How many of the last coordinates the embedding leaves free for the note."""
_SHARED = 0.5
"""The first coordinate of every embedding: equal for all tokens, so that a head can look without reading."""
_SPREAD = 0.1
_MATCHING_HEADS = 4


def _orthogonal(rows: int, columns: int) -> Tensor:
    made = torch.empty(rows, columns)
    torch.nn.init.orthogonal_(made)
    return made


def _look_back(size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Query and key columns, (size,), whose rotated product peaks one token back.

    Only the pairs that turn fast tell near places apart.
    """
    rates = theta ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    fast = 2.0 * (rates > 0.05)
    return torch.cat([fast, 0.0 * fast]), torch.cat([fast * torch.cos(rates), fast * torch.sin(rates)])


def begin(model: LlamaForCausalLM) -> None:
    """Writes the circuit into a freshly initialised model of at least two layers."""
    config = model.config
    size, words = config.head_dim, slice(1, config.hidden_size - NOTE)
    count = config.hidden_size - NOTE - 1
    embedding = model.model.embed_tokens.weight
    first, second = (model.model.layers[index].self_attn for index in (0, 1))
    with torch.no_grad():
        embedding.normal_()
        embedding[:, 0] = 0.0
        embedding[:, -NOTE:] = 0.0
        embedding *= _SPREAD * math.sqrt(count) / embedding.norm(dim=1, keepdim=True)
        embedding[:, 0] = _SHARED
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight *= 0.25
            layer.mlp.down_proj.weight *= 0.25
        query, key = _look_back(size, config.rope_parameters["rope_theta"])
        read = _orthogonal(NOTE, count)
        for weight in (first.q_proj.weight, first.k_proj.weight, first.v_proj.weight):
            weight[:size] = 0.0
        first.q_proj.weight[:size, 0] = query
        first.k_proj.weight[:size, 0] = key
        first.v_proj.weight[:NOTE, words] = read
        first.o_proj.weight[:, :size] = 0.0
        first.o_proj.weight[-NOTE:, :NOTE] = _SPREAD * torch.eye(NOTE)
        said = _orthogonal(min(_MATCHING_HEADS * size, count), count)
        slow = torch.arange(size // 4, size // 2)
        places = torch.cat([slow, slow + size // 2])
        for head in range(_MATCHING_HEADS):
            rows = slice(head * size, (head + 1) * size)
            part = math.sqrt(5.0) * _orthogonal(len(places), NOTE)
            query_rows, key_rows = (
                torch.zeros(size, config.hidden_size),
                torch.zeros(size, config.hidden_size),
            )
            query_rows[places, words] = part @ read
            key_rows[places, -NOTE:] = part
            second.q_proj.weight[rows], second.k_proj.weight[rows] = query_rows, key_rows
            second.v_proj.weight[rows] = 0.0
            second.v_proj.weight[rows, words] = said[rows]
            second.o_proj.weight[:, rows] = 0.0
            second.o_proj.weight[words, rows] = 0.4 * said[rows].T
