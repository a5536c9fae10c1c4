"""The checks of what runs on a GPU find a deviation where there is one, and none where there is not.

They run here on the CPU, the kernel by its contract.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import card, gpu_checks, gpu_kernel, gpu_paths
from bench.gpu_kernel import Check
from tests.training.small_base import build
from tests.training.test_attention import CPU, contract
from tests.training.test_flat import batch
from training import adapter, attention


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("base") / "small")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The contract of the kernel in its place, on shapes that take no time."""
    monkeypatch.setattr(attention, "varlen_attn", contract)
    monkeypatch.setattr(attention, "_has_kernel", lambda _: True)
    monkeypatch.setattr(gpu_kernel, "SEGMENTS", ((9,), (5, 1, 17)))
    monkeypatch.setattr(gpu_kernel, "HEADS", ((4, 2, 8), (3, 1, 16)))
    monkeypatch.setattr(gpu_kernel, "WINDOWS", (None, 2, 100))
    return monkeypatch


def failed(found: list[Check]) -> set[str]:
    assert found
    return {one.name for one in found if not one.holds}


def test_a_kernel_by_its_contract_holds_in_both_types(kernel: Any) -> None:
    found = list(gpu_kernel.kernel(CPU))
    assert [one.name for one in found] == ["kernel bfloat16", "kernel float16"]
    assert not failed(found)
    assert all(0 < one.deviation < 1e-2 for one in found)


def wider(*tensors: Any, window_size: tuple[int, int], **how: Any) -> Tensor:
    """A token more than asked."""
    left, right = window_size
    return contract(*tensors, window_size=(left + (left >= 0), right), **how)


def mixed(query: Tensor, key: Tensor, value: Tensor, *others: Any, **how: Any) -> Tensor:
    """Heads in the wrong groups."""
    return contract(query, key.roll(1, 1), value.roll(1, 1), *others, **how)


def nowhere(*tensors: Any, **how: Any) -> Tensor:
    return contract(*tensors, **how) * torch.nan


@pytest.mark.parametrize("wrong", [wider, mixed, nowhere])
def test_a_kernel_that_computes_something_else_does_not(kernel: pytest.MonkeyPatch, wrong: Any) -> None:
    kernel.setattr(attention, "varlen_attn", wrong)
    assert failed(list(gpu_kernel.kernel(CPU))) == {"kernel bfloat16", "kernel float16"}


def test_a_loop_in_the_kernels_place_is_no_check_of_it(kernel: pytest.MonkeyPatch) -> None:
    kernel.setattr(attention, "_has_kernel", lambda _: False)
    with pytest.raises(RuntimeError, match="was not asked"):
        list(gpu_kernel.kernel(CPU))


def test_all_that_can_be_checked_on_a_cpu_holds_there(small_base: Path, kernel: Any) -> None:
    found = list(gpu_paths.checks(small_base, batch(*range(5, 29)), CPU))
    assert not failed(found)
    assert {one.name for one in found} >= {
        "kernel bfloat16", "gradients over bf16", "checkpointing, loss", "checkpointing, gradients",
        "losses of two epochs", "resume, what is put back", "resume, losses", "resume, adapter",
    }  # fmt: skip
    figures = gpu_paths.named(found)
    assert figures["resume_what_is_put_back"] == 0
    assert len(figures) == 2 * len(found)


def test_a_state_that_is_not_put_back_whole_is_found(
    small_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "restore", lambda model, tensors: None)
    found = failed(list(gpu_checks.resuming(small_base, batch(*range(5, 29)), CPU)))
    assert found >= {"resume, what is put back", "resume, adapter"}


def test_a_layer_that_computes_something_else_the_second_time_is_found(
    small_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrap(model: Any) -> None:
        for parameter in adapter.trained(model):
            parameter.data *= 1.01

    monkeypatch.setattr(gpu_checks.recompute, "wrap", wrap)
    found = failed(list(gpu_checks.checkpointing(small_base, batch(20, 30), CPU)))
    assert found == {"checkpointing, loss", "checkpointing, gradients"}


def test_an_older_kernel_is_asked_without_the_word_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def older(query: Tensor, *others: Any, scale: float | None, window_size: tuple[int, int]) -> Tensor:
        return query

    monkeypatch.setattr(attention, "varlen_attn", older)
    card.fit_kernel()
    heads = gpu_kernel.random_heads(6, CPU, 4, 2, 8)
    bounds = torch.tensor([0, 6], dtype=torch.int32)
    found, _ = attention.attend(None, *(one.bfloat16() for one in heads), None, segments=(6,), bounds=bounds)
    assert found.shape == (1, 6, 4, 8)


def test_the_kernel_of_our_torch_stays_as_it_is() -> None:
    ours = vars(attention)["varlen_attn"]
    card.fit_kernel()
    assert vars(attention)["varlen_attn"] is ours
    assert "enable_gqa" in inspect.signature(ours).parameters


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="No GPU is at hand"):
        card.describe("cuda")
    assert "torch" in card.describe("cpu")
