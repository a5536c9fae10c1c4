"""Slots of a linear layer, native and in torch, against float64: random shapes, ranks, slices and mixes."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine import lora_native
from server.engine.lora_layers import Slots
from server.engine.lora_native import NativeSlots
from server.engine.lora_plan import Plan
from server.engine.lora_torch import MASKED_ROWS, TorchSlots

SLOTS, MOST = 9, 64
KINDS = ("native", "torch")
Pair = tuple[torch.Tensor, torch.Tensor]


@st.composite
def mixes(draw: st.DrawFn) -> tuple[list[int], list[int], int, list[int], int, float]:
    """(slot of each row, rank of each slot, inputs, widths of the slices, seed, scale)"""
    run = st.tuples(st.integers(-1, SLOTS - 1), st.sampled_from([1, 1, 1, 2, 3, 9, 40]))
    rows = [slot for slot, length in draw(st.lists(run, min_size=1, max_size=24)) for _ in range(length)]
    ranks = draw(st.lists(st.sampled_from([0, 1, 8, 16, 24, 32, 64]), min_size=SLOTS, max_size=SLOTS))
    inputs = draw(st.sampled_from([2, 18, 64, 192]))
    widths = draw(st.lists(st.sampled_from([16, 48, 160]), min_size=1, max_size=3))
    return rows, ranks, inputs, widths, draw(st.integers(0, 2**31)), draw(st.sampled_from([1.0, 0.5]))


def made(ranks: list[int], inputs: int, widths: list[int]) -> list[list[Pair | None]]:
    """Each slot's A and B of each slice; none where the rank is 0."""

    def pair(rank: int, width: int) -> Pair | None:
        a, b = torch.randn(rank, inputs) / inputs**0.5, torch.randn(width, rank) / max(rank, 1) ** 0.5
        return (a.bfloat16(), b.bfloat16()) if rank else None

    return [[pair(rank, width) for width in widths] for rank in ranks]


def empty(kind: str, inputs: int, widths: list[int]) -> Slots:
    if kind == "native":
        return NativeSlots(SLOTS, inputs, widths)
    return TorchSlots(SLOTS, inputs, widths, MOST, torch.bfloat16)


