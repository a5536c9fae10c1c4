"""Slots of a linear layer, by each kernel and torch, against float64: random shapes, ranks, slices, mixes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine import lora_kernels, lora_native
from server.engine.lora_plan import Plan
from server.engine.lora_torch import MASKED_ROWS, TorchSlots
from tests.server.products import DTYPES, KINDS, MOST, SLOTS, check, empty, made


@st.composite
def mixes(draw: st.DrawFn) -> tuple[list[int], list[int], int, list[int], int, float]:
    """(slot of each row, rank of each slot, inputs, widths of the slices, seed, scale)"""
    run = st.tuples(st.integers(-1, SLOTS - 1), st.sampled_from([1, 1, 1, 2, 3, 9, 40]))
    rows = [slot for slot, length in draw(st.lists(run, min_size=1, max_size=24)) for _ in range(length)]
    ranks = draw(st.lists(st.sampled_from([0, 1, 8, 16, 24, 32, 64]), min_size=SLOTS, max_size=SLOTS))
    inputs = draw(st.sampled_from([2, 18, 64, 192]))
    widths = draw(st.lists(st.sampled_from([16, 48, 160]), min_size=1, max_size=3))
    return rows, ranks, inputs, widths, draw(st.integers(0, 2**31)), draw(st.sampled_from([1.0, 0.5]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(mixes())
def test_each_row_gets_its_own_adapters_product_and_base_rows_stay(
    kind: str, dtype: torch.dtype, mix: tuple
) -> None:
    rows, ranks, inputs, widths, seed, scale = mix
    torch.manual_seed(seed)
    weights, slots = made(ranks, inputs, widths), empty(kind, inputs, widths, dtype)
    for slot, pairs in enumerate(weights):
        slots.put(slot, slots.pack(pairs))
    x, y = torch.randn(len(rows), inputs).to(dtype), torch.randn(len(rows), sum(widths)).to(dtype)
    before = y.clone()
    slots.add(y, x, Plan(torch.tensor(rows)), scale)
    check(y, before, x, rows, weights, scale)
    untouched = torch.tensor([slot < 0 or not ranks[slot] for slot in rows])
    assert torch.equal(y[untouched], before[untouched])


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_long_prompt_beside_short_turns_and_leave_nothing_out(
    kind: str, dtype: torch.dtype, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    rows, ranks, widths = [0] * 70 + [1, 2, 3, 3, 4], [8, 64, 16, 0, 40], [896, 128, 48]
    weights, slots = made(ranks, 192, widths), empty(kind, 192, widths, dtype)
    for slot, pairs in enumerate(weights):
        slots.put(slot, slots.pack(pairs))
    x, y = torch.randn(len(rows), 192).to(dtype), torch.zeros(len(rows), sum(widths)).to(dtype)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    slots.add(y, x, Plan(torch.tensor(rows)), 1.0)
    check(y, torch.zeros_like(y), x, rows, weights)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_can_be_taken_by_a_smaller_adapter_and_emptied(kind: str) -> None:
    torch.manual_seed(0)
    slots, (large, small) = empty(kind, 64, [48]), made([32, 8], 64, [48])
    plan, x = Plan(torch.tensor([3, -1, 3])), torch.randn(3, 64).bfloat16()
    slots.put(3, slots.pack(large))
    slots.put(3, slots.pack(small))
    y = torch.zeros(3, 48).bfloat16()
    slots.add(y, x, plan, 1.0)
    check(y, torch.zeros_like(y), x, [0, -1, 0], [small])
    slots.reset(3)
    before = y.clone()
    slots.add(y, x, plan, 1.0)
    assert torch.equal(y, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_view_with_gaps_is_added_to_as_well(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    slots, weights = empty(kind, 64, [48], dtype), made([16], 64, [48])
    slots.put(0, slots.pack(weights[0]))
    x, wide = torch.randn(5, 128).to(dtype)[:, ::2], torch.randn(5, 96).to(dtype)
    before = wide.clone()
    slots.add(wide[:, ::2], x, Plan(torch.zeros(5, dtype=torch.int64)), 1.0)
    check(wide[:, ::2], before[:, ::2], x, [0] * 5, weights)
    assert torch.equal(wide[:, 1::2], before[:, 1::2])


def test_a_base_in_float16_is_added_to_out_of_float32() -> None:
    torch.manual_seed(0)
    weights = made([16], 64, [48])
    for kernel in lora_kernels.kernels():
        slots = empty(kernel, 64, [48])
        slots.put(0, slots.pack(weights[0]))
        x, y = torch.randn(5, 64).half(), torch.randn(5, 48).half()
        before = y.clone()
        slots.add(y, x, Plan(torch.zeros(5, dtype=torch.int64)), 1.0)
        check(y, before, x, [0] * 5, weights)


@pytest.mark.parametrize("kind", KINDS)
def test_one_plan_serves_layers_in_both_kinds_of_numbers(kind: str) -> None:
    torch.manual_seed(0)
    plan, weights = Plan(torch.tensor([0, 1, 1])), made([16, 8], 64, [48])
    for dtype in (*DTYPES, *DTYPES):
        slots = empty(kind, 64, [48], dtype)
        for slot, pairs in enumerate(weights):
            slots.put(slot, slots.pack(pairs))
        x, y = torch.randn(3, 64).to(dtype), torch.zeros(3, 48).to(dtype)
        slots.add(y, x, plan, 1.0)
        check(y, torch.zeros_like(y), x, [0, 1, 1], weights)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_a_number_and_what_is_infinite_stay_so(kind: str) -> None:
    torch.manual_seed(0)
    slots, weights = empty(kind, 64, [48]), made([16], 64, [48])
    slots.put(0, slots.pack(weights[0]))
    y = torch.zeros(3, 48).bfloat16()
    # The last bits of the first are all that tells it from infinity, and go when it is rounded.
    y.view(torch.int16)[:2] = torch.tensor([[0x7F81], [-1]], dtype=torch.int16)
    y[2] = torch.inf
    slots.add(y, torch.randn(3, 64).bfloat16(), Plan(torch.tensor([0, 0, 0])), 1.0)
    assert torch.isnan(y[:2]).all()
    assert (y[2] == torch.inf).all()


def test_a_masked_product_and_pairs_of_products_give_the_same() -> None:
    torch.manual_seed(0)
    slots, weights = TorchSlots(SLOTS, 64, [48, 16], MOST, torch.bfloat16), made([16] * SLOTS, 64, [48, 16])
    for slot, pairs in enumerate(weights):
        slots.put(slot, slots.pack(pairs))
    rows = [slot % SLOTS for slot in range(MASKED_ROWS)]
    x = torch.randn(2 * MASKED_ROWS, 64).bfloat16()
    few, many = torch.zeros(MASKED_ROWS, 64).bfloat16(), torch.zeros(2 * MASKED_ROWS, 64).bfloat16()
    slots.add(few, x[:MASKED_ROWS], Plan(torch.tensor(rows)), 0.5)
    slots.add(many, x, Plan(torch.tensor(rows * 2)), 0.5)
    check(few, torch.zeros_like(few), x[:MASKED_ROWS], rows, weights, 0.5)
    check(many, torch.zeros_like(many), x, rows * 2, weights, 0.5)


def test_the_kernels_take_adapters_in_bf16_of_layers_that_are_cut_in_their_blocks() -> None:
    assert lora_native.fits(64, [48], torch.bfloat16)
    assert not lora_native.fits(64, [48], torch.float32)
    assert not lora_native.fits(63, [48], torch.bfloat16)
    assert not lora_native.fits(64, [48, 8], torch.bfloat16)


def test_what_is_infinite_of_one_adapter_stays_in_its_own_rows() -> None:
    """In float16, where a step of more than two adapters is one product over all slots."""
    torch.manual_seed(0)
    slots, weights = TorchSlots(4, 64, [48], 8, torch.float16), made([8, 8, 8, 8], 64, [48])
    for slot, pairs in enumerate(weights):
        scale = 60_000 if slot == 1 else 1
        slots.put(slot, slots.pack([pair and (pair[0].half() * scale, pair[1].half()) for pair in pairs]))
    x, y = torch.full((5, 64), 20.0).half(), torch.zeros(5, 48).half()
    slots.add(y, x, Plan(torch.tensor([0, 1, 2, -1, 3])), 1.0)
    assert not torch.isfinite(y[1]).all(), "else this shows nothing"
    assert torch.isfinite(y[[0, 2, 3, 4]]).all()
