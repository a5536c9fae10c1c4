"""A CPU that acts as a lesser kind (adapters/cpu.py) does so for vLLM too: torch tells it of fewer features.

vLLM 0.32 has a library for each kind of x86 CPU and asks torch which to load (its platforms/cpu.py). oneDNN's
own limit is not known to either. A patch of torch's; nothing where no limit is set.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from adapters import cpu
from server.engine.base import EngineMisconfigured

# By the kind of CPU, where vLLM lies.
PROC = Path("/proc")
LIBRARIES = {"avx512_bf16": "_C", "avx512": "_C_AVX512", "avx2": "_C_AVX2"}


def apply() -> None:
    """Before vLLM is imported; once is enough."""
    hidden = {_in_torch(name) for name in cpu.present() - cpu.features()}
    if not hidden:
        return
    import torch

    capable = torch.cpu.get_capabilities()
    limited = MappingProxyType({name: found and name not in hidden for name, found in capable.items()})
    torch.cpu.get_capabilities = lambda: limited  # all that vLLM asks in torch.cpu looks here


def check(process: int | str = "self") -> None:
    """After vLLM is imported. Raises EngineMisconfigured where it has loaded what the limit forbids."""
    wanted = LIBRARIES.get(cpu.kind())
    loaded = {path.split(".", 1)[0] for path in libraries(process)}
    if cpu.present() != cpu.features() and loaded and loaded != {wanted}:
        raise EngineMisconfigured(
            f"{cpu.LIMITS[0]} makes this CPU {cpu.kind()}, for which vLLM has to load {wanted}, and it has"
            f" loaded {', '.join(sorted(loaded))}. Start without {cpu.LIMITS[0]}, or with"
            " CHORUS_ENGINE_FORKSERVER=true; server/engine/cpu_limit.py is written for vLLM 0.32."
        )


def _in_torch(feature: str) -> str:
    """`avx512f`, `fma` -> `avx512_f`, `fma3`."""
    if feature == "fma":
        return "fma3"
    plain = feature.startswith("avx512") and "_" not in feature
    return f"avx512_{feature.removeprefix('avx512')}" if plain else feature


def libraries(process: int | str = "self") -> set[str]:
    """The names of vLLM's libraries in a process."""
    maps = (PROC / str(process) / "maps").read_text()
    paths = {line.rsplit(None, 1)[-1] for line in maps.splitlines()}
    names = {Path(path).name for path in paths if "/vllm/" in path}
    return {name for name in names if name.startswith("_C")}
