"""The numbers that a base is served in: those that are fast on this CPU, if it has the memory for them.

Pure: adapters/planned.py reads what goes in.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters import cpu

AUTO, BFLOAT16, FLOAT16, FLOAT32 = "auto", "bfloat16", "float16", "float32"
BYTES = {BFLOAT16: 2, FLOAT16: 2, FLOAT32: 4}  # of a number
SET = "it is set"
# Where products of bf16 are emulated. SmolLM2-135M on two cores of Zen 3, vLLM 0.32: a prompt at 40 tokens/s
# where float32 has 190 to 260, an answer at 10.2 where it has 13.9.
EMULATED = "this CPU only emulates products of bfloat16"


@dataclass(frozen=True)
class Dtype:
    """`name` is vLLM's; `slow`: float32 would be faster, and there is no memory for it."""

    name: str
    because: str
    slow: bool = False

    @property
    def bytes(self) -> int:
        """Of a number. vLLM's own choice has two: the base's, and bfloat16 for one of float32."""
        return BYTES.get(self.name, 2)


def choose(
    wished: str | None, *, on_cpu: bool, quantized: bool, kind: str, multiplies_bf16: bool, roomy: bool
) -> Dtype:
    """`wished` is a setting or a flag; `roomy`: base, cache and adapters fit into memory in float32."""
    if wished is not None:
        return Dtype(wished, SET, slow=wished == BFLOAT16 and on_cpu and not multiplies_bf16)
    theirs = {"on a GPU": not on_cpu, "of a quantized base": quantized, "on such a CPU": kind == cpu.OTHER}
    for where, so in theirs.items():
        if so:
            return Dtype(AUTO, f"{where} the choice is vLLM's")
    if multiplies_bf16:
        return Dtype(BFLOAT16, "this CPU multiplies it natively")
    if roomy:
        return Dtype(FLOAT32, EMULATED)
    return Dtype(BFLOAT16, f"{EMULATED}, which is slow, but has no memory for float32", slow=True)
