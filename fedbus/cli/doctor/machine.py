"""What a member's machine has: its tables, room on the disk, memory, and the arithmetic that its processor allows."""

from __future__ import annotations

import shutil
from pathlib import Path

from fedbus.cli.doctor.findings import Findings
from fedbus.cli.doctor.member import Subject, nearest
from fedbus.crypto import tier
from fedbus.settings import PartySettings
from fedbus.statuses import Status

_GIB = 1024**3
_LITTLE_ROOM, _NO_ROOM = _GIB, 100 * 1024**2
_LITTLE_MEMORY = _GIB
_MEMORY = Path("/proc/meminfo")


def examine_tables(party: PartySettings, found: Findings) -> None:
    """Read every table as a job would, but for the label, which a job names."""
    from parties.data import reading

    if not party.datasets:
        found.warn(
            "data", f"{party.file}: offers no table; without a section [datasets.NAME] no job can use this party"
        )
    for name, how in party.datasets.items():
        with found.step("data"):
            how.check(f"{party.file}: datasets.{name}")
            table = reading.load(party.path(how.source), how)
            found.ok("data", f"{name}: {len(table):,} rows of {len(table.columns)} columns in {party.path(how.source)}")
            for note in table.notes:
                found.warn("data", f"{name}: {note.removesuffix('.')}")


def examine_disk(store: Path, found: Findings) -> None:
    """Look for room where the store is, which grows with the messages of jobs under way."""
    try:
        folder = nearest(store.parent)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        found.leave("disk", f"{store.parent}: cannot be looked at: {error.strerror}")
        return
    told = f"{free / _GIB:.1f} GiB free in {folder}"
    if free < _NO_ROOM:
        found.fail("disk", f"{told}; a job waits while its disk is full: make room", Status.STORE)
    elif free < _LITTLE_ROOM:
        found.warn("disk", f"{told}; jobs of many rows take more: make room")
    else:
        found.ok("disk", told)


def examine_memory(found: Findings, file: Path = _MEMORY) -> None:
    """Look how much memory a process can have without another one losing it."""
    try:
        fields = dict(line.split(":", 1) for line in file.read_text("ascii").splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        found.leave("memory", f"{file} does not say how much there is")
        return
    told = f"{free / _GIB:.1f} GiB available"
    if free < _LITTLE_MEMORY:
        found.warn(
            "memory", f"{told}; tables and their ciphertexts take more: end other programs, or take a larger machine"
        )
    else:
        found.ok("memory", told)


def examine_arithmetic(found: Findings) -> None:
    """Find out which arithmetic the process gets."""
    with found.step("arithmetic"):
        name, why = tier.current()
        if name == tier.PORTABLE and tier.extension is None:
            found.warn("arithmetic", f"{name}: {why}; install both and run ops/install again, where speed matters")
        else:
            found.ok("arithmetic", f"{name}: {why}")


def examine(subject: Subject, found: Findings) -> None:
    """Look at all of it, as far as the member needs it."""
    if subject.party is not None:
        examine_tables(subject.party, found)
    if subject.state is not None:
        examine_disk(subject.state, found)
        examine_memory(found)
        examine_arithmetic(found)
