"""What a bench can be told on its command line: the same names in each."""

from __future__ import annotations

import argparse

from bench.servers import DEVICES


def parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """`quick` says what --quick leaves out."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help=f"{quick}: a try, no measurement")
    return made


def serving(description: str | None, quick: str, base: str = "tiny") -> argparse.ArgumentParser:
    """Of a bench that starts servers: they can stand on a GPU, and on any base."""
    made = parser(description, quick)
    made.add_argument("--device", choices=DEVICES, default="cpu", help="where the engines compute")
    made.add_argument("--base", default=base, help="`tiny`, a folder or a hub id (default %(default)s)")
    return made
