"""A digest tells a damaged record from a sound one. It covers the whole record, with its table and its key.

A disk that gives back other bytes than it was given is found out when the record is read, and a record that is sound in
itself but in another's place as well.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedbus.errors import StoreDamaged

DIGEST_BYTES = 8

REMEDY = (
    "restore the store from a backup, or move it aside (with its -wal, -shm and .mark) to begin with an empty one; "
    "jobs that it had part in then end"
)


def digest(table: str, values: Sequence[Any]) -> bytes:
    """Compute the digest of a record; any other type or length of a value gives another one."""
    made = hashlib.blake2b(table.encode(), digest_size=DIGEST_BYTES)
    for value in values:
        if isinstance(value, str):
            data: Any = value.encode("utf-8", "surrogatepass")
            made.update(b"s%d:" % len(data))
            made.update(data)
        elif isinstance(value, int):
            made.update(b"i%d;" % value)
        elif isinstance(value, float):
            made.update(b"f" + struct.pack("<d", value))
        elif value is None:
            made.update(b"n")
        else:
            data = memoryview(value).cast("B")
            made.update(b"b%d:" % len(data))
            made.update(data)
    return made.digest()


def sealed(table: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return a record as it is written: its values, and then their digest."""
    return (*values, digest(table, values))


def opened(path: Path, table: str, row: Sequence[Any], job: str) -> tuple[Any, ...]:
    """Return the values of a record that was read, without the digest.

    Raises:
        StoreDamaged: they are not those that were written; names the file and the job.
    """
    *values, found = row
    if found != digest(table, values):
        raise StoreDamaged(f"{path}: a record of job {job} (table {table}) is damaged; the job cannot go on: {REMEDY}")
    return tuple(values)
