"""A coordinator or a party whose secrets follow from its name: `steady.py coordinator|party --config FILE`.

The order of the rows of a vertical job, and so the last bits of its result, follow from the job's secrets. With the
same ones two runs are equal bit for bit. For trials alone: who knows the name knows the secrets.
"""

from __future__ import annotations

import hashlib
import sys
from types import SimpleNamespace

from fedbus.cli import daemons
from fedbus.store import sqlite


def main() -> None:
    """Serve what the command line names."""
    role = sys.argv.pop(1)
    name = sys.argv[sys.argv.index("--config") + 1]

    def token_bytes(size: int) -> bytes:
        return hashlib.blake2b(name.encode(), digest_size=size).digest()

    vars(sqlite)["secrets"] = SimpleNamespace(token_bytes=token_bytes)
    {"coordinator": daemons.coordinator, "party": daemons.party}[role]()


if __name__ == "__main__":
    main()
