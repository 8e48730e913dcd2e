"""The pages of docs/reference are what the code says, and each key of every algorithm has its sentence there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect as types

from fedbus.algorithms.base import Algorithm
from fedbus.algorithms.registry import ALGORITHMS
from fedbus.job import JobSpec
from fedbus.messages.envelope import PARTIES
from places import ROOT

PAGES = ROOT / "ops" / "pages"

# The modules of ops/pages are found from their own folder only, so that a process of its own runs them.
_RENDER = """
import sys
import msgspec
sys.path.insert(0, {pages!r})
from structures import sections
class Inner(msgspec.Struct):
    {doc!r}
    size: int
sys.stdout.write("\\n".join(sections(Inner, level=2)))
"""


def test_pages_are_what_the_code_generates() -> None:
    done = subprocess.run([sys.executable, PAGES, "--check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_page_that_differs_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    copy = tmp_path / "ops" / "pages"
    copy.mkdir(parents=True)
    for file in PAGES.glob("*.py"):
        (copy / file.name).write_text(file.read_text())
    done = subprocess.run([sys.executable, copy, "--check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "docs/reference/job-file.md differs from the code; `ops/reference` writes it" in done.stderr
    assert not (tmp_path / "docs").exists()


def _section(entry: Algorithm) -> str:
    """What the page of job files says of an algorithm."""
    page = (ROOT / "docs/reference/job-file.md").read_text("utf-8")
    return page.split(f"\n## `{entry.job.ALGORITHM}`\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("entry", ALGORITHMS, ids=lambda entry: entry.job.ALGORITHM)
def test_each_algorithm_has_a_section_with_its_own_keys(entry: Algorithm) -> None:
    job, section = entry.job, _section(entry)
    own = [field for field in msgspec.structs.fields(job) if field.name not in JobSpec.__struct_fields__]
    assert own
    for field in own:
        key = re.escape(field.encode_name)
        assert re.search(rf"^- \*\*`{key}`\*\* \(|^### `\[+{key}\b", section, re.MULTILINE), field.encode_name
    for params in (field.type for field in own if field.name == "params"):
        assert f"### `[params]` of `{job.ALGORITHM}`" in section
        for field in msgspec.structs.fields(params):
            assert f"- **`{field.encode_name}`** (" in section


def _structures(kind: Any) -> Iterator[type]:
    """The structures of a type, and of the types within it."""
    if isinstance(kind, types.StructType):
        yield kind.cls
        for field in kind.fields:
            yield from _structures(field.type)
    elif isinstance(kind, types.UnionType):
        for part in kind.types:
            yield from _structures(part)
    elif isinstance(kind, types.VarTupleType):
        yield from _structures(kind.item_type)


@pytest.mark.parametrize("entry", ALGORITHMS, ids=lambda entry: entry.job.ALGORITHM)
def test_each_word_that_an_algorithm_knows_is_on_the_page(entry: Algorithm) -> None:
    section = _section(entry)
    modules = {sys.modules[struct.__module__] for struct in _structures(types.type_info(entry.job))}
    known = {
        word
        for module in modules - {sys.modules["fedbus.job"]}
        for name, words in vars(module).items()
        # Who sends messages is imported where these lie in the same module.
        if name.isupper() and not name.startswith("_") and isinstance(words, tuple) and words is not PARTIES
        for word in words
    }
    # Numbers that a module names are no words of a job file.
    known = {word for word in known if isinstance(word, str)}
    assert known or "params" not in entry.job.__struct_fields__
    assert {word for word in known if f'"{word}"' not in section} == set()


def _rendered(doc: str) -> subprocess.CompletedProcess[str]:
    program = _RENDER.format(pages=str(PAGES), doc=doc)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def test_a_key_of_which_no_docstring_speaks_is_an_error_that_names_it() -> None:
    assert "has no `size:` under `Attributes:`" in _rendered("Something.").stderr


def test_a_key_is_shown_with_its_type_and_sentence() -> None:
    doc = "Something.\n\n    Attributes:\n        size: how large\n            it is.\n    "
    assert _rendered(doc).stdout == "- **`size`** (a whole number, required). How large it is."
