"""The base model with a LoRA on it, and the LoRA as files that PEFT and the engine load.

Only what the engine serves (vllm/lora/peft_helper.py, 0.32): no bias, no DoRA, no saved modules, plain init,
a rank from its list. Called by attempt.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import save as as_bytes
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from adapters import check, cpu
from adapters.base import Base
from adapters.manifest import CONFIG, NF4, WEIGHTS
from adapters.modules import SERVED_LINEARS
from adapters.refused import Code, Refused
from training import attention
from training.failure import UNREADABLE, JobFailed, unsupported_base
from training.lora import in_one_buffer

ALPHA_PER_RANK = 2
LONGEST = 8192
BF16_PAYS = 384  # hidden size


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_config(path: Path) -> Any:
    """The text model's configuration of the base in `path`."""
    return AutoConfig.from_pretrained(path, local_files_only=True).get_text_config()


def longest(config: Any) -> int:
    """The longest sequence to train on, in tokens: the model's context, LONGEST at most."""
    return min(LONGEST, int(getattr(config, "max_position_embeddings", None) or LONGEST))


def hidden_size(config: Any) -> int:
    return int(config.hidden_size)


def load_tokenizer(path: Path) -> Any:
    return AutoTokenizer.from_pretrained(path, local_files_only=True)


def dtype_for(hidden: int, where: torch.device) -> torch.dtype:
    """Of the frozen base: bf16 where its products are faster (CUDA, and CPUs that have them in hardware) and
    the hidden states are large enough to gain from it; else float32. DECISIONS.md, "Training speed"."""
    if where.type != "cuda" and (hidden < BF16_PAYS or not cpu.multiplies_bf16()):
        return torch.float32
    return torch.bfloat16


def load_base(
    path: Path, where: torch.device, dtype: torch.dtype | None = None, *, four_bit: bool = False
) -> Any:
    """The frozen base, in `dtype` where it is given; with `four_bit` its linear layers in NF4, the rest and
    what is computed in bf16. Raises JobFailed when it cannot be trained."""
    attention.install()
    given: dict[str, Any] = {}
    if four_bit:
        # As Dettmers et al. 2023 (QLoRA) have it, section 3.
        given["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=NF4,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        given["device_map"] = {"": where}
        dtype = torch.bfloat16
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype or dtype_for(hidden_size(read_config(path)), where),
            attn_implementation=attention.ATTENTION,
            local_files_only=True,
            **given,
        )
    except (OSError, SafetensorError) as error:
        raise unsupported_base(UNREADABLE) from error
    except (ValueError, KeyError) as error:
        raise unsupported_base(error) from error
    if four_bit:
        _keep_gradients(model)
    else:
        model.to(where)
    # Neither dropout nor any other difference between training and serving: eval() for good.
    return model.eval()


def _keep_gradients(model: Any) -> None:
    """On CPU bitsandbytes packs a layer anew once it is asked in eval() without gradients, for good; what is
    packed so passes none on."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def targets(model: Any) -> list[str]:
    """Names of the linear layers that get a LoRA. Raises JobFailed when there are none."""
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    found = sorted({name.rsplit(".", 1)[-1] for name in linear} & set(SERVED_LINEARS))
    if not found:
        raise unsupported_base("it has no layers that an adapter may change.")
    return found


def lora(model: Any, rank: int) -> LoraConfig:
    """Of a fresh LoRA on all layers that the engine serves. Raises JobFailed when there are none."""
    return LoraConfig(
        r=rank,
        lora_alpha=ALPHA_PER_RANK * rank,
        target_modules=targets(model),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )


def attach(model: Any, rank: int, seed: int) -> Any:
    """A peft model over `model`; its LoRA (float32, from `seed`) has B zero, so it begins as the base."""
    torch.manual_seed(seed)
    return in_one_buffer(get_peft_model(model, lora(model, rank), autocast_adapter_dtype=True).eval())


def attach_version(model: Any, folder: Path, seed: int) -> Any:
    """A peft model over `model` with the LoRA of an admitted version to train on, in float32: its rank, its
    modules, its scaling."""
    torch.manual_seed(seed)
    found = PeftModel.from_pretrained(model, folder, is_trainable=True, autocast_adapter_dtype=True)
    return in_one_buffer(found.eval())


def trained(model: Any) -> list[torch.nn.Parameter]:
    """The LoRA's parameters, in the model's own order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def weights(model: Any) -> dict[str, Tensor]:
    """The LoRA's tensors under PEFT's names, on the CPU, contiguous copies."""
    found: dict[str, Tensor] = get_peft_model_state_dict(model)
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in found.items()}


def is_finite(model: Any) -> bool:
    """Whether the LoRA holds numbers only, also in the type that `save` writes."""
    return all(bool(parameter.bfloat16().isfinite().all()) for parameter in trained(model))


def restore(model: Any, tensors: dict[str, Tensor]) -> None:
    """Put `weights` back."""
    set_peft_model_state_dict(model, tensors)


@contextmanager
def as_published(model: Any) -> Iterator[None]:
    """In the block the LoRA holds what `save` writes, rounded to bf16; after it, what it held before."""
    held = [parameter.data for parameter in trained(model)]
    try:
        for parameter in trained(model):
            parameter.data = parameter.data.bfloat16().to(parameter.dtype)
        yield
    finally:
        for parameter, data in zip(trained(model), held, strict=True):
            parameter.data = data


def save(model: Any, folder: Path, base_slug: str) -> None:
    """Write CONFIG and WEIGHTS into `folder` (made new). bf16, as the engine computes in: half the bytes."""
    folder.mkdir(parents=True)
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in weights(model).items()}
    # Not save_file: it hides a full disk in an error of its own, and makes the file private.
    (folder / WEIGHTS).write_bytes(as_bytes(tensors, metadata={"format": "pt"}))
    config = model.peft_config["default"].to_dict()
    # Not the path that the base was loaded from.
    config |= {"base_model_name_or_path": base_slug, "inference_mode": True}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True, default=_plain))


def _plain(value: object) -> object:
    """PEFT keeps lists of names as sets."""
    return sorted(value) if isinstance(value, set) else str(value)


def admit(draft: Path, base: Base, max_rank: int) -> None:
    """What is published has passed the check that serving relies on. Raises JobFailed."""
    try:
        check.admit(draft, base, max_rank=max_rank)
    except Refused as refused:
        if refused.code is Code.UNREADABLE:
            raise  # the disk's fault: another attempt may do better
        raise JobFailed(refused.code, f"The trained adapter cannot be served. {refused}") from refused
