"""The runner: one bench after another, whatever becomes of each."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters import cpu
from bench import __main__ as command
from bench import document, machine, options, runner, runs
from bench.catalogue import BENCHES
from bench.figures import Bench
from bench.runs import Run
from tests.adapters.test_cpu import AVX2, ZEN5, act_as, x86
from tests.patience import PATIENCE

SERVING = next(each for each in BENCHES if each.name == "swap")
ALONE = next(each for each in BENCHES if each.name == "admission")


def measured(code: str, seconds: float = PATIENCE) -> tuple[Any, Any]:
    return runner.measure([sys.executable, "-c", code], seconds)


def test_the_last_line_is_what_a_bench_found(capfd: pytest.CaptureFixture[str]) -> None:
    found = measured(
        "import sys; print('a table'); print('{\"a\": {\"b\": 1.5}}'); print('noise', file=sys.stderr)"
    )
    assert found == ({"a": {"b": 1.5}}, None)
    assert "a table" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print('{}'); raise SystemExit('no /opt/some/place/file.txt there')", "status 1: no file.txt there"),
        ("print('{\"a\": 1}'); print('done')", "ended without a last line of JSON"),
        ("pass", "ended without a last line of JSON"),
        ("import os; os._exit(3)", "status 3: no reason given"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "status -9: no reason given"),
    ],
)
def test_a_failure_says_how_and_names_no_folder(code: str, why: str) -> None:
    assert measured(code) == (None, why)


def test_one_that_hangs_is_ended_with_all_that_it_started() -> None:
    # Its child holds the output open: that it ends at all shows that the child was ended too.
    code = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).wait()"
    )
    assert measured(code, seconds=2) == (None, "took longer than 2 s")


def test_what_a_bench_leaves_behind_does_not_hold_up_the_next() -> None:
    code = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "print('{\"a\": 1}')"
    )
    assert measured(code) == ({"a": 1}, None)


def test_device_and_base_are_given_to_what_starts_servers_only() -> None:
    def given(each: Bench, **told: Any) -> list[str]:
        return runner.arguments(each, **{"quick": False, "device": "cpu", "base": None} | told)

    assert given(SERVING) == []
    assert given(SERVING, quick=True, device="cuda", base="Qwen/Qwen3-4B") == [
        *("--quick", "--device", "cuda", "--base", "Qwen/Qwen3-4B")
    ]
    assert given(ALONE, quick=True, device="cuda", base="x") == ["--quick"]


def test_a_kept_run_names_its_command_but_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(runner, "measure", lambda command, seconds: ({"a": 1.0}, None))
    run = runner.run(SERVING, quick=False, device="cpu", base=str(tmp_path / "mine"))
    assert (run.base, run.command) == ("mine", "python -m bench.swap --base mine")
    assert str(tmp_path) not in json.dumps(run.figures | run.machine)


def test_a_run_that_was_made_to_act_as_a_lesser_cpu_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    act_as(monkeypatch, tmp_path, x86(ZEN5))
    monkeypatch.setattr(runner, "measure", lambda command, seconds: ({"a": 1.0}, None))

    def kept(cpu: str | None) -> Run:
        return runner.run(ALONE, quick=False, device="cpu", base=None, cpu=cpu)

    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert (kept(None).kind, kept(None).forced) == ("avx512_bf16", None)
    for name, value in options.ACT_AS["avx2"].items():
        monkeypatch.setenv(name, value)
    forced = kept("avx2")
    assert (forced.kind, forced.forced) == ("avx2", "avx512_bf16")
    assert forced.command == "python -m bench.admission --cpu avx2"
    assert "avx512_bf16" in forced.machine["flags"], "the machine is what it is"


@pytest.mark.parametrize(
    ("flags", "wished", "kind"),
    [(ZEN5, "avx2", "avx2"), (ZEN5, "avx512", "avx512"), (AVX2, "avx2", "avx2"), (AVX2, "avx512", None)],
)
def test_a_bench_acts_as_the_cpu_that_it_is_told_or_says_that_it_cannot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, wished: str, kind: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    act_as(monkeypatch, tmp_path, x86(flags))
    for name in options.ACT_AS["avx2"]:
        monkeypatch.setenv(name, "")  # as it was, after the test
    parser = options.parser("What it is.", "half")
    if kind is None:
        with pytest.raises(SystemExit):
            parser.parse_args(["--cpu", wished])
        assert "this CPU is avx2 and cannot act as that" in capsys.readouterr().err
    else:
        parser.parse_args(["--cpu", wished])
        assert cpu.kind() == kind


def test_the_commit_that_is_kept_is_the_one_that_began(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = ["before"]
    monkeypatch.setattr(runner, "measure", lambda command, seconds: ({}, heads.append("after")))
    monkeypatch.setattr(runner, "commit", lambda: heads[-1])
    assert runner.run(SERVING, quick=False, device="cpu", base=None).commit == "before"


def test_the_machine_is_described_by_what_matters_to_speed() -> None:
    found = machine.describe()
    assert {"cpu", "cores", "flags", "memory", "system", "python", "torch"} <= set(found)
    assert found == machine.describe()


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The command with a runner that fails on `swap`: what ran, what was kept, how often it was written."""
    seen: dict[str, list[Any]] = {"ran": [], "kept": [], "written": []}

    def run(each: Bench, *, quick: bool, device: str, base: str | None, cpu: str | None) -> Run:
        seen["ran"].append(each.name)
        failed = "status 1" if each.name == "swap" else None
        return Run(
            each.name, "avx2", None, device, base, quick, "python", None, "2026-11-28T07:18Z", 1, failed,
            None if failed else {each.figures[0].key: 1.0}, {},
        )  # fmt: skip

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(runs, "save", seen["kept"].append)
    monkeypatch.setattr(document, "write", lambda *_: seen["written"].append(1))
    return seen


def test_a_bench_that_fails_is_kept_as_failed_and_the_others_go_on(suite: dict[str, list[Any]]) -> None:
    assert command.main([]) == 1
    names = [each.name for each in BENCHES]
    assert suite["ran"] == [run.bench for run in suite["kept"]] == names
    assert [run.bench for run in suite["kept"] if run.failed] == ["swap"]
    assert len(suite["written"]) == len(names)


def test_only_those_that_are_named_run_and_a_try_does_not_write_the_document(
    suite: dict[str, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--quick", "--only", "kills", "admission"]) == 0
    assert (suite["ran"], suite["written"]) == (["admission", "kills"], [])
    assert "no measurement" in capsys.readouterr().out


def test_write_runs_nothing(suite: dict[str, list[Any]]) -> None:
    assert command.main(["--write"]) == 0
    assert (suite["ran"], len(suite["written"])) == ([], 1)


def test_on_a_gpu_only_what_starts_servers_runs_and_another_is_refused(suite: dict[str, list[Any]]) -> None:
    command.main(["--device", "cuda"])
    assert suite["ran"] == [each.name for each in BENCHES if each.serving]
    with pytest.raises(SystemExit):
        command.main(["--device", "cuda", "--only", "kills"])


def test_a_failed_run_has_no_figures_to_show(suite: dict[str, list[Any]]) -> None:
    command.main(["--only", "swap"])
    (run,) = suite["kept"]
    assert replace(run, failed=None).figures is None
