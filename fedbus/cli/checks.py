"""Party files held against a job, before it runs: the policy and the data of each, and all of them together."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedbus import settings
from fedbus.algorithms.fedavg.columns import check_as_is, check_same
from fedbus.algorithms.vertical import batching
from fedbus.cautions import alike, many_weights
from fedbus.errors import ConfigError, JobRefused
from fedbus.jobs import AverageJob, JobSpec, LinearJob
from fedbus.schema import listed
from fedbus.settings import PartySettings

if TYPE_CHECKING:
    from parties.data.tables import Tables


@dataclass(frozen=True, slots=True)
class Brought:
    """A party of the job, as its file has it, and its tables."""

    file: Path
    party: PartySettings
    tables: Tables

    @property
    def columns(self) -> int:
        """How many columns of this party a model trains, as far as all of its rows tell."""
        return len(self.tables.fit(self.tables.train).columns)


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
    parties = [(file, settings.load_party(file, environment)) for file in files]
    _check_names(job_file, spec, parties)
    for file, party in parties:
        note(f"reading the tables of {file}")
        found = _own_tables(file, party, spec)
        _check_policy(found, spec, len(found.tables.train))
        brought.append(found)
    if isinstance(spec, LinearJob) and len(brought) == len(spec.parties):
        for held_out in (False, True):
            _check_in_common(spec, brought, held_out=held_out)
    if isinstance(spec, AverageJob) and brought:
        _check_outputs(brought)
        check_same({each.party.name: each.tables.train.columns for each in brought})
        try:
            check_as_is(spec.data.as_is, brought[0].tables.train.columns)
        except JobRefused as error:
            raise ConfigError(f"{job_file}: {error}") from error
    return brought


def _check_names(job_file: Path, spec: JobSpec, parties: Sequence[tuple[Path, PartySettings]]) -> None:
    """ConfigError where a party file is of nobody in the job: which of two names is wrong, their owners know."""
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


def _check_outputs(brought: Sequence[Brought]) -> None:
    """ConfigError where two parties would write predictions of a job into the same file, and one would lose its own."""
    first: dict[Path, Path] = {}
    for each in brought:
        if not each.party.outputs.folder:
            continue
        folder = each.party.path(each.party.outputs.folder).resolve()
        if folder in first:
            raise ConfigError(
                f"{each.file}: outputs.folder: {first[folder]} names the same folder, and both would write JOB.csv"
                " there; name a folder for each party"
            )
        first[folder] = each.file


def notes(spec: JobSpec, brought: Sequence[Brought]) -> list[str]:
    """What an operator should know of the tables and of a model of them, and what a simulation makes up for."""
    told = [f"{each.file}: {note}" for each in brought for note in each.tables.notes]
    for held_out in (False, True):
        if (found := in_common(spec, brought, held_out=held_out)) and found[1] > found[0]:
            told.append(alike(*found, "held-out rows" if held_out else "rows"))
    if isinstance(spec, LinearJob) and len(brought) == len(spec.parties):
        rows = min(len(each.tables.train) for each in brought)
        columns = {each.party.name: each.columns for each in brought}
        told += many_weights(spec, rows, spec.trained(columns))
    return [line.removesuffix(".") for line in told] + _lacks(spec, brought)


def _lacks(spec: JobSpec, brought: Sequence[Brought]) -> list[str]:
    """What parties lack that a simulation makes up for."""
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


def _own_tables(file: Path, party: PartySettings, spec: JobSpec) -> Brought:
    """A party of the job and its tables, which have what an aligned part of them needs."""
    from parties import outputs
    from parties.data import tables
    from parties.data.table import Scaling

    outputs.check(party, spec)
    own = tables.load(party, spec)
    if isinstance(spec, LinearJob):
        # What is constant in the whole table is so in any part of it.
        Scaling.fit(own.fit(own.train).apply(own.train))
    return Brought(file, party, own)


def in_common(spec: JobSpec, brought: Sequence[Brought], *, held_out: bool = False) -> tuple[int, int] | None:
    """Rows in common as ids are, and if they were written alike; None where not all parties have such tables here."""
    from parties.data import ids

    tables = [each.tables.test if held_out else each.tables.train for each in brought]
    if not isinstance(spec, LinearJob) or len(brought) < len(spec.parties) or not all(tables):
        return None
    return ids.in_common([table.ids for table in tables if table is not None])


def _check_in_common(spec: JobSpec, brought: Sequence[Brought], *, held_out: bool) -> None:
    """Make sure that the parties' tables have enough rows in common; raises JobRefused with what is known of why."""
    from parties.policy import Policy

    found = in_common(spec, brought, held_out=held_out)
    if found is None:
        return
    rows, folded = found
    kind = "held-out rows" if held_out else "rows"
    hint = f"; {alike(rows, folded)}" if folded > rows else ""
    if not rows:
        tables = [each.tables.test if held_out else each.tables.train for each in brought]
        names = listed([table.name for table in tables if table is not None])
        raise JobRefused(f"{names} have no id in common{hint or '; do their id columns mean the same?'}")
    for each in brought:
        try:
            Policy.of(each.party).check_alignment(rows, kind)
        except JobRefused as error:
            raise JobRefused(f"{each.file}: {error}{hint}") from error
        if not held_out:
            _check_policy(each, spec, rows)


def _check_policy(brought: Brought, spec: JobSpec, rows: int) -> None:
    """Hold a party's policy against a job, as far as tables tell: no more than `rows` can be trained on."""
    from parties.policy import Policy

    party, own = brought.party, brought.tables
    policy = Policy.of(party)
    try:
        policy.check_job(spec)
        if isinstance(spec, AverageJob):
            policy.check_average(spec)
            policy.check_rows(rows)
            _check_average(party, own, spec)
        elif isinstance(spec, LinearJob):
            params = spec.params
            trained = spec.trained({party.name: brought.columns})
            policy.check_alignment(rows)
            policy.check_batches(rows // batching.count(rows, params.batch_size), trained, params.solver)
    except JobRefused as error:
        raise JobRefused(f"{brought.file}: {error}") from error


def _check_average(party: PartySettings, own: Tables, spec: AverageJob) -> None:
    """Make the job's network for a party's rows, and hold its identity against its roster where it has both."""
    from parties.fedavg.local import Local
    from parties.sums.trust import Trust

    Local(spec, own, party.name, party.processes).describe()
    if spec.params.aggregation != "plain" and party.identity and party.roster:
        Trust.of(party, spec.parties)
