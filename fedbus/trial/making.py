"""A trial's folder is written: identities, rosters, passwords and certificates of all its members."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fedbus.algorithms import registry
from fedbus.broker.node.accounts import amqp_url, new_password, write_private
from fedbus.broker.node.definitions import definitions
from fedbus.certificates.folder import provide
from fedbus.errors import ConfigError
from fedbus.files import exists, is_folder, reason
from fedbus.identity import Identity
from fedbus.names import listed
from fedbus.trial import texts
from fedbus.trial.layout import CERTIFICATES, LOGS, TRIAL, Cast, TrialFolder
from fedbus.trial.texts import DATASET, Dataset

_DAYS, _RENEW_DAYS = 397, 60
_LABEL = "LABEL"
_JOB = "trial"


def make(folder: Path, cast: Cast, data: Mapping[str, Sequence[Dataset]], label: str = "") -> list[str]:
    """Write a whole federation into a folder that is new or empty; only its owner may look into it.

    Args:
        data: the tables of parties, by party; who has none is to write them into its file.
        label: the column that jobs are to predict; "" where somebody is to write it.

    Returns:
        The names of the job files that each client has.

    Raises:
        ConfigError: the folder is not empty or cannot be written, or no algorithm fits the tables.
    """
    jobs = drafts(cast, data, label)
    with _new(folder):
        layout = TrialFolder(folder)
        for name in (*cast.roles, layout.definitions.parent.name, LOGS):
            (layout.folder / name).mkdir(mode=0o700)
        for name in cast.services:
            (layout.folder / name / "state").mkdir(mode=0o700)
        logins = _logins(layout, cast)
        _introduce(layout, cast)
        for party in cast.parties:
            text = texts.party_file(party, data.get(party, ()), logins[party])
            write_private(layout.own(party, ".toml"), text)
        write_private(layout.own(cast.coordinator, ".toml"), texts.coordinator_file(cast, logins[cast.coordinator]))
        for client in cast.clients:
            write_private(layout.own(client, ".sh"), texts.client_variables(layout, client, logins[client]))
            for name, draft in jobs.items():
                write_private(layout.folder / client / name, texts.job_file(draft, label=bool(label)))
        write_private(layout.folder / TRIAL, texts.trial_file(msgspec.to_builtins(cast)))
        filled = all(data.get(party) for party in cast.parties)
        write_private(layout.folder / "README.md", texts.readme(cast, jobs, filled=filled))
    return list(jobs)


def drafts(cast: Cast, data: Mapping[str, Sequence[Dataset]], label: str) -> dict[str, dict[str, Any]]:
    """Draft job files, by their names: one of each algorithm for which the right tables have the label.

    Raises:
        ConfigError: no algorithm fits.
    """
    firsts = {party: data[party][0] for party in cast.parties if data.get(party)}
    holders = [party for party, table in firsts.items() if label in table.columns]
    # Who has the label comes first.
    order = sorted(cast.parties, key=lambda party: party not in holders)
    tables = [(party, firsts[party].name if party in firsts else DATASET) for party in order]
    made = {}
    for name, algorithm in registry.named().items():
        draft = algorithm.job.draft(tables, label or _LABEL)
        if not draft:
            continue
        fields = {"name": _JOB, "algorithm": name, "coordinator": cast.coordinator, **draft}
        try:
            spec = registry.parse(fields)
        except ConfigError:
            # Of too few parties, for example.
            continue
        wanted = {party for party in firsts if spec.label_of(party) is not None}
        if not label or wanted == set(holders):
            made[f"{name}.toml"] = fields
    if not made and label:
        having = f"those of {listed(holders)} have it" if holders else "none has it"
        raise ConfigError(
            f"--label {label}: has to be a column of one party's table, where parties have different columns of the"
            f" same rows, or of all parties' tables, where they have different rows of the same columns; {having}"
        )
    return made


@contextmanager
def _new(folder: Path) -> Iterator[None]:
    """Make a folder, or take an empty one. What is written within stays only where all of it was written."""
    try:
        made = not exists(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder}: is not empty; name a new folder")
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be the folder: {reason(error, folder)}") from error
    try:
        yield
    except BaseException as error:
        for left in folder.iterdir():
            if is_folder(left):
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        if made:
            folder.rmdir()
        if isinstance(error, OSError):
            place = Path(error.filename or folder)
            raise ConfigError(f"{place}: cannot be written: {reason(error, place)}") from error
        raise


def _logins(layout: TrialFolder, cast: Cast) -> dict[str, dict[str, Path]]:
    """Write the broker's definitions and each member's URL. Return the files for TLS of each, none without TLS."""
    passwords = {name: new_password() for name in cast.roles}
    roles = {name: str(role) for name, role in cast.roles.items()}
    write_private(layout.definitions, json.dumps(definitions(roles, passwords), indent=2) + "\n")
    if cast.tls:
        own = layout.folder / CERTIFICATES
        own.mkdir(mode=0o700)
        provide(own, ["127.0.0.1"], list(cast.roles), days=_DAYS, renew_days=_RENEW_DAYS)
        for path in own.rglob("*"):
            path.chmod(0o700 if is_folder(path) else 0o600)
    for name, password in passwords.items():
        # With a certificate nobody needs the password, and nobody gets it.
        url = f"{cast.address}/" if cast.tls else amqp_url(name, password, cast.address)
        write_private(layout.own(name, ".url"), url + "\n")
    return {name: layout.tls_files(name) if cast.tls else {} for name in cast.roles}


def _introduce(layout: TrialFolder, cast: Cast) -> None:
    """Make each member's identity, and a roster of all for each."""
    members = [Identity.create(layout.own(name, ".key")).introduction(name, role) for name, role in cast.roles.items()]
    text = "\n".join(["[members]", *(member.line() for member in members)]) + "\n"
    for name in cast.roles:
        write_private(layout.roster(name), text)