def expected(
    y: torch.Tensor, x: torch.Tensor, rows: list[int], weights: list[list[Pair | None]], scale: float
) -> torch.Tensor:
    out = y.double().clone()
    for row, slot in enumerate(rows):
        left = 0
        for pair in weights[slot] if slot >= 0 else []:
            width = y.shape[1] // len(weights[slot]) if pair is None else pair[1].shape[0]
            if pair is not None:
                low = pair[0].double() @ x[row].double()
                out[row, left : left + width] += scale * (pair[1].double() @ low)
            left += width
    return out


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=120, deadline=None)
@given(mixes())
def test_each_row_gets_its_own_adapters_product_and_base_rows_stay(kind: str, mix: tuple) -> None:
    rows, ranks, inputs, widths, seed, scale = mix
    torch.manual_seed(seed)
    weights, slots = made(ranks, inputs, widths), empty(kind, inputs, widths)
    for slot, pairs in enumerate(weights):
        slots.put(slot, slots.pack(pairs))
    x, y = torch.randn(len(rows), inputs).bfloat16(), torch.randn(len(rows), sum(widths)).bfloat16()
    want, before = expected(y, x, rows, weights, scale), y.clone()
    slots.add(y, x, Plan(torch.tensor(rows)), scale)
    torch.testing.assert_close(y.double(), want, atol=0.06, rtol=0.03)
    untouched = torch.tensor([slot < 0 or not ranks[slot] for slot in rows])
    assert torch.equal(y[untouched], before[untouched])


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_share_a_long_prompt_beside_short_turns_and_leave_nothing_out(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    rows, ranks, widths = [0] * 70 + [1, 2, 3, 3, 4], [8, 64, 16, 0, 40], [896, 128, 48]
    weights, slots = made(ranks, 192, widths), empty("native", 192, widths)
    for slot, pairs in enumerate(weights):
        slots.put(slot, slots.pack(pairs))
    x, y = torch.randn(len(rows), 192).bfloat16(), torch.zeros(len(rows), sum(widths)).bfloat16()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    slots.add(y, x, Plan(torch.tensor(rows)), 1.0)
    want = expected(torch.zeros(len(rows), sum(widths)), x, rows, weights, 1.0)
    torch.testing.assert_close(y.double(), want, atol=0.06, rtol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_can_be_taken_by_a_smaller_adapter_and_emptied(kind: str) -> None:
    torch.manual_seed(0)
    slots, (large, small) = empty(kind, 64, [48]), made([32, 8], 64, [48])
    plan, x = Plan(torch.tensor([3, -1, 3])), torch.randn(3, 64).bfloat16()
    slots.put(3, slots.pack(large))
    slots.put(3, slots.pack(small))
    y = torch.zeros(3, 48).bfloat16()
    slots.add(y, x, plan, 1.0)
    want = expected(torch.zeros(3, 48), x, [0, -1, 0], [small], 1.0)
    torch.testing.assert_close(y.double(), want, atol=0.06, rtol=0.03)
    slots.reset(3)
    before = y.clone()
    slots.add(y, x, plan, 1.0)
    assert torch.equal(y, before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_in_float32_and_a_view_with_gaps_are_added_to_as_well(kind: str) -> None:
    torch.manual_seed(0)
    slots, weights = empty(kind, 64, [48]), made([16], 64, [48])
    slots.put(0, slots.pack(weights[0]))
    x, wide = torch.randn(5, 64), torch.randn(5, 96)
    y = wide[:, ::2]
    want = expected(y, x.bfloat16(), [0] * 5, weights, 1.0)
    slots.add(y, x, Plan(torch.zeros(5, dtype=torch.int64)), 1.0)
    torch.testing.assert_close(wide[:, ::2].double(), want, atol=0.06, rtol=0.03)


def test_a_masked_product_gives_what_pairs_of_products_give() -> None:
    torch.manual_seed(0)
    slots, weights = TorchSlots(SLOTS, 64, [48, 16], MOST, torch.float32), made([16] * SLOTS, 64, [48, 16])
    for slot, pairs in enumerate(weights):
        slots.put(slot, slots.pack(pairs))
    rows = [slot % SLOTS for slot in range(MASKED_ROWS)]
    x = torch.randn(2 * MASKED_ROWS, 64)
    few, many = torch.zeros(MASKED_ROWS, 64), torch.zeros(2 * MASKED_ROWS, 64)
    slots.add(few, x[:MASKED_ROWS], Plan(torch.tensor(rows)), 0.5)
    slots.add(many, x, Plan(torch.tensor(rows * 2)), 0.5)
    torch.testing.assert_close(few, many[:MASKED_ROWS])


def test_the_kernel_is_built_and_used_where_the_processor_multiplies_in_bf16() -> None:
    able = torch.cpu._is_avx512_bf16_supported()
    assert (lora_native.library() is not None) == able, "no C compiler at the install? See pyproject.toml."
    assert lora_native.fits(64, [48], torch.bfloat16) == able
    assert not lora_native.fits(64, [48], torch.float32)
    assert not lora_native.fits(63, [48], torch.bfloat16)
    assert not lora_native.fits(64, [48, 8], torch.bfloat16)


def test_on_another_processor_the_source_compiles_to_a_kernel_that_says_so(
    tmp_path: Path,
) -> None:
    source = Path(lora_native.__file__).parent / "native" / "lora.c"
    built = tmp_path / "lora.so"
    subprocess.run(["cc", "-DCHORUS_NO_KERNEL", "-shared", "-fPIC", source, "-o", built], check=True)
    assert ctypes.CDLL(str(built)).chorus_lora_usable() == 0


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
