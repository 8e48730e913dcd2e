"""Docstrings begin with what something is or does, and not in the middle of a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from places import ROOT

FILES = sorted(file for folder in ("fedbus", "parties", "coordinator", "ops") for file in (ROOT / folder).rglob("*.py"))
# "Of one role." says nothing without the name before it; who raises what is said in the imperative, as all else is.
_FRAGMENT = re.compile(r"Of |Raises |[A-Z]\w+Error |For a checkpoint|For the store")


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the text of each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield getattr(node, "lineno", 1), text


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_none_begins_as_a_fragment(file: Path) -> None:
    found = docstrings(ast.parse(file.read_text("utf-8")))
    assert [f"{line}: {text.splitlines()[0]}" for line, text in found if _FRAGMENT.match(text)] == []
