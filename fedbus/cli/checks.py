"""Party files held against a job, before it runs: the policy and the data of each, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedbus import batching, settings
from fedbus.cautions import many_weights
from fedbus.columns import check_as_is, check_same
from fedbus.errors import ConfigError, JobRefused
from fedbus.jobs import AverageJob, JobSpec, LinearJob
from fedbus.schema import nearest
from fedbus.settings import PartySettings

if TYPE_CHECKING:
    from parties.tables import Tables


@dataclass(frozen=True, slots=True)
class Brought:
    """A party of the job, as its file has it, and its tables."""

    file: Path
    party: PartySettings
    tables: Tables


def hold(
    job_file: Path,
    spec: JobSpec,
    files: Iterable[Path],
    environment: Mapping[str, str] | None = None,
    note: Callable[[str], object] = lambda _: None,
) -> list[Brought]:
    """Hold party files against a job: what could not run is better said before it is submitted.

    Args:
        environment: of the parties; None is that of this process.
        note: called with what is under way.

    Raises:
        ConfigError: a file is wrong, its party has no part in the job, or the job names a column that nobody has.
        DataError: a table is missing or wrong.
        JobRefused: a party's policy does not allow the job, or the parties' tables do not fit it or each other.
    """
    brought: list[Brought] = []
    for file in files:
        note(f"reading the tables of {file}")
        found = _own_tables(file, spec, environment)
        for other in brought:
            if other.party.name == found.party.name:
                raise ConfigError(f"{file}: name: {other.file} is the file of {found.party.name!r} already")
        _check_policy(found, spec)
        brought.append(found)
    if isinstance(spec, AverageJob) and brought:
        check_same({each.party.name: each.tables.train.columns for each in brought})
        try:
            check_as_is(spec.data.as_is, brought[0].tables.train.columns)
        except JobRefused as error:
            raise ConfigError(f"{job_file}: {error}") from error
    return brought


def notes(spec: JobSpec, brought: Sequence[Brought]) -> list[str]:
    """What parties lack that a simulation makes up for, and what a model of these tables would lack."""
    if isinstance(spec, LinearJob):
        rows = min((len(each.tables.train) for each in brought), default=None)
        columns = {each.party.name: len(each.tables.train.columns) for each in brought}
        return (
            [] if rows is None else [line.removesuffix(".") for line in many_weights(spec, rows, spec.trained(columns))]
        )
    if not isinstance(spec, AverageJob) or spec.params.aggregation == "plain":
        return []
    lacks = []
    for each in brought:
        missing = [key for key in ("identity", "roster") if not getattr(each.party, key)]
        if missing:
            lacks.append(
                f"{each.file} names no {' and no '.join(missing)}. A simulation makes temporary ones; for a real job "
                f"name both in the file, run `fedbus identity {each.file}`, and write the roster"
            )
    return lacks


def _own_tables(file: Path, spec: JobSpec, environment: Mapping[str, str] | None) -> Brought:
    """A party of the job and its tables, which have what an aligned part of them needs."""
    from parties import tables
    from parties.data import Scaling

    party = settings.load_party(file, environment)
    if party.name not in spec.parties:
        raise ConfigError(f"{file}: name: {party.name!r} has no part in the job; {nearest(party.name, spec.parties)}")
    own = tables.load(party, spec)
    if isinstance(spec, LinearJob):
        # What is constant in the whole table is so in any part of it.
        Scaling.fit(own.train)
    return Brought(file, party, own)


def _check_policy(brought: Brought, spec: JobSpec) -> None:
    """Hold a party's policy against a job, as far as its own rows tell: no more than these can be common."""
    from parties.policy import Policy

    party, own = brought.party, brought.tables
    policy, rows = Policy.of(party), len(own.train)
    try:
        policy.check_job(spec)
        if isinstance(spec, AverageJob):
            policy.check_average(spec)
            policy.check_rows(rows)
            _check_average(party, own, spec)
        elif isinstance(spec, LinearJob):
            params = spec.params
            trained = spec.trained({party.name: len(own.train.columns)})
            policy.check_alignment(rows)
            policy.check_batches(rows // batching.count(rows, params.batch_size), trained, params.solver)
    except JobRefused as error:
        raise JobRefused(f"{brought.file}: {error}") from error


def _check_average(party: PartySettings, own: Tables, spec: AverageJob) -> None:
    """Make the job's network for a party's rows, and hold its identity against its roster where it has both."""
    from parties.local import Local
    from parties.trust import Trust

    Local(spec, own, party.name, party.processes).describe()
    if spec.params.aggregation != "plain" and party.identity and party.roster:
        Trust.of(party, spec.parties)
