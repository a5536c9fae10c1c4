from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import popen_forkserver
from pathlib import Path
from typing import Any

import psutil
import pytest

from records import settings
from server.engine import forkserver, launch
from server.engine.base import Engine
from tests.patience import PATIENCE
from tests.server import forked


@contextmanager
def running() -> Iterator[dict[str, Any]]:
    """What a process, one that it started, and one that this started in turn have found."""
    command = [sys.executable, "-c", "from tests.server import forked; forked.main()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        below = psutil.Process(process.pid).children(recursive=True)
        yield {**said, "process": process, "below": below}
        process.kill()


@pytest.fixture(scope="module")
def script() -> Iterator[dict[str, Any]]:
    with running() as found:
        yield found


def test_what_is_started_and_what_that_starts_come_from_one_forkserver(script: dict[str, Any]) -> None:
    first, second = script["found"]
    assert (first["forked"], second["forked"]) == (True, True)
    assert first["parent"] == second["parent"] != script["me"]
    assert first["started_by"] == script["me"]
    assert second["started_by"] == first["pid"]


def test_a_process_has_the_variables_of_its_starter_at_that_time(script: dict[str, Any]) -> None:
    assert [one["said"] for one in script["found"]] == ["later", "later"]


def test_what_ran_as_a_script_is_not_imported_again(script: dict[str, Any]) -> None:
    assert [one["main"] for one in script["found"]] == [None, None]


def test_defaults_are_for_the_forkserver_alone(script: dict[str, Any]) -> None:
    assert script["default"] is None
    forked_from = psutil.Process(script["found"][0]["parent"])
    assert forked_from.environ()["DEFAULT"] == "1"


def test_kill_9_of_the_starter_leaves_no_process() -> None:
    with running() as script:
        assert len(script["below"]) == 4  # also that of multiprocessing itself, which watches semaphores
        script["process"].kill()
        assert psutil.wait_procs(script["below"], timeout=PATIENCE)[1] == []


def test_kill_9_of_the_forkserver_leaves_none_of_its_processes() -> None:
    with running() as script:
        psutil.Process(script["found"][0]["parent"]).kill()
        forked_there = [
            one for one in script["below"] if one.pid in [found["pid"] for found in script["found"]]
        ]
        assert psutil.wait_procs(forked_there, timeout=PATIENCE)[1] == []


def test_a_forkserver_that_was_stopped_is_ended_and_the_next_one_forks() -> None:
    command = [sys.executable, "-c", "from tests.server import forked; forked.after_a_stop()"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == {"forked": True, "by_another": True}


def test_it_is_used_once_however_often_an_engine_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start of an engine asks for it; a chain of functions would end at Python's limit of recursion."""
    from vllm.utils import system_utils

    monkeypatch.setattr(system_utils, "get_mp_context", system_utils.get_mp_context)
    forkserver.use()
    first = system_utils.get_mp_context
    forkserver.use()
    assert system_utils.get_mp_context is first


def test_where_nothing_can_be_forked_a_process_is_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(popen_forkserver, "Popen", fails)
    monkeypatch.setenv("SAID", "spawned")
    (found,) = forked.started(False)
    assert (found["forked"], found["said"], found["parent"]) == (False, "spawned", os.getpid())
    for child in multiprocessing.active_children():
        child.kill()
        child.join()


@pytest.mark.parametrize("wanted", [True, False])
def test_a_setting_turns_it_off(wanted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(forkserver, "begin", begun.append)
    launch.begin(settings.load(home=tmp_path, engine_forkserver=wanted))
    assert len(begun) == wanted


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
async def test_the_engine_is_forked_from_a_process_with_one_thread(real_engine: Engine) -> None:
    template = forkserver.process()
    assert template is not None
    assert template.num_threads() == 1
    assert {"VLLM::EngineCore", "VLLM::Worker"} <= {child.cmdline()[0] for child in template.children()}
