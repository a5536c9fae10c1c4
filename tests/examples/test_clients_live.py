"""The Python, Node and curl clients run the whole loop against the real server, unchanged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.brands import BRANDS
from examples.generate import write_chats
from tests.live import LiveServer
from tests.patience import PATIENCE

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.engine


def run(command: list[str], live_server: LiveServer, folder: Path) -> str:
    """The client's output; fails with everything that it said when its exit code is not 0."""
    environment = os.environ | {
        "OPENAI_BASE_URL": live_server.base_url,
        "OPENAI_API_KEY": live_server.api_key,
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def training_file(tmp_path: Path) -> Path:
    """Few examples: these tests are about the loop, not about what is learnt."""
    return write_chats(tmp_path / "luxe.train.jsonl", BRANDS["luxe"].cases("train", 12))


def assert_loop(output: str, brand: str) -> None:
    """Every step has said what it did, and both names of the model have answered."""
    assert "uploaded luxe.train.jsonl as file-" in output
    assert f"for brand {brand}" in output
    answers = [line.split(" answers: ", 1) for line in output.splitlines() if " answers: " in line]
    assert [name.startswith("ft:") for name, _ in answers] == [True, False]
    assert answers[1][0] == brand
    assert all(text.strip() for _, text in answers)


def test_the_python_client_runs_the_loop(
    live_server: LiveServer, training_file: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(EXAMPLES / "python" / "loop.py"), str(training_file), "loop-python"]
    assert_loop(run(command, live_server, tmp_path), "loop-python")


def test_the_node_client_runs_the_loop(live_server: LiveServer, training_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    run(["npm", "ci", "--no-audit", "--no-fund"], live_server, folder)
    command = ["node", "loop.mjs", str(training_file), "loop-node"]
    assert_loop(run(command, live_server, folder), "loop-node")


def test_the_curl_script_runs_the_loop(live_server: LiveServer, training_file: Path, tmp_path: Path) -> None:
    command = ["bash", str(EXAMPLES / "curl" / "loop.sh"), str(training_file), "loop-curl"]
    assert_loop(run(command, live_server, tmp_path), "loop-curl")


def test_a_client_whose_key_is_wrong_fails_and_says_why(
    live_server: LiveServer, training_file: Path, tmp_path: Path
) -> None:
    environment = os.environ | {"OPENAI_BASE_URL": live_server.base_url, "OPENAI_API_KEY": "sk-wrong"}
    done = subprocess.run(
        ["bash", str(EXAMPLES / "curl" / "loop.sh"), str(training_file), "loop-wrong"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode != 0
    assert "POST /files failed" in done.stderr
