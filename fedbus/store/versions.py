"""Which files are stores of this version, and what becomes of a store of the version before.

Its tables are the same but for those that this one has besides, and the messages and checkpoints of jobs that have not
ended are of another form. So a store without such jobs is taken over with its ledger and its models, and one with some
is refused and left as it is.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

from fedbus import files
from fedbus.errors import StoreDamaged, StoreError
from fedbus.names import listed
from fedbus.store import tables as t
from fedbus.store.checks import REMEDY
from fedbus.version import __version__

# Of the header of an SQLite file: https://www.sqlite.org/fileformat2.html
HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_VERSION_AT, _APPLICATION_AT = 60, 68

WRITE_AHEAD = "-wal"

# The format that is taken over, and the last program that wrote it.
_BEFORE, _PROGRAM_BEFORE = 2, "0.1.0"
# Tables that it did not have.
_NEW = frozenset({t.proofs.name})
# Jobs that a sentence names.
_NAMED = 3


def check_header(path: Path, header: bytes) -> None:
    """Raise StoreError where a file that begins so is no store whose models this version reads."""
    if not header:
        raise StoreError(f"{path}: is empty, and no store of fedbus; remove it to have one made, or name another file")
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        raise StoreError(f"{path}: is not a store of fedbus, and was left as it is; name another file as `state`")
    application, version = _number(header, _APPLICATION_AT), _number(header, _VERSION_AT)
    if application == t.APPLICATION_ID and version in (_BEFORE, t.VERSION):
        return
    if application == t.APPLICATION_ID or _is_first_version(path):
        other = "a newer" if application == t.APPLICATION_ID and version > t.VERSION else "an older"
        raise StoreError(
            f"{path}: is a store of {other} version of fedbus, and was left as it is; finish its jobs with that "
            "version, then name another file as `state` (models stay in the old one)"
        )
    raise StoreError(
        f"{path}: is another program's SQLite database and not a store of fedbus, and was left as it is; "
        "name another file as `state`"
    )


def check_ended(path: Path, header: bytes) -> None:
    """Raise StoreError where a store of the version before has jobs that have not ended; it is only read."""
    if _number(header, _VERSION_AT) == t.VERSION:
        return
    # Without a log everything is in the file, and SQLite need not make the files that readers share.
    mode = "mode=ro" if files.exists(path.with_name(path.name + WRITE_AHEAD)) else "immutable=1"
    try:
        with contextlib.closing(_connect(path, mode)) as store:
            # The header of the file says what was so before the log.
            ((version,),) = store.execute("PRAGMA user_version")
            jobs = [job for (job,) in store.execute(t.NOT_ENDED)] if version != t.VERSION else []
    except sqlite3.Error as error:
        raise StoreDamaged(f"{path}: the store is damaged ({error}); {REMEDY}") from error
    if jobs:
        more = [f"{len(jobs) - _NAMED} more"] if len(jobs) > _NAMED else []
        raise StoreError(
            f"{path}: fedbus {_PROGRAM_BEFORE} began {listed([*jobs[:_NAMED], *more])} in this store, which did not "
            f"end, and fedbus {__version__} does not understand what is kept of such jobs; the store was left as it is."
            f" Start fedbus {_PROGRAM_BEFORE} again at all participants, wait until the jobs have ended or end each by"
            f" `fedbus cancel JOB`; then start fedbus {__version__}"
        )


def schema_of(version: int) -> tuple[tuple[str, str], ...]:
    """Return the tables of a store of this version or the one before, as SQLite describes them."""
    return tuple((name, sql) for name, sql in t.schema() if version != _BEFORE or name not in _NEW)


def take_over(cursor: sqlite3.Cursor) -> bool:
    """Make a store of the version before one of this version; False where it is one."""
    ((version,),) = cursor.execute("PRAGMA user_version")
    if version == t.VERSION:
        return False
    for name, sql in t.schema():
        if name in _NEW:
            cursor.execute(sql)
    cursor.execute(f"PRAGMA user_version={t.VERSION}")
    return True


def _is_first_version(path: Path) -> bool:
    # The first version had no mark of its own in the header.
    try:
        with contextlib.closing(_connect(path, "immutable=1")) as found:
            names = {name for (name,) in found.execute("SELECT name FROM sqlite_schema")}
    except sqlite3.Error:
        return False
    return names >= {"jobs", "inbox", "outbox", "checkpoints"}


def _number(header: bytes, at: int) -> int:
    return int.from_bytes(header[at : at + 4], "big")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{mode}", uri=True)
