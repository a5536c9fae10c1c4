"""Cross-entropy in pieces against torch's own, in value, gradient and hits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training import cross_entropy
from training.cross_entropy import CrossEntropy

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 1e-2}


@pytest.mark.parametrize("piece", [1, 300, 2**21])  # a row each; a few, and a rest; all at once
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_pieces_give_what_the_whole_gives(
    dtype: torch.dtype, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "PIECE", piece)
    torch.manual_seed(0)
    logits, answers = (4 * torch.randn(11, 97)).to(dtype), torch.randint(0, 97, (11,))
    answers[3] = logits[3].argmax()
    logits[4] += 300.0  # too large for exp
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, hits = CrossEntropy.apply(ours, answers)
    wide = theirs if dtype == torch.float64 else theirs.float()
    wanted = functional.cross_entropy(wide, answers, reduction="sum")
    (loss / 7).backward()
    (wanted / 7).backward()
    assert ours.grad is not None
    assert loss.dtype == wide.dtype
    assert torch.equal(ours.detach(), logits), "the logits are the model's own"
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 7)
    assert int(hits) == int((logits.argmax(-1) == answers).sum()) >= 1


def test_no_row_asks_for_nothing() -> None:
    logits = torch.randn(0, 97, requires_grad=True)
    loss, hits = CrossEntropy.apply(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert (float(loss.detach()), int(hits)) == (0.0, 0)
