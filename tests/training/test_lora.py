"""The LoRA layer in one buffer is PEFT's own: outputs, gradients, and every other way of using it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn

from training import adapter
from training.lora import Adapted, LoraLinear, in_one_buffer

SHAPES = [(7, 12), (1, 7, 12), (2, 3, 12)]


class Net(nn.Module):
    """Two layers, one of them with a bias, between which a nonlinearity needs the gradient of its input."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = {"model_type": "net"}
        self.first = nn.Linear(12, 20, bias=True, dtype=dtype)
        self.second = nn.Linear(20, 6, bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(torch.tanh(self.first(x)))
        return found


def pair(dtype: torch.dtype = torch.float64, **given: object) -> tuple[nn.Module, nn.Module]:
    """(PEFT's own, ours), with the same weights of which none is zero."""
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        config = LoraConfig(r=4, lora_alpha=9, target_modules=["first", "second"], **given)
        model = get_peft_model(Net(dtype), config).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter)
        made.append(model)
    return made[0], in_one_buffer(made[1])


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, gradient of the input, gradients of A and B, of one loss."""
    x = x.clone().requires_grad_()
    found = model(x)
    found.float().pow(2).sum().backward()
    kept = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    return [found.detach(), x.grad, *kept]  # type: ignore[list-item]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rslora", [False, True])
def test_outputs_and_all_gradients_are_pefts(shape: tuple[int, ...], rslora: bool) -> None:
    theirs, ours = pair(use_rslora=rslora)
    assert sum(type(module) is LoraLinear for module in ours.modules()) == 2
    x = torch.randn(shape, dtype=torch.float64)
    for a, b in zip(gradients(theirs, x), gradients(ours, x), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


def test_the_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(3)
    x, a, b = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 6), (2, 6), (4, 2))
    )
    weight, bias = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, a, b: Adapted.apply(x, weight, bias, a, b, 0.7), (x, a, b))


def test_over_a_bf16_base_the_trained_weights_and_their_gradients_stay_float32() -> None:
    theirs, ours = pair(torch.bfloat16)
    x = torch.randn(30, 12).bfloat16()
    for a, b in zip(gradients(theirs, x), gradients(ours, x), strict=True):
        assert a.dtype == b.dtype
        assert (a - b).float().norm() <= 0.02 * a.float().norm()
    assert {parameter.dtype for parameter in adapter.trained(ours)} == {torch.float32}


@pytest.mark.parametrize("use", ["disabled", "merged", "two adapters", "another adapter"])
def test_what_is_not_plain_goes_pefts_way(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = pair()
    x = torch.randn(7, 12, dtype=torch.float64)
    for model in (theirs, ours):
        if use == "disabled":
            model.base_model.disable_adapter_layers()
        elif use == "merged":
            model.base_model.merge_adapter()
        else:
            torch.manual_seed(8)
            model.add_adapter("other", LoraConfig(r=2, init_lora_weights=False, target_modules=["first"]))
            model.base_model.set_adapter(["default", "other"] if use == "two adapters" else "other")
    if use != "another adapter":
        monkeypatch.setattr(Adapted, "apply", lambda *given: pytest.fail("not plain"))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-6)


def test_dropout_and_variants_are_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adapted, "apply", lambda *given: pytest.fail("not plain"))
    x = torch.randn(7, 12, dtype=torch.float64)
    for given in ({"lora_dropout": 0.1}, {"use_dora": True}):
        theirs, ours = pair(**given)
        torch.testing.assert_close(ours(x), theirs(x))


def test_what_a_job_trains_and_what_it_goes_on_from_have_such_layers(
    small_base: Path, tmp_path: Path
) -> None:
    cpu = torch.device("cpu")
    made = adapter.attach(adapter.load_base(small_base, cpu), 8, seed=1)
    adapter.save(made, tmp_path / "version", "small")
    again = adapter.attach_version(adapter.load_base(small_base, cpu), tmp_path / "version", seed=1)
    for model in (made, again):
        assert sum(type(module) is LoraLinear for module in model.modules()) == 2 * 7
        assert not any(type(module) is Linear for module in model.modules())
