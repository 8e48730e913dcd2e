"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file in place of what is there, which stays until all of the new text is on the disk.

    What is no regular file, a pipe or a device, is written as it is, and so is a file in a folder that takes no other.

    Args:
        mode: of a new file, less what the process's mask takes; one that is there keeps its own, or less.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve()
    new = path.with_name(f".fedbus-{secrets.token_hex(8)}.new")
    if path.exists() and not (path.is_file() and os.access(path.parent, os.W_OK)):
        path.write_text(text, "utf-8")
        return
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  # Path.open takes no descriptor
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            new.chmod(path.stat().st_mode & 0o777 & mode)
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
