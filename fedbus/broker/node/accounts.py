"""Each user of a broker gets a password, and the URL with which it connects in a file that others may not read."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from fedbus.errors import ConfigError

_PASSWORD_BYTES = 18


def new_password() -> str:
    """Make a password of 144 bits from the operating system's generator, in characters that a URL takes as they are."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def amqp_url(user: str, password: str, address: str) -> str:
    """Return the URL with which a user connects.

    Args:
        address: scheme, host and port of the broker, as in amqps://broker.example:5671.
    """
    parts = urlsplit(address)
    return f"{parts.scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}/%2F"


def write_urls(folder: Path, users: Iterable[str], address: str) -> dict[str, str]:
    """Write FOLDER/USER.url for each user, and return the passwords by user.

    A user whose file is there keeps the password in it, so that one more party changes nothing for the others.

    Raises:
        ConfigError: a file cannot be written, is of somebody else, or may be read by others.
    """
    files = {user: folder / f"{user}.url" for user in users}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        passwords = {user: _kept(user, file) or new_password() for user, file in files.items()}
        for user, file in files.items():
            write_private(file, amqp_url(user, passwords[user], address) + "\n")
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    return passwords


def write_private(path: Path, text: str) -> None:
    """Write a file, mode 0600, in place of what is there.

    At no time can another user read it, and what was there stays until all of the new text is written: a URL file has
    the only copy of a password.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
    new.replace(path)


def _kept(user: str, file: Path) -> str:
    """The password in a user's file, "" where there is no file."""
    try:
        with file.open(encoding="utf-8") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            parts = urlsplit(opened.read().strip())
    except FileNotFoundError:
        return ""
    if mode & 0o077:
        raise ConfigError(f"{file}: others may read it (mode {mode:04o}); remove it, for a new password")
    if unquote(parts.username or "") != user or not parts.password:
        raise ConfigError(f"{file}: is no URL of user {user}; move it away")
    return unquote(parts.password)
