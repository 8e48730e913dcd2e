"""A party's side of vertical linear regression, which is that of the job's solver, and what is checked before a job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedbus.algorithms.base import Sizes
from fedbus.algorithms.linear.report import many_weights
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.vertical import batching
from fedbus.cautions import alike, seen_in_training
from fedbus.crypto.engine import Engine
from fedbus.errors import JobRefused
from fedbus.names import listed
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from parties.data import ids
from parties.data.table import Scaling
from parties.data.tables import Tables
from parties.linear import gram, sgd
from parties.linear.pooled import compare
from parties.policy import Policy
from parties.side import Brought, Result, shortfalls
from parties.vertical import consent

__all__ = ["check", "check_sizes", "check_together", "compare", "in_common", "notes", "shortfalls", "take_part"]

_SOLVERS = {"gram": gram, "sgd": sgd}


def take_part(
    session: Session[LinearJob],
    engine: Engine,
    tables: Tables,
    policy: Policy,
    settings: PartySettings,
) -> Result:
    """See PartySide."""
    solver = _SOLVERS[session.spec.params.solver]
    role = solver.guest if session.role == "guest" else solver.host
    result: Result = role(session, engine, tables, policy)
    return result


def check(spec: LinearJob, brought: Brought, rows: int) -> None:
    """See PartySide."""
    own, policy = brought.tables, Policy.of(brought.party)
    # What is constant in the whole table is so in any part of it.
    Scaling.fit(own.fit(own.train).apply(own.train))
    consent.check_alignment(policy, rows)
    trained = spec.trained({brought.party.name: brought.columns})
    consent.check_batches(policy, rows // batching.count(rows, spec.batch_size), trained, centred=spec.centred)


def check_sizes(spec: LinearJob, sizes: Sizes) -> None:
    """See PartySide: rows that one round would give away."""
    if sizes.common is None or any(party not in sizes.columns for party in spec.parties):
        return
    trained = spec.trained({party: sizes.columns[party] for party in spec.parties})
    smallest = sizes.common // batching.count(sizes.common, spec.batch_size)
    consent.check_batches(Policy(min_batch_rows=1), smallest, trained, centred=spec.centred)


def check_together(job_file: Path, spec: LinearJob, brought: Sequence[Brought]) -> None:
    """See PartySide; tables that have too few rows in common are told with what is known of why."""
    if len(brought) == len(spec.parties):
        for held_out in (False, True):
            _check_in_common(spec, brought, held_out=held_out)


def in_common(spec: LinearJob, brought: Sequence[Brought], *, held_out: bool = False) -> tuple[int, int] | None:
    """See PartySide."""
    tables = [each.tables.test if held_out else each.tables.train for each in brought]
    if len(brought) < len(spec.parties) or not all(tables):
        return None
    return ids.in_common([table.ids for table in tables if table is not None])


def notes(spec: LinearJob, brought: Sequence[Brought]) -> list[str]:
    """See PartySide."""
    told = []
    for held_out in (False, True):
        if (found := in_common(spec, brought, held_out=held_out)) and found[1] > found[0]:
            told.append(alike(*found, "held-out rows" if held_out else "rows"))
    tests = [each.tables.test for each in brought if each.tables.test is not None]
    # Of one table alone it is not known which rows are in common.
    if len(brought) == len(spec.parties) and len(tests) == len(brought):
        common = [table.ids for table in tests]
        if count := ids.seen([each.tables.train.ids for each in brought], common):
            told.append(seen_in_training(spec.guest.party, count, ids.in_common(common)[0]))
    if len(brought) == len(spec.parties):
        rows = min(len(each.tables.train) for each in brought)
        told += many_weights(spec, rows, spec.trained({each.party.name: each.columns for each in brought}))
    return told


def _check_in_common(spec: LinearJob, brought: Sequence[Brought], *, held_out: bool) -> None:
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
            consent.check_alignment(Policy.of(each.party), rows, kind)
            if not held_out:
                check(spec, each, rows)
        except JobRefused as error:
            raise JobRefused(f"{each.file}: {error}{hint}") from error
