"""The English that ships with Python: docstrings and comments of the standard library, and pydoc's topics.

Read with `ast`, nothing is imported or executed. Sorted by path, so that one Python version always gives
one text. Called by build.py (vocabulary), the corpus (reading) and the slots (words).
"""

import ast
import re
import sysconfig
from collections import Counter
from functools import cache
from pathlib import Path

_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "lib2to3",
    "__pycache__",
    "encodings",
}
_COMMENT = re.compile(r"^\s*# ?(.*)$")


def _docstrings(source: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) > 60:
                found.append(text)
    return found


def _comments(source: str) -> list[str]:
    """Comment blocks of at least three lines, joined."""
    found: list[str] = []
    block: list[str] = []
    for line in [*source.splitlines(), ""]:
        match = _COMMENT.match(line)
        if match:
            block.append(match.group(1).rstrip())
            continue
        text = "\n".join(block).strip()
        if len(block) >= 3 and text.count(" ") > 0.1 * len(text):
            found.append(text)
        block = []
    return found


def _topics(source: str) -> list[str]:
    """The values of the dictionary literal in pydoc_data/topics.py."""
    constants = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [value for value in constants if isinstance(value, str) and len(value) > 200]


@cache
def passages() -> tuple[str, ...]:
    """Every piece of English found, in a fixed order, without exact duplicates."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found: list[str] = []
    for path in sorted(root.rglob("*.py")):
        if _LEFT_OUT.intersection(path.relative_to(root).parts):
            continue
        source = path.read_text(encoding="utf-8", errors="ignore")
        if path.name == "topics.py":
            found += _topics(source)
            continue
        try:
            found += _docstrings(source) + _comments(source)
        except SyntaxError:
            continue
    return tuple(dict.fromkeys(found))


@cache
def words() -> tuple[str, ...]:
    """Lower-case words of 3 to 11 letters that occur at least four times, most frequent first."""
    counts = Counter(
        word for text in passages() for word in re.findall(r"(?<![\w.'])[a-z]{3,11}(?![\w(.'])", text)
    )
    return tuple(
        word for word, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])) if count >= 4
    )
