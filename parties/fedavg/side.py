"""A party's side of federated averaging: its part, and what is checked before a job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedbus.algorithms.fedavg.budget import spending
from fedbus.algorithms.fedavg.columns import check_as_is, check_same
from fedbus.algorithms.fedavg.plan import budget_note
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.cautions import seen_in_training
from fedbus.credentials import Credentials
from fedbus.errors import ConfigError, JobRefused
from fedbus.files import real
from fedbus.identity import Role
from parties.fedavg import consent
from parties.fedavg.local import Local, columns_of
from parties.fedavg.member import take_part
from parties.fedavg.pooled import compare
from parties.policy import Policy
from parties.side import Brought, check_sizes, in_common
from parties.sums.trust import Trust

__all__ = ["check", "check_sizes", "check_together", "compare", "in_common", "notes", "shortfalls", "take_part"]


def check(spec: AverageJob, brought: Brought, rows: int) -> None:
    """See PartySide; makes the job's network for the party's rows, and holds its identity against its roster."""
    party, policy = brought.party, Policy.of(brought.party)
    consent.check_job(policy, spec)
    consent.check_rows(policy, rows, len(brought.tables.train.columns))
    Local(spec, brought.tables, party.name, party.processes).describe()
    if spec.needs_identities and party.identity and party.roster:
        Trust.of(Credentials.of_member(party, Role.PARTY), party.path(party.roster), spec.parties)


def check_together(job_file: Path, spec: AverageJob, brought: Sequence[Brought]) -> None:
    """See PartySide."""
    if not brought:
        return
    _check_outputs(brought)
    check_same({each.party.name: columns_of(spec, each.tables) for each in brought})
    try:
        check_as_is(spec.data.as_is, brought[0].tables.train.columns)
    except JobRefused as error:
        raise ConfigError(f"{job_file}: {error}") from error


def notes(spec: AverageJob, brought: Sequence[Brought]) -> list[str]:
    """See PartySide."""
    told = [
        seen_in_training(each.party.name, each.tables.gaps.seen, each.tables.gaps.held_out)
        for each in brought
        if each.tables.gaps.seen
    ]
    if spec.needs_identities:
        for each in brought:
            missing = [key for key in ("identity", "roster") if not getattr(each.party, key)]
            if missing:
                told.append(
                    f"{each.file} names no {' and no '.join(missing)}. A simulation makes temporary ones; for a real"
                    f" job name both in the file, run `fedbus identity {each.file}`, and write the roster"
                )
    return told


def shortfalls(spec: AverageJob, brought: Sequence[Brought]) -> list[str]:
    """See PartySide: a privacy budget that does not allow all rounds for the rows that are here."""
    if not spec.privacy or not brought:
        return []
    rows = {each.party.name: len(each.tables.train) for each in brought}
    found = spending(spec, rows)
    return [budget_note(spec, rows, found)] if found.rounds < spec.params.rounds else []


def _check_outputs(brought: Sequence[Brought]) -> None:
    """Raise ConfigError where two parties would write predictions of a job into the same file."""
    first: dict[Path, Path] = {}
    for each in brought:
        if not each.party.outputs.folder:
            continue
        folder = real(each.party.path(each.party.outputs.folder))
        if folder in first:
            raise ConfigError(
                f"{each.file}: outputs.folder: {first[folder]} names the same folder, and both would write JOB.csv"
                " there; name a folder for each party"
            )
        first[folder] = each.file
