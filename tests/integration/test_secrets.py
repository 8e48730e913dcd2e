"""What a simulation on RabbitMQ writes and shows, searched for passwords, private keys and the secrets of its job."""

from __future__ import annotations

import base64
import contextlib
import os
import sqlite3
import stat
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from fedbus.broker.node import node as broker_node
from fedbus.members.keys import read_private
from fedbus.messages.control import Event, Progress
from federation import Federation, held_out, synthetic

# Public, or for the one who submitted the job: the rosters' keys and the report.
PUBLIC = {"roster.toml", "report.json", "coordinator.toml", "job.toml"}
ROLES = ("shop", "bank", "coordinator")


def forms(secret: bytes) -> list[bytes]:
    """A secret in all forms in which it might have been written."""
    text = secret.hex()
    coded = [base64.b64encode(secret), base64.urlsafe_b64encode(secret)]
    return [secret, text.encode(), text.upper().encode(), *(each.rstrip(b"=") for each in coded)]


class Watcher(list[Event]):
    """Looks at what there is while the job runs.

    Attributes:
        place: where the simulation keeps its files.
        secrets: by what each is; those of jobs are read from the stores.
        shown: what processes show by then: their command lines and metrics pages.
        cores: how long a core file of each participant may be, in bytes.
    """

    place: Path

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, bytes] = {}
        self.shown: dict[str, bytes] = {}
        self.cores: list[str] = []

    def append(self, event: Event) -> None:
        super().append(event)
        if isinstance(event, Progress) and not self.shown:
            self._read_stores()
            self._read_processes()
            self._read_pages()

    def _read_stores(self) -> None:
        for name in ROLES:
            with contextlib.closing(sqlite3.connect(f"file:{self.place / name}.db?mode=ro", uri=True)) as store:
                ((secret,),) = store.execute("SELECT secret FROM jobs")
            self.secrets[f"{name}'s secret of the job"] = secret

    def _read_processes(self) -> None:
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                self.shown[f"command line of process {folder.name}"] = line = (folder / "cmdline").read_bytes()
                if self._is_own(line):
                    limits = (folder / "limits").read_text().splitlines()
                    self.cores += [each.split()[4] for each in limits if each.startswith("Max core file size")]

    def _is_own(self, line: bytes) -> bool:
        """Whether a command line is that of a participant of this federation, and not of another one on the machine."""
        return b"--until-end-of-input" in line and bytes(self.place.parent) in line

    def _read_pages(self) -> None:
        for pid in [name.split()[-1] for name, line in self.shown.items() if self._is_own(line)]:
            for port in _ports(int(pid)):
                url = f"http://127.0.0.1:{port}/metrics"
                with urllib.request.urlopen(url, timeout=10) as page:
                    self.shown[url] = page.read()


def _ports(pid: int) -> Iterator[int]:
    """Those that a process listens on."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(descriptor.readlink()))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in links:
            yield int(fields[1].split(":")[1], 16)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Federation, Watcher, Path]:
    """A job that succeeded, on a node of its own, with all temporary files in one folder that is left as it is."""
    folder, temporary = tmp_path_factory.mktemp("federation"), tmp_path_factory.mktemp("temporary")
    federation, watcher = synthetic(folder, max_epochs=3, tolerance=0.0), Watcher()
    held_out(federation, 10)
    for name in ("shop", "bank"):
        file = folder / f"{name}.toml"
        file.write_text(file.read_text() + '[outputs]\nfolder = "out"\n[policy]\nmin_aligned_rows = 2\n')
    watcher.place, federation.events = folder / "run1", watcher
    url, mask = broker_node.Node.url, os.umask(0o022)

    def spy(self: broker_node.Node, user: str) -> str:
        made = url(self, user)
        watcher.secrets[f"password of {user}"] = unquote(urlsplit(made).password or "").encode()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker_node.Node, "url", spy)
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.delenv("FEDBUS_AMQP_URL", raising=False)
        try:
            report = federation.run("amqp")
        finally:
            os.umask(mask)
    assert report["state"] == "succeeded", report
    for name in (*ROLES, "client"):
        private = read_private((federation.place / f"{name}.key").read_text().strip())
        assert private is not None
        watcher.secrets[f"private key of {name}"] = private
    return federation, watcher, temporary


def test_there_was_something_to_find(ran: tuple[Federation, Watcher, Path]) -> None:
    _, watcher, _ = ran
    assert len(watcher.secrets) == 4 + 4 + len(ROLES)
    assert min(map(len, watcher.secrets.values())) >= 18
    pages = [text for name, text in watcher.shown.items() if name.startswith("http")]
    assert len(pages) == len(ROLES)
    assert all(b"fedbus_messages_total" in text for text in pages)
    assert sum(b"fedbus-party" in line for line in watcher.shown.values()) >= 2


def test_no_process_and_no_page_shows_a_secret(ran: tuple[Federation, Watcher, Path]) -> None:
    _, watcher, _ = ran
    for place, text in watcher.shown.items():
        for what, secret in watcher.secrets.items():
            assert not any(form in text for form in forms(secret)), f"{place} has the {what}"


def test_a_process_that_crashes_leaves_no_core_file(ran: tuple[Federation, Watcher, Path]) -> None:
    # Processes for arithmetic have the command lines of those that started them.
    assert len(ran[1].cores) >= len(ROLES)
    assert set(ran[1].cores) == {"0"}


def test_no_file_has_a_secret_once_the_job_has_ended(ran: tuple[Federation, Watcher, Path]) -> None:
    federation, watcher, temporary = ran
    files = [path for folder in (federation.folder, temporary) for path in folder.rglob("*") if path.is_file()]
    assert {f"{name}.db" for name in ROLES} | {f"{name}.log" for name in ROLES} <= {path.name for path in files}
    for path in files:
        text = path.read_bytes()
        for what, secret in watcher.secrets.items():
            if path.name != f"{what.removeprefix('private key of ')}.key":
                assert not any(form in text for form in forms(secret)), f"{path} has the {what}"


def test_only_the_own_user_reads_what_a_job_writes(ran: tuple[Federation, Watcher, Path]) -> None:
    federation, _, temporary = ran
    folders = [federation.place, federation.folder / "state", federation.folder / "out", temporary]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [
        f"{path} {stat.S_IMODE(path.stat().st_mode):o}"
        for path in files
        if path.stat().st_mode & 0o077 and path.name not in PUBLIC
    ] == []
