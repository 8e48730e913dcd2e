"""This module says what lies at a path, without a traceback, and writes files that are written whole or not at all.

Path.exists, is_file and is_dir raise where this user may not enter a folder on the way; nothing but this module asks
them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import TextIO, cast

# What these say of a path is that nothing is there.
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP)


def found(path: Path) -> os.stat_result | None:
    """Return what lies at a path; None where nothing does.

    Raises:
        OSError: that cannot be said; its `strerror` is `reason`.
    """
    try:
        return path.stat()
    except ValueError:
        raise OSError(errno.EINVAL, "a path holds no byte of 0", str(path)) from None
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise OSError(error.errno, reason(error, path), str(path)) from None


def exists(path: Path) -> bool:
    """Return whether anything lies at a path; raises as `found`."""
    return found(path) is not None


def is_file(path: Path) -> bool:
    """Return whether a regular file lies at a path; raises as `found`."""
    return (at := found(path)) is not None and stat.S_ISREG(at.st_mode)


def is_folder(path: Path) -> bool:
    """Return whether a folder lies at a path; raises as `found`."""
    return (at := found(path)) is not None and stat.S_ISDIR(at.st_mode)


def real(path: Path) -> Path:
    """Return the absolute path without links, as far as this user can follow it;
    unlike Path.resolve it refuses no circle.
    """
    return Path(os.path.realpath(path))


def reason(error: OSError, path: Path) -> str:
    """Say why a path cannot be used:
    the folder that this user may not enter, with the remedy, or the system's words.
    """
    if isinstance(error, PermissionError):
        for folder in reversed(real(path).parents):
            if not os.access(folder, os.X_OK):
                return f"this user may not enter the folder {folder}; let this user in, or name another path"
    return error.strerror or str(error)


def open_private(path: Path, mode: str) -> TextIO:
    """Open a file of text to be written, "w" or "a", which only its owner may read where it is new.

    Raises:
        OSError: it cannot be written.
    """
    # Path.open takes no opener.
    opened = open(path, mode, encoding="utf-8", errors="backslashreplace", opener=_private)  # noqa: SIM115
    return cast(TextIO, opened)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_whole(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file in place of what is there, which stays until all of the new text is on the disk.

    What is no regular file, a pipe or a device, is written as it is, and so is a file in a folder that takes no other.

    Args:
        mode: of a new file, less what the process's mask takes; one that is there keeps its own, or less.

    Raises:
        OSError: it cannot be written.
    """
    path = real(path)
    new = path.with_name(f".fedbus-{secrets.token_hex(8)}.new")
    if exists(path) and not (is_file(path) and os.access(path.parent, os.W_OK)):
        path.write_text(text, "utf-8")
        return
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  # Path.open takes no descriptor
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if (before := found(path)) is not None:
            new.chmod(before.st_mode & 0o777 & mode)
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
