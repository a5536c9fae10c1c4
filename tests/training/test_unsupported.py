"""A base model that cannot be trained ends the job at its first attempt, before it is marked as running."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaForCausalLM

from records import jobs
from tests.training.place import Place, chats
from training import adapter

PLAIN = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}


def gemma(folder: Path, _: pytest.MonkeyPatch) -> None:
    """Soft-caps its attention."""
    words = len(adapter.load_tokenizer(folder))
    Gemma2ForCausalLM(
        Gemma2Config(vocab_size=words, intermediate_size=16, num_hidden_layers=1, **PLAIN)
    ).save_pretrained(folder)


def damaged(folder: Path, _: pytest.MonkeyPatch) -> None:
    for file in folder.glob("*.safetensors"):
        file.write_bytes(b"no weights")


def unknown(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "config.json").write_text('{"model_type": "of-the-future"}')


def gone(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "config.json").unlink()


def narrow(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes neither `segments` nor `logits_to_keep`."""

    def forward(self: Any, input_ids: Any, position_ids: Any, attention_mask: Any, use_cache: bool) -> None:
        raise AssertionError("not reached")

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)


@pytest.mark.parametrize("spoil", [gemma, damaged, unknown, gone, narrow])
def test_a_base_that_cannot_be_trained_ends_the_job_at_once(
    tmp_path: Path, small_base: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    base = tmp_path / "small"
    shutil.copytree(small_base, base)
    spoil(base, monkeypatch)
    place = Place(tmp_path / "home", base)
    job_id = place.submit(place.upload(chats(12)))
    place.work()
    job = place.job(job_id)
    assert job.status == jobs.FAILED
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("unsupported_base_model", "model")
    assert str(tmp_path) not in job.error["message"], "a path is the operator's business"
    assert "Fine-tuning job started" not in place.messages(job_id)
    place.close()
