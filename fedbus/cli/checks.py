"""Party files are held against a job before it runs: the policy and the data of each, and all of them together."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedbus import settings
from fedbus.errors import ConfigError, JobRefused
from fedbus.job import JobSpec
from fedbus.names import listed
from fedbus.settings import PartySettings

if TYPE_CHECKING:
    from parties.side import Brought


def hold(
    job_file: Path,
    spec: JobSpec,
    files: Iterable[Path],
    environment: Mapping[str, str] | None = None,
    note: Callable[[str], object] = lambda _: None,
) -> list[Brought]:
    """Hold party files against a job: that a job could not run is better said before it is submitted.

    Args:
        environment: of the parties; None is that of this process.
        note: called with what is under way.

    Raises:
        ConfigError: a file is wrong, its party has no part in the job, or the job names a column that nobody has.
        DataError: a table is missing or wrong.
        JobRefused: a party's policy does not allow the job, or the parties' tables do not fit it or each other.
    """
    parties = [(file, settings.load_party(file, environment)) for file in files]
    return hold_parties(job_file, spec, parties, note)


def hold_parties(
    job_file: Path,
    spec: JobSpec,
    parties: Sequence[tuple[Path, PartySettings]],
    note: Callable[[str], object] = lambda _: None,
) -> list[Brought]:
    """Hold parties against a job; see `hold`.

    Args:
        parties: each with its file, or with what stands for it in errors.
    """
    from parties.participation import bring
    from parties.policy import Policy
    from parties.side import Brought, side_of

    brought: list[Brought] = []
    side = side_of(spec)
    _check_names(job_file, spec, parties)
    for file, party in parties:
        note(f"reading the tables of {file}")
        try:
            found = Brought(file, party, bring(party, spec, Policy.of(party)))
            side.check(spec, found, len(found.tables.train))
        except JobRefused as error:
            raise JobRefused(f"{file}: {error}") from error
        brought.append(found)
    side.check_together(job_file, spec, brought)
    return brought


def _check_names(job_file: Path, spec: JobSpec, parties: Sequence[tuple[Path, PartySettings]]) -> None:
    """Raise ConfigError where a party file is of nobody in the job: which of two names is wrong, their owners know."""
    files: dict[str, Path] = {}
    for file, party in parties:
        if party.name in files:
            raise ConfigError(f"{file}: name: {files[party.name]} is the file of {party.name!r} already")
        files[party.name] = file
    absent = {name: place for name, place in zip(spec.parties, spec.places, strict=True) if name not in files}
    strange = [name for name in files if name not in spec.parties]
    for name in strange:
        near = difflib.get_close_matches(name, absent, n=1)
        if not near and len(strange) == len(absent) == 1:
            near = list(absent)
        if near:
            raise ConfigError(
                f"{job_file}: {absent[near[0]]}.party: {near[0]!r} is the name of no party file here; the nearest is"
                f" {name!r}, the name in {files[name]}: write the two alike"
            )
        raise ConfigError(
            f"{files[name]}: name: {name!r} has no part in the job; the parties of {job_file} are"
            f" {listed([repr(party) for party in spec.parties])}"
        )


def notes(spec: JobSpec, brought: Sequence[Brought]) -> list[str]:
    """Return what an operator should know of the tables and of a model of them, and what a simulation makes up for."""
    from parties.side import side_of

    told = [f"{each.file}: {note}" for each in brought for note in each.tables.notes]
    return [line.removesuffix(".") for line in told + side_of(spec).notes(spec, brought)]
