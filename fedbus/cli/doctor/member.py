"""Who is examined, and what lies on the member's own disk: its file, its identity, its roster, its store."""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedbus import environment, files, settings
from fedbus.certificates.files import TlsFiles
from fedbus.cli.doctor.findings import Findings
from fedbus.credentials import Credentials
from fedbus.errors import StoreError
from fedbus.identity import Identity, Role, Roster
from fedbus.job import COORDINATOR
from fedbus.members.entries import Member
from fedbus.members.keys import fingerprint, in_groups, read_public
from fedbus.members.roster import today
from fedbus.settings import BrokerSettings, CoordinatorSettings, PartySettings
from fedbus.statuses import Status
from fedbus.store.reader import Reader

_OTHERS = 0o077
_SOON = datetime.timedelta(days=30)


@dataclass
class Subject:
    """A member as its own files and variables describe it.

    Attributes:
        name: None of a client until its roster, or the broker, says it.
        file: of a party or a coordinator.
        coordinator: the coordinator's name, as far as it is known.
    """

    role: Role
    name: str | None
    broker: BrokerSettings
    identity: Path | None
    roster: Path | None
    file: Path | None = None
    party: PartySettings | None = None
    service: CoordinatorSettings | None = None
    coordinator: str = COORDINATOR

    @property
    def state(self) -> Path | None:
        """Return the file of the member's store; a client has none."""
        own = self.party or self.service
        return None if own is None else own.path(own.state)

    @property
    def tls(self) -> TlsFiles:
        """Return its files of certificates."""
        return self.broker.tls


def of_file(file: Path, found: Findings, variables: Mapping[str, str] | None = None) -> Subject | None:
    """Return a party or a coordinator. Return None where its file is wrong, which is then among the findings.

    Args:
        variables: its environment; None is that of this process.
    """
    with found.step("file"):
        own, role = settings.load_member(file, variables)
        check_policy(own)
        identity, roster = (own.path(path) if path else None for path in (own.identity, own.roster))
        subject = Subject(role, own.name, own.broker, identity, roster, file)
        if isinstance(own, PartySettings):
            subject.party = own
        else:
            subject.service, subject.coordinator = own, own.name
        _check_url(
            found, file if own.broker.url and not environment.broker_url(variables) else environment.url_file(variables)
        )
        found.ok("file", f"{file}: a {role}'s, {own.name}")
        return subject
    return None


def of_environment(
    identity: Path | None, roster: Path | None, found: Findings, variables: Mapping[str, str] | None = None
) -> Subject | None:
    """Return a client, who has no file. Return None where a variable is wrong, which is then among the findings.

    Args:
        identity, roster: in place of those that the variables name.
        variables: as `of_file` takes them.
    """
    with found.step("variables"):
        own = environment.key_files(variables)
        url, tls = environment.broker_url(variables), environment.broker_tls(variables)
        named = {key: str(file.path) for key in environment.TLS_KEYS if (file := getattr(tls, key))}
        where = {key: getattr(tls, key).setting for key in named}
        broker = BrokerSettings(
            url=url,
            ca=named.get("ca", ""),
            certificate=named.get("certificate", ""),
            key=named.get("key", ""),
            verify_sender=environment.verify_sender(variables),
            named=where,
        )
        _check_url(found, environment.url_file(variables))
        found.ok("variables", "a client, as no file is given")
        return Subject(Role.CLIENT, None, broker, identity or own[0], roster or own[1])
    return None


def check_policy(own: PartySettings | CoordinatorSettings) -> None:
    """Raise ConfigError where a party's policy says what there is not."""
    from parties.policy import Policy

    if isinstance(own, PartySettings):
        Policy.of(own)


def examine_keys(subject: Subject, found: Findings) -> None:
    """Look at the identity, and at the roster on which it has to be."""
    if subject.identity is None or subject.roster is None:
        _tell_missing(subject, found)
        return
    with found.step("identity"):
        own = Identity.load(subject.identity)
        public = read_public(own.public) or b""
        found.ok("identity", f"{subject.identity}: {in_groups(fingerprint(public))}")
    if found.has_failed("identity"):
        found.leave("roster", "there is no identity to look for on it")
        return
    with found.step("roster"):
        roster = Roster.load(subject.roster)
        known = Credentials.load(subject.role, subject.identity, subject.roster, subject.name)
        subject.name = known.name
        leads = [member.name for member in roster.members if member.role is Role.COORDINATOR]
        if leads and subject.role is not Role.COORDINATOR:
            subject.coordinator = leads[0]
        found.ok("roster", f"{subject.roster}: has {known.name} by this key, and has {len(roster.members)} members")
        for member in roster.members:
            _check_dates(member, subject, found)
        if not leads:
            found.warn("roster", f"{subject.roster}: has no coordinator; enter its line by `fedbus roster add`")


def examine_store(subject: Subject, found: Findings) -> None:
    """Find out whether the member's process could open or make its store."""
    store = subject.state
    if store is None:
        return
    try:
        at = files.found(store)
        folder = nearest(store.parent)
        may_write = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        found.fail("store", f"{store}: cannot be looked at: {error.strerror}", Status.STORE)
        return
    if not may_write:
        found.fail(
            "store", f"{store}: this user may not write into {folder}; let it, or name another `state`", Status.STORE
        )
        return
    if at is None:
        found.ok("store", f"{store}: is made when the process starts")
        return
    try:
        with Reader(store) as reader:
            models = len(reader.models())
    except StoreError as error:
        found.fail("store", str(error), Status.STORE)
        return
    if at.st_mode & _OTHERS:
        mode = stat.S_IMODE(at.st_mode)
        found.warn("store", f"{store}: others may read it (mode {mode:04o}), and it holds secrets; chmod 600 {store}")
        return
    found.ok("store", f"{store}: can be read, models {models}")


def nearest(folder: Path) -> Path:
    """Return the folder itself, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not files.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _tell_missing(subject: Subject, found: Findings) -> None:
    if subject.role is Role.CLIENT:
        named = "FEDBUS_IDENTITY and FEDBUS_ROSTER, or --identity and --roster"
        what = f"{named}: name two files, an identity (`fedbus identity NAME.key --client NAME`) and a roster"
    else:
        what = (
            f'{subject.file}: has to name identity = "state/{subject.name}.key" and roster = "roster.toml"; then'
            f" `fedbus identity {subject.file}` makes the key (docs/howto/identities.md)"
        )
    text = f"{what}; without them others cannot know who this is"
    missing = "identity" if subject.identity is None else "roster"
    found.fail(missing, text)


def _check_url(found: Findings, file: Path | None) -> None:
    """Warn where others may read a file that holds a password."""
    if file is None:
        return
    try:
        at = files.found(file)
    except OSError:
        # Who reads it says so better.
        return
    if at is not None and at.st_mode & _OTHERS:
        mode = stat.S_IMODE(at.st_mode)
        found.warn(
            "file", f"{file}: holds this member's login, and others may read it (mode {mode:04o}); chmod 600 {file}"
        )


def _check_dates(member: Member, subject: Subject, found: Findings) -> None:
    """Find out whether a member has a key that counts, today and for some time to come."""
    ends = [key.until for key in member.keys]
    if None in ends:
        return
    last = max(end for end in ends if end)
    place, own = f"{subject.roster}: {member.name}", member.name == subject.name
    if last < today():
        tell = found.fail if own else found.warn
        tell("roster", f"{place}: its key ended on {last}; enter its new line by `fedbus roster add --replace`")
    elif last <= today() + _SOON:
        found.warn("roster", f"{place}: its only key ends on {last}; change the key before (docs/howto/identities.md)")
