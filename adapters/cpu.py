"""What this processor multiplies natively: its features, and the kind of CPU that they make it.

Features are named as the kernel names them (/proc/cpuinfo). Where ONEDNN_MAX_CPU_ISA forbids some to oneDNN,
which multiplies for torch and vLLM, they count as absent, so that a machine can act as a lesser kind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# oneDNN reads the first, and the second where that is not set; case does not matter. It ignores a name that
# it does not know. ATEN_CPU_CAPABILITY is not looked at: it says nothing of matrix products.
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
# What comes with each of oneDNN's levels, beyond those before it: names of the level, features.
LADDER: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("SSE41",), ("sse4_1",)),
    (("AVX",), ("avx",)),
    (("AVX2", "AVX2_VNNI", "AVX2_VNNI_2"), ("avx2", "fma", "f16c")),
    (("AVX512_CORE",), ("avx512f", "avx512bw", "avx512dq", "avx512vl")),
    (("AVX512_CORE_VNNI",), ("avx512_vnni",)),
    (("AVX512_CORE_BF16",), ("avx512_bf16",)),
    (("AVX512_CORE_FP16", "AVX10_1_512"), ("avx512_fp16",)),
    (("AVX512_CORE_AMX", "AVX10_1_512_AMX"), ("amx_tile", "amx_int8", "amx_bf16")),
    (("AVX512_CORE_AMX_FP16", "AVX10_1_512_AMX_FP16"), ("amx_fp16",)),
)
# By the features that a kind has at least, the best first.
KINDS = {
    "avx512_bf16": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "avx2": {"avx2", "fma"},
    "neon": {"asimd"},
}
OTHER = "other"
MULTIPLY_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's


def kind(environment: Mapping[str, str] = os.environ) -> str:
    """A key of KINDS, or OTHER."""
    here = features(environment)
    return next((name for name, needed in KINDS.items() if needed <= here), OTHER)


def multiplies_bf16(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether products of bf16 have an instruction here; else they are computed in float32, by detours."""
    return bool(MULTIPLY_BF16 & features(environment))


def features(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """What libraries may use: `present`, within the limit that the environment sets."""
    limit = next((environment[name].upper() for name in LIMITS if environment.get(name)), "")
    level = next((step for step, (names, _) in enumerate(LADDER) if limit in names), len(LADDER))
    return present().difference(*(above for _, above in LADDER[level + 1 :]))


def present() -> frozenset[str]:
    """The processor's own; empty where there is no /proc/cpuinfo."""
    return frozenset((_field("flags") or _field("Features") or "").split())


def model() -> str | None:
    """As its maker calls it; most Arm kernels do not tell."""
    return _field("model name")


def _field(name: str) -> str | None:
    """Of the first core."""
    try:
        found = re.search(rf"^{name}\s*:\s*(.+)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1].strip() if found else None
