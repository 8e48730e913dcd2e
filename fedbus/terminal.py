"""Standard output and standard error may be anything: a terminal of any encoding and width, a pipe, a full disk.

Standard output has what was asked for, as plain text that a script may read: it is never wrapped, cropped or coloured.
Standard error has the rest, coloured on a terminal; what cannot be written there is no error.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from rich.console import Console

from fedbus.errors import OutputError, ReaderGone

# What a terminal obeys instead of showing it: control characters, those that turn the direction of text, and those that
# it does not show at all, by which two names could look the same.
_OBEYED = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_BARS, _PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.:-=+*#"


def prepare() -> None:
    """Make the standard streams take any text; a process does this before it opens anything else."""
    # A closed descriptor would be given to the next file that is opened, such as a store, and a library's complaint
    # on standard error would then be written into it.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # for as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Write a line of plain text to standard output.

    Raises:
        OutputError: it cannot be written; ReaderGone where its reader wants no more.
    """
    write(printable(line) + "\n")


def write(text: str) -> None:
    """Write text to standard output as it is; raises as `say`."""
    if sys.stdout is None:
        raise OutputError("standard output is closed: what was asked for could not be written")
    with _writing(sys.stdout):
        sys.stdout.write(text)
        sys.stdout.flush()


def flush() -> None:
    """See to it that all of standard output is written; raises as `say`."""
    if sys.stdout is not None:
        with _writing(sys.stdout):
            sys.stdout.flush()


def tell(line: str, style: str = "") -> None:
    """Write a line to standard error."""
    # A job must not end because the terminal that its progress is shown on was closed, or a log's disk is full.
    with contextlib.suppress(OSError):
        Console(stderr=True).print(printable(line), style=style, markup=False, highlight=False, soft_wrap=True)


def note(sentence: str) -> None:
    """Write what is good to know to standard error. The text comes without the full stop."""
    tell(f"note: {sentence}.", "yellow")


class LogStream:
    """Standard error for log lines. A disk that is full, or a terminal that was closed, costs the line and no job."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def printable(text: str) -> str:
    """Return text with all that a terminal would obey written as escapes,
    so that it stays one line and shows what it is.
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def bars(stream: TextIO | None = None) -> str:
    """Return eight characters of rising height that a stream can show, which is standard output where none is given."""
    stream = stream or sys.stdout
    return _BARS if shows(_BARS, stream) else _PLAIN_BARS


def shows(text: str, stream: TextIO | None) -> bool:
    """Return whether a stream's encoding has all characters of a text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def table(rows: Sequence[Sequence[Any]], numbers: int = 0) -> list[str]:
    """Return the lines of a table, with two blanks between columns.

    Args:
        numbers: how many of the last columns are aligned to the right.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    texts = len(widths) - numbers
    return [
        "  ".join(
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


@contextlib.contextmanager
def _writing(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _abandon(stream)
        raise ReaderGone from None
    except OSError as error:
        _abandon(stream)
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def _abandon(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere: the interpreter would try again to write it, and complain."""
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
