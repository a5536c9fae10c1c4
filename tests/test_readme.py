"""README is held to the tree: what it prints is there, what it tells to type works."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_annotated_tree_names_every_folder_and_no_other() -> None:
    printed = set(re.findall(r"^(\w+)/ {2,}\S", README, re.MULTILINE))
    tracked = subprocess.run(
        ["git", "ls-tree", "-d", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert printed == {name for name in tracked if not name.startswith(".")}


def test_every_make_target_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_python_snippet_calls_what_the_client_has() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    from openai import OpenAI

    client = OpenAI(base_url="http://127.0.0.1:1/v1", api_key="ck-")
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.Call) and (path := ast.unparse(node.func)).startswith("client."):
            found: object = client
            for name in path.split(".")[1:]:
                found = getattr(found, name)
            assert callable(found)


def test_every_command_that_it_shows_has_these_options() -> None:
    for line in re.findall(r"^\.venv/bin/chorus (.*?)(?:\s+#.*)?$", README, re.MULTILINE):
        words = line.split()
        command = words[: 2 if words[0] in ("adapters", "brands", "tenants") else 1]  # groups of commands
        shown = subprocess.run(
            [sys.executable, "-m", "cli.main", *command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, line


def test_each_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_bench_modules_that_the_documents_name_exist() -> None:
    for text in (README, (ROOT / "DECISIONS.md").read_text()):
        for name in re.findall(r"python -m bench\.(\w+)", text):
            assert name == "NAME" or (ROOT / "bench" / f"{name}.py").is_file(), name
