"""This module says what participants and jobs may be called, and how names are shown where one of them is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta

NAME_RULE = r"[a-z0-9][a-z0-9_-]{0,63}"
NAME = re.compile(NAME_RULE)
JOB_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,95}")

# A participant's name, as a field of a structure that is checked when it is read.
NAME_IN_WORDS = "a name has lower-case letters, digits, _ and - only, begins with a letter or digit, and has at most 64"
Name = Annotated[str, Meta(pattern=rf"\A{NAME_RULE}\Z")]


def nearest(name: str, known: Iterable[str]) -> str:
    """Make a hint for an unknown name: the nearest known one, or all that are known."""
    known = sorted(known)
    match = difflib.get_close_matches(name, known, n=1)
    if match:
        return f"did you mean {match[0]!r}?"
    return "known: " + ", ".join(known)


def unknown(value: str, known: Iterable[str]) -> str:
    """Say what is wrong with a value that is none of a few: the nearest of them, and all that there are."""
    known = list(known)
    match = difflib.get_close_matches(value, known, n=1)
    near = f"did you mean {match[0]!r}? " if match else ""
    return f"unknown {value!r}; {near}known: {', '.join(known)}"


def listed(names: Sequence[str]) -> str:
    """Write names as a sentence has them: "a", "a and b", "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
