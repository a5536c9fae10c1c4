"""The CPU LoRA products against a float64 reference: random shapes, ranks, slices and mixes of adapters."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.lora_cpu import GroupedPunicaWrapper
from server.engine.lora_plan import Plan
from tests.server.products import Pair, check


def wrapper_for(indices: list[int], sampler: list[int], slots: int) -> GroupedPunicaWrapper:
    """A wrapper after `update_metadata` for tokens whose slots are `indices` (-1: base model)."""
    wrapper = GroupedPunicaWrapper(max(len(indices), 64), 64, torch.device("cpu"))
    # vLLM speaks of adapters by id (> 0, 0 for none) and finds the slot by its place in a list.
    ids = [slot + 100 for slot in range(slots)]
    mapping = SimpleNamespace(
        index_mapping=tuple(i + 100 if i >= 0 else 0 for i in indices),
        prompt_mapping=tuple(i + 100 if i >= 0 else 0 for i in sampler),
        is_prefill=True,
    )
    wrapper.update_metadata(mapping, ids, slots, 1000)
    return wrapper


@st.composite
def mixes(draw: st.DrawFn) -> tuple[int, list[int], int, int, list[int], int, torch.dtype]:
    slots = draw(st.integers(1, 9))
    tokens = draw(st.lists(st.integers(-1, slots - 1), min_size=1, max_size=48))
    rank = draw(st.sampled_from([1, 8, 16, 32]))
    width = draw(st.sampled_from([8, 24, 64]))
    slices = draw(st.lists(st.sampled_from([8, 16, 40]), min_size=1, max_size=3))
    seed = draw(st.integers(0, 2**31))
    return slots, tokens, rank, width, slices, seed, draw(st.sampled_from([torch.float32, torch.bfloat16]))


def weights(
    slots: int, rank: int, width: int, slices: list[int], dtype: torch.dtype
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    a = tuple((torch.randn(slots, 1, rank, width) / width**0.5).to(dtype) for _ in slices)
    b = tuple((torch.randn(slots, 1, out, rank) / rank**0.5).to(dtype) for out in slices)
    return a, b


def of_slots(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> list[list[Pair | None]]:
    """Each slot's A and B of each slice."""
    return [
        [(first[slot, 0], second[slot, 0]) for first, second in zip(a, b, strict=True)]
        for slot in range(a[0].shape[0])
    ]


@settings(max_examples=150, deadline=None)
@given(mixes())
def test_linear_products_match_float64_for_any_mix(mix: tuple) -> None:
    slots, tokens, rank, width, slices, seed, dtype = mix
    torch.manual_seed(seed)
    a, b = weights(slots, rank, width, slices, dtype)
    x, y = torch.randn(len(tokens), width).to(dtype), torch.randn(len(tokens), sum(slices)).to(dtype)
    before = y.clone()
    wrapper_for(tokens, tokens, slots).add_lora_linear(y, x, a, b, 1.0, tuple(slices))
    check(y, before, x, tokens, of_slots(a, b))
    untouched = torch.tensor([slot < 0 for slot in tokens])
    assert torch.equal(y[untouched], before[untouched]), "a base-model row was changed"


@settings(max_examples=60, deadline=None)
@given(mixes())
def test_shrink_then_expand_is_the_same_product(mix: tuple) -> None:
    slots, tokens, rank, width, slices, seed, dtype = mix
    torch.manual_seed(seed)
    a, b = weights(slots, rank, width, slices, dtype)
    x, y = torch.randn(len(tokens), width).to(dtype), torch.randn(len(tokens), sum(slices)).to(dtype)
    before = y.clone()
    wrapper = wrapper_for(tokens, tokens, slots)
    low = torch.zeros(len(slices), len(tokens), rank, dtype=torch.float32)
    wrapper.add_shrink(low, x, a, 1.0)
    wrapper.add_expand(y, low, b, tuple(slices))
    check(y, before, x, tokens, of_slots(a, b))


@settings(max_examples=40, deadline=None)
@given(mixes())
def test_embedding_rows_without_an_adapter_stay_as_they_are(mix: tuple) -> None:
    slots, tokens, rank, _, slices, seed, _ = mix
    torch.manual_seed(seed)
    b = torch.randn(slots, 1, slices[0], rank)
    low, y = torch.randn(len(tokens), rank), torch.randn(len(tokens), slices[0])
    expected = y.double().clone()
    for row, slot in enumerate(tokens):
        if slot >= 0:
            expected[row] += low[row].double() @ b[slot, 0].double().t()
    wrapper_for(tokens, tokens, slots).add_lora_embedding(y, low, b)
    torch.testing.assert_close(y.double(), expected, atol=1e-4, rtol=1e-4)


def test_logits_of_sampled_rows_get_their_adapter_and_a_prompts_rows_do_no_harm() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 1, 4, 8), torch.randn(2, 1, 12, 4)
    wrapper = wrapper_for([0, 0, -1, 1], [0, -1, 1], slots=2)
    x, y = torch.randn(3, 8), torch.randn(3, 14)  # 14: the vocabulary is padded
    expected = y.clone()
    for row, slot in ((0, 0), (2, 1)):
        expected[row, :12] += x[row] @ a[slot, 0].t() @ b[slot, 0].t()
    wrapper.add_lora_logits(y, x, a, b, 1.0)
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
    prompt_rows = torch.randn(39, 14)
    before = prompt_rows.clone()
    wrapper.add_lora_logits(prompt_rows, torch.randn(39, 8), a, b, 1.0)  # stock vLLM dies here
    assert torch.equal(prompt_rows, before)


def test_a_run_of_rows_is_planned_as_a_view_and_scattered_rows_by_index() -> None:
    groups = dict(Plan(torch.tensor([2, 2, -1, 0, 1, 0])).groups())
    assert groups[2] == slice(0, 2)
    assert groups[1] == slice(4, 5)
    assert torch.equal(groups[0], torch.tensor([3, 5]))
