"""The kernel for sequences of many lengths, which runs on CUDA only, gets what it must get to say what the
loop over the sequences says.

It is not run here: `contract` computes what its documentation and its own tests promise, and its own
operator checks types and shapes.
"""

from __future__ import annotations

import inspect
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.attention.varlen import varlen_attn
from transformers import MistralConfig, MistralForCausalLM

from tests.training.test_flat import batch, gradients
from training import adapter, attention, flat, loop
from training.failure import JobFailed

CPU = torch.device("cpu")


def contract(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """Of torch.nn.attention.varlen: query [T, H, D], key and value [T, G, D]; within a sequence token i sees
    i - left to i + right, where -1 is without limit."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert cu_seq_q.is_contiguous()
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    assert enable_gqa or query.shape[1] == key.shape[1]
    ends, (left, right) = cu_seq_q.tolist(), window_size
    assert (ends, ends[-1]) == (cu_seq_k.tolist(), len(query))
    groups = query.shape[1] // key.shape[1]
    done = []
    for start, end in pairwise(ends):
        assert 0 < end - start <= min(max_q, max_k)
        q, k, v = query[start:end], key[start:end], value[start:end]
        k, v = (torch.stack([part[:, head // groups] for head in range(q.shape[1])], 1) for part in (k, v))
        scores = torch.einsum("ihd,jhd->hij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
        place = torch.arange(end - start)
        ahead = place[None, :] - place[:, None]
        seen = torch.ones_like(ahead, dtype=torch.bool)
        seen &= (ahead >= -left) if left >= 0 else seen
        seen &= (ahead <= right) if right >= 0 else seen
        done.append(torch.einsum("hij,jhd->ihd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v))
    return torch.cat(done)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for the kernel, in the precision of the CPU, and notes what it is called with."""
    calls: list[dict[str, Any]] = []

    def noted(*tensors: Any, **how: Any) -> Tensor:
        calls.append({"query": tensors[0], "value": tensors[2], "longest": tensors[-1], **how})
        return contract(*tensors, **how)

    monkeypatch.setattr(attention, "varlen_attn", noted)
    monkeypatch.setattr(attention, "KERNEL_DTYPES", (torch.float64, torch.float32, torch.bfloat16))
    monkeypatch.setattr(attention, "_has_kernel", lambda _: True)
    return calls


def heads(tokens: int, query: int, groups: int, width: int = 8) -> list[Tensor]:
    torch.manual_seed(tokens)
    shapes = [(1, count, tokens, width) for count in (query, groups, groups)]
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("segments", [(1,), (9,), (5, 1, 17, 2), (3, 3, 3)])
@pytest.mark.parametrize("window", [None, 1, 2, 5, 17, 100])
@pytest.mark.parametrize(("query", "groups"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_the_kernel_by_its_contract_says_what_the_loop_says(
    kernel: list[Any], segments: tuple[int, ...], window: int | None, query: int, groups: int, scaling: float
) -> None:
    given = heads(sum(segments), query, groups)
    how: dict[str, Any] = {"segments": segments, "sliding_window": window, "scaling": scaling}
    found = []
    for bounds in (None, attention.bounds(segments, CPU)):
        out, _ = attention.attend(None, *given, None, bounds=bounds, **how)
        weight = torch.arange(out.numel(), dtype=torch.float64).view(out.shape).sin()
        found.append((out, *torch.autograd.grad((out * weight).sum(), given)))
    assert len(kernel) == 1
    for one_by_one, at_once in zip(*found, strict=True):
        assert one_by_one.shape == at_once.shape
        torch.testing.assert_close(at_once, one_by_one, rtol=1e-10, atol=1e-12)


def test_a_batch_through_the_kernel_teaches_the_same(
    model: Any, kernel: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = batch(20, 30, 25, 10)
    row, *none = flat.rows(examples, CPU)
    assert not none
    assert row.bounds is not None
    assert row.bounds.tolist() == [0, 20, 50, 75, 85]
    at_once = loop.backward(model, examples, CPU), gradients(model)
    assert [(call["longest"], call["window_size"]) for call in kernel] == [(30, (-1, 0))] * 2
    kernel.clear()
    monkeypatch.setattr(attention, "_has_kernel", lambda _: False)
    one_by_one = loop.backward(model, examples, CPU), gradients(model)
    assert not kernel
    assert at_once[0].loss == pytest.approx(one_by_one[0].loss, rel=1e-6)
    for name, gradient in at_once[1].items():
        torch.testing.assert_close(gradient, one_by_one[1][name], rtol=1e-4, atol=1e-6)


def test_in_a_bf16_base_the_kernel_is_asked_in_bf16(kernel: list[Any], tmp_path: Path) -> None:
    """As on CUDA: the LoRA's float32 does not reach it."""
    row, out, _ = meta(sliding(tmp_path), CPU)
    assert out.shape == (row.asked.shape[0], 500)
    assert [call["query"].dtype for call in kernel] == [torch.bfloat16] * 2
    assert [call["window_size"] for call in kernel] == [(5, 0)] * 2, "six tokens: itself and five before"


def test_the_real_operator_takes_the_arguments_forward_and_backward(tmp_path: Path) -> None:
    row, out, model = meta(sliding(tmp_path), torch.device("meta"))
    assert (out.device.type, out.shape) == ("meta", (row.asked.shape[0], 500))
    out.float().sum().backward()
    shapes = {parameter.grad.shape == parameter.shape for parameter in adapter.trained(model)}
    assert shapes == {True}


def test_the_real_operator_takes_tensors_of_cuda() -> None:
    """Forward alone: autograd on a fake CUDA tensor needs a build with CUDA."""
    mode = FakeTensorMode()

    def fake(*shape: int, dtype: torch.dtype = torch.bfloat16) -> FakeTensor:
        return FakeTensor(mode, torch.empty(shape, dtype=dtype, device="meta"), torch.device("cuda:0"))

    query, key, value = fake(1, 6, 20, 64), fake(1, 2, 20, 64), fake(1, 2, 20, 64)
    with mode:
        out, _ = attention.attend(
            None,
            query,
            key,
            value,
            None,
            segments=(12, 8),
            bounds=fake(3, dtype=torch.int32),
            sliding_window=6,
        )
    assert (out.shape, out.dtype, out.device.type) == ((1, 20, 6, 64), torch.bfloat16, "cuda")


def meta(model: Any, where: torch.device) -> tuple[flat.Flat, Tensor, Any]:
    """(a row of two sequences, what the bf16 model says of it, the model), all on that device."""
    (row,) = flat.rows(batch(12, 8), CPU)
    bounds = torch.tensor([0, 12, 20], dtype=torch.int32)
    tensors = (row.ids, row.positions, row.asked, row.answers)
    moved = flat.Flat(*(part.to(where) for part in tensors), row.segments, bounds.to(where))
    model = model.to(where)
    return moved, flat.logits(model, moved), model


def sliding(folder: Path) -> Any:
    config = MistralConfig(
        vocab_size=500, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=6, max_position_embeddings=64,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    return adapter.attach(adapter.load_base(folder, CPU, torch.bfloat16), 8, seed=1)


NARROW = (1, 2, 6, 8)


@pytest.mark.parametrize(
    ("dtype", "query", "value"),
    [
        (torch.float32, NARROW, NARROW),
        (torch.bfloat16, (1, 2, 6, 12), (1, 2, 6, 12)),
        (torch.bfloat16, (1, 2, 6, 264), (1, 2, 6, 264)),
        (torch.float16, NARROW, (1, 2, 6, 16)),
    ],
    ids=["float32", "not a multiple of 8", "too wide", "values of another width"],
)
def test_what_the_kernel_does_not_take_goes_through_the_loop(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, query: tuple[int, ...], value: tuple[int, ...]
) -> None:
    monkeypatch.setattr(attention, "varlen_attn", refuse)
    ours = [torch.randn(shape).to(dtype) for shape in (query, query, value)]
    how: dict[str, Any] = {"segments": (4, 2), "bounds": torch.tensor([0, 4, 6], dtype=torch.int32)}
    out, _ = attention.attend(None, *ours, None, **how)
    assert out.shape == (1, 6, 2, value[-1])
    with pytest.raises(AssertionError, match="the kernel is asked"):
        attention.attend(None, *(torch.randn(NARROW).half() for _ in range(3)), None, **how)


def refuse(*_: object, **__: object) -> Tensor:
    raise AssertionError("the kernel is asked")


@pytest.mark.parametrize(
    ("built", "capability", "has"), [(True, (8, 0), True), (True, (7, 5), False), (False, (9, 0), False)]
)
def test_a_card_or_a_build_without_the_kernel_has_the_loop(
    monkeypatch: pytest.MonkeyPatch, built: bool, capability: tuple[int, int], has: bool
) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert attention._has_kernel(torch.device("cuda")) is has
    assert attention.bounds((4, 2), CPU) is None


def test_the_stand_in_is_called_as_the_kernel_is() -> None:
    """Else the tests above would hold against a function that nobody has."""
    ours, theirs = (inspect.signature(one).parameters for one in (contract, varlen_attn))
    assert {name: one.kind for name, one in ours.items()}.items() <= {
        name: one.kind for name, one in theirs.items()
    }.items()
    assert list(ours)[:7] == list(theirs)[:7]


def test_attention_that_it_does_not_compute_is_refused() -> None:
    heads = torch.zeros(1, 2, 3, 4)
    with pytest.raises(JobFailed, match="'softcap', which training does not support") as caught:
        attention.attend(None, heads, heads, heads, None, segments=(3,), softcap=50.0)
    assert (caught.value.code, caught.value.param) == ("unsupported_base_model", "model")
    with pytest.raises(ValueError, match="no attention mask"):
        attention.attend(None, heads, heads, heads, torch.ones(1, 1, 3, 3), segments=(3,))
