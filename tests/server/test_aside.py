"""Work beside the server: one at a time, tenants in turn, each thing once for all who wait for it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from records.processes import VARIABLES
from server.aside import Aside

SAYS = "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ)))"


class Made(Aside):
    """Its works are names in `order`; they wait until `may_begin`, and those in `fails` raise."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.order, self.may_begin = folder, list[str](), asyncio.Event()
        self.has_begun = asyncio.Event()
        self.fails: dict[str, Exception] = {}

    async def _run(self, path: Path, module: str, *arguments: str) -> int:
        self.order.append(path.name)
        self.has_begun.set()
        await self.may_begin.wait()
        if path.name in self.fails:
            raise self.fails[path.name]
        await asyncio.to_thread(path.write_bytes, module.encode())
        return 0

    def ask(self, tenant: str, name: str) -> asyncio.Future[bool]:
        return self.make(tenant, self.folder / name, "module")


async def test_a_tenant_waits_for_one_work_of_another_however_many_that_one_asked_for(tmp_path: Path) -> None:
    aside = Made(tmp_path)
    asked = [aside.ask("acme", f"a{k}") for k in range(12)]
    asked += [aside.ask("rival", f"r{k}") for k in range(2)]
    asked.append(aside.ask("third", "t0"))
    aside.may_begin.set()
    assert await asyncio.gather(*asked) == [True] * 15
    assert aside.order[:6] == ["a0", "r0", "t0", "a1", "r1", "a2"]
    assert aside.order[6:] == [f"a{k}" for k in range(3, 12)]


async def test_what_two_tenants_ask_for_is_made_once_in_the_first_turn_of_either(tmp_path: Path) -> None:
    aside = Made(tmp_path)
    asked = [aside.ask("acme", name) for name in ("a0", "a1", "both")]
    asked.append(aside.ask("rival", "both"))
    assert (aside.waiting("acme"), aside.waiting("rival"), aside.waiting("third")) == (3, 1, 0)
    aside.may_begin.set()
    assert all(await asyncio.gather(*asked))
    assert aside.order == ["a0", "both", "a1"]
    assert aside.waiting("acme") == aside.waiting("rival") == 0


@pytest.mark.parametrize("error", [OSError("no processes"), RuntimeError("a defect")])
async def test_what_fails_holds_up_nothing_behind_it(tmp_path: Path, error: Exception) -> None:
    aside = Made(tmp_path)
    aside.fails["a0"] = error
    aside.may_begin.set()
    assert await asyncio.gather(aside.ask("acme", "a0"), aside.ask("acme", "a1")) == [False, True]
    del aside.fails["a0"]
    assert await aside.get("acme", tmp_path / "a0", "module") == b"module"


async def test_stopping_ends_the_one_in_the_making_and_all_who_wait(tmp_path: Path) -> None:
    aside = Made(tmp_path)
    asked = [aside.ask("acme", "a0"), aside.ask("rival", "r0")]
    await aside.has_begun.wait()
    await aside.stop()
    assert all(one.cancelled() for one in asked)
    assert aside.order == ["a0"]


async def test_a_quote_is_measured_with_the_variables_that_its_job_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "says.py").write_text(SAYS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = await Aside().get("acme", tmp_path / "said", "says", str(tmp_path / "said"))
    assert said is not None
    assert VARIABLES.items() <= json.loads(said).items()
