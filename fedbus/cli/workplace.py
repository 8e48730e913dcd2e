"""A simulation works in a folder with stores of its own, keys and logs.

So nothing of a simulation that was killed disturbs a later one, two at a time do not disturb each other, and what a
party file calls its store gets the model of a job that succeeded and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from fedbus import files
from fedbus.errors import ConfigError, StoreError, StoreInUse
from fedbus.settings import PartySettings
from fedbus.store.reader import Reader
from fedbus.store.sqlite import SqliteStore

_PREFIX, _KEPT_PREFIX = "fedbus-simulate-", "fedbus-models-"
# A folder that is younger may not have been locked yet by the simulation that made it.
_YOUNG_SECONDS = 60.0
# Another simulation has a party's store for as long as it takes to put a model there.
_BUSY_SECONDS, _POLL_SECONDS = 5.0, 0.05


class Workplace:
    """The folder in which one simulation works.

    Attributes:
        folder: where it is; only its owner may look into it.
        kept: whether it stays when the simulation has ended.
    """

    def __init__(self, folder: Path, *, kept: bool) -> None:
        self.folder = folder
        self.kept = kept

    def store(self, name: str) -> Path:
        """Return the path of a participant's store."""
        return self.folder / f"{name}.db"

    def settle(self, parties: Sequence[PartySettings]) -> list[PartySettings]:
        """Return the parties' settings with stores in this folder.

        Raises:
            StoreError: what a party file calls its store is none, or this user may not look at it, so that it could
                not take the model either.
        """
        for party in parties:
            own = party.path(party.state)
            try:
                has_one = files.exists(own)
            except OSError as error:
                raise StoreError(f"{own}: the store cannot be opened: {error.strerror}") from error
            if has_one:
                with Reader(own) as reader:
                    reader.models()
        return [msgspec.structs.replace(party, state=str(self.store(party.name).absolute())) for party in parties]

    def hand_out(self, job: str, parties: Sequence[PartySettings]) -> list[str]:
        """Put each party's model into the store that its file names.
        Say which could not be put there, and where they are.
        """
        troubles = {}
        for party in parties:
            with SqliteStore(self.store(party.name)) as own:
                share = own.model(job)
            try:
                if share is not None:
                    _put(party.path(party.state), job, share)
            except StoreError as error:
                troubles[party.name] = error
        if troubles and not self.kept:
            folder = Path(tempfile.mkdtemp(prefix=_KEPT_PREFIX, dir=self.folder.parent))
            self.folder = self.folder.rename(folder)
            self.kept = True
        return [
            f"the model of {name} is in {self.store(name)}, not in the store that its file names ({error})"
            for name, error in troubles.items()
        ]


@contextlib.contextmanager
def open_workplace(keep: Path | None) -> Iterator[Workplace]:
    """Open a folder for one simulation: this one, to stay, or a temporary one.

    Raises:
        ConfigError: it cannot be made, or has something in it.
    """
    if keep is not None:
        try:
            keep.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(keep.iterdir()):
                raise ConfigError(f"--keep: {keep} is not empty; name a new folder")
        except OSError as error:
            raise ConfigError(f"--keep: {keep} cannot be the folder: {files.reason(error, keep)}") from error
        yield Workplace(files.real(keep), kept=True)
        return
    try:
        _sweep(Path(tempfile.gettempdir()))
        place = Workplace(Path(tempfile.mkdtemp(prefix=_PREFIX)), kept=False)
    except OSError as error:
        raise ConfigError(f"TMPDIR: a temporary folder cannot be made: {error.strerror}") from error
    try:
        with _locked(place.folder):
            yield place
    finally:
        if not place.kept:
            shutil.rmtree(place.folder, ignore_errors=True)


def _put(path: Path, job: str, share: bytes) -> None:
    """Keep a model in a store, when whoever works on it has finished, if that is soon."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            with SqliteStore(path) as store:
                store.save_model(job, share)
        except StoreInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def _sweep(folder: Path) -> None:
    """Remove what simulations have left that were killed: there are secrets of their jobs, and rows, in it."""
    for left in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = left.lstat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > _YOUNG_SECONDS:
                with _locked(left):
                    shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Return a folder that is this process's alone while it runs; raise OSError where it is another's."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)
