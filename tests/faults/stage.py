"""The process in which publishing meets its faults: it loads everything once, then forks for each command.

`python -m tests.faults.stage BASE` reads one command per line from stdin, in JSON, and answers with what
tracer.py saw. It has one thread, as pytest has not: a fork of it can go on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from tests.faults import tracer
from tests.faults.tracer import Call, Ended, Point

ALONE = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "200"}
IN_ITS_OWN_MOUNTS = ["unshare", "--map-root-user", "--mount"]


def may_mount() -> bool:
    """Whether this machine lets its users have disks of their own: containers often do not."""
    if shutil.which(IN_ITS_OWN_MOUNTS[0]) is None:
        return False
    return subprocess.run([*IN_ITS_OWN_MOUNTS, "true"], capture_output=True, check=False).returncode == 0


class Stage:
    """Runs `chorus ...` or `training.run ...` and strikes it (tracer.run); `log` has what it printed."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.log = folder / "log.txt"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHORUS_")}
        self.process = subprocess.Popen(
            [*IN_ITS_OWN_MOUNTS * may_mount(), sys.executable, "-m", "tests.faults.stage", str(base)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept | ALONE,
        )  # fmt: skip

    def __call__(
        self,
        *command: str,
        home: Path,
        variables: dict[str, str] | None = None,
        since: str = "",
        at: Point | None = None,
        full: bool = False,
    ) -> Ended:
        return self._ask({
            "command": command, "home": str(home), "variables": variables or {}, "log": str(self.log),
            "since": since, "at": at, "full": full,
        })  # fmt: skip

    def mount(self, place: Path, size: int) -> Path:
        """A new disk of `size` bytes that only the stage has; gives the path by which others get there, all
        but SQLite, which follows it as a link."""
        assert self._ask({"mount": str(place), "size": size}).status == 0
        return Path(f"/proc/{self.process.pid}/root{place}")

    def _ask(self, order: dict[str, Any]) -> Ended:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return Ended(answer["status"], [Call(name, path, Point(*at)) for name, path, at in answer["calls"]])

    def said(self) -> str:
        return self.log.read_text()

    def close(self) -> None:
        self.process.communicate()


def main() -> None:
    """The process itself. Loading a model takes longer than all the rest: it is done before the forks."""
    import cli.commands
    import training.run
    from training import adapter

    for name in ("load_base", "load_tokenizer", "read_config"):
        setattr(adapter, name, cache(getattr(adapter, name)))
    base = Path(sys.argv[1])
    adapter.load_base(base, adapter.device())
    adapter.load_tokenizer(base)
    adapter.read_config(base)
    mains = {"chorus": cli.commands.main, "training.run": training.run.main}

    for line in sys.stdin:
        order = json.loads(line)
        if "mount" in order:
            size = f"size={order['size']}".encode()
            failed = tracer.libc.mount(b"chorus", order["mount"].encode(), b"tmpfs", 0, size)
            print(json.dumps(asdict(Ended(failed))), flush=True)
            continue

        def act(order: dict = order) -> int:  # type: ignore[type-arg]
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ.update(order["variables"])
            sys.argv = order["command"]
            try:
                mains[sys.argv[0]]()
            except SystemExit as leaving:
                return int(leaving.code or 0)
            return 0

        at = order["at"] and Point(*order["at"])
        ended = tracer.run(act, order["home"], order["since"], at, full=order["full"])
        print(json.dumps(asdict(ended)), flush=True)


if __name__ == "__main__":
    main()
