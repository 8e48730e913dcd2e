"""Markdown as the repository has it: lines of at most 120 characters."""

from __future__ import annotations

import re
import textwrap

WIDTH = 120
_NOTE = "<!-- ops/reference makes this page from the code: what is changed here is lost. -->"
_CODE = re.compile(r"`[^`]*`")
# No blank at which a line is broken.
_GLUE = "\x00"


def paragraph(text: str) -> str:
    """Text as one paragraph, broken into lines."""
    return _wrap(text, "", "")


def item(text: str, depth: int = 0) -> str:
    """Text as one item of a list, in lists of so many items around it."""
    indent = "    " * depth
    return _wrap(text, f"{indent}- ", f"{indent}  ")


def heading(level: int, text: str) -> str:
    """A heading; `level` 1 is the page's."""
    return f"{'#' * level} {text}"


def code(text: object) -> str:
    """Text as code within a line."""
    return f"`{text}`"


def sentence(text: str) -> str:
    """Text that begins with a capital letter, unless it begins with code, and ends with a stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ":")) else ".")


def page(title: str, *blocks: str) -> str:
    """A page of a title and these blocks, the empty ones left out."""
    return "\n\n".join(block for block in (heading(1, title), _NOTE, *blocks) if block) + "\n"


def _wrap(text: str, first: str, further: str) -> str:
    # Code stays on one line, as do long words and addresses.
    text = _CODE.sub(lambda span: span[0].replace(" ", _GLUE), " ".join(text.split()))
    filled = textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace(_GLUE, " ")
