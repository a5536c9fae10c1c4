"""What a bench can be told on its command line: the same names in each."""

from __future__ import annotations

import argparse
import os
from typing import Any

from adapters import cpu
from bench.servers import DEVICES

# By these oneDNN, torch and MKL take a CPU for a lesser kind, and vLLM by the first (bench/limited).
ACT_AS = {
    kind: {"ONEDNN_MAX_CPU_ISA": level, "ATEN_CPU_CAPABILITY": kind, "MKL_ENABLE_INSTRUCTIONS": kind.upper()}
    for kind, level in {"avx512": "AVX512_CORE", "avx2": "AVX2"}.items()
}


class Parser(argparse.ArgumentParser):
    """Has this process and all that it starts act as the kind of CPU that `--cpu` names."""

    def parse_args(self, *given: Any) -> argparse.Namespace:  # type: ignore[override]
        found: argparse.Namespace = super().parse_args(*given)
        if found.cpu is not None:
            os.environ.update(ACT_AS[found.cpu])
            if cpu.kind() != found.cpu:
                self.error(f"--cpu {found.cpu}: this CPU is {cpu.kind({})} and cannot act as that")
        return found


def parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """`quick` says what --quick leaves out."""
    made = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--cpu", choices=ACT_AS, help="act as a CPU of this lesser kind, on all sides")
    made.add_argument("--quick", action="store_true", help=f"{quick}: a try, no measurement")
    return made


def serving(description: str | None, quick: str, base: str = "tiny") -> argparse.ArgumentParser:
    """Of a bench that starts servers: they can stand on a GPU, and on any base."""
    made = parser(description, quick)
    made.add_argument("--device", choices=DEVICES, default="cpu", help="where the engines compute")
    made.add_argument("--base", default=base, help="`tiny`, a folder or a hub id (default %(default)s)")
    return made
