"""Who may import whom (DESIGN.md, section 3), read from the source with `ast`: nothing is imported here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("records", "adapters", "training", "server", "cli", "bench", "examples", "tests")
# records <- adapters <- {training, server} <- cli; training and server meet in the job rows only.
MAY_IMPORT = {
    "records": {"records"},
    "adapters": {"adapters", "records"},
    "training": {"training", "adapters", "records"},
    "server": {"server", "adapters", "records"},
    "cli": {"cli", "server", "training", "adapters", "records"},
}
# A heavy library has one home. (who may not import it) is everybody outside of that folder.
HOMES = {"vllm": ("server/engine/",), "peft": ("training/",)}
NO_TORCH = ("records", "adapters")


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of each import in a file, also of those inside functions."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import hides who imports whom"
            yield node.module or "", node.lineno


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    broken = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in sources(package)
        for name, line in imported(file)
        if (top := name.split(".")[0]) in OURS and top not in MAY_IMPORT[package]
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_in_its_home_only(library: str) -> None:
    broken = [
        f"{path}:{line}"
        for package in MAY_IMPORT
        for file in sources(package)
        if not (path := str(file.relative_to(ROOT))).startswith(HOMES[library])
        for name, line in imported(file)
        if name.split(".")[0] == library
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("package", NO_TORCH)
def test_what_a_version_is_can_be_read_without_torch(package: str) -> None:
    broken = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in sources(package)
        for name, line in imported(file)
        if name.split(".")[0] in ("torch", "transformers", "peft", "vllm")
    ]
    assert not broken, "\n".join(broken)


def test_only_the_engines_own_files_name_an_engine_class() -> None:
    """The server knows the five verbs of server/engine/base.py; which engine it is, the cli decides."""
    broken = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in sources("server")
        if file.parent.name != "engine"
        for name, line in imported(file)
        if name.startswith("server.engine") and name != "server.engine.base"
    ]
    assert not broken, "\n".join(broken)


def test_importing_the_server_starts_nothing() -> None:
    """No app, no settings and no database at module level: `create_app` wires everything."""
    makers = {"FastAPI", "Settings", "Database", "create_app", "create_engine"}
    broken = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sources("server")
        for statement in ast.parse(file.read_text()).body
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers
    ]
    assert not broken, "\n".join(broken)
