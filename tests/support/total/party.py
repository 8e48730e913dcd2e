"""A private total: the parties' side.

    1. first party -> second         a mask, uniform modulo 2^128
    2. first party -> coordinator    its sum + mask
       second party -> coordinator   its sum - mask
    3. coordinator -> both           the total

The coordinator sees two uniform numbers, whose sum is the total.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fedbus.algorithms.total.algorithm import BYTES, MODULUS, SCALE, Announced, Hidden, Mask, TotalJob, TotalReport
from fedbus.crypto.engine import Engine
from fedbus.errors import DataError
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from parties.data.tables import Tables, load
from parties.policy import Policy
from parties.side import Brought, Result, check_sizes, check_together, in_common, notes, shortfalls

__all__ = ["check", "check_sizes", "check_together", "compare", "in_common", "notes", "shortfalls", "take_part"]

_MOST = 2.0**80


def take_part(
    session: Session[TotalJob],
    engine: Engine,
    tables: Tables,
    policy: Policy,
    settings: PartySettings,
) -> Result:
    """See PartySide."""
    number = round(_sum(session.spec, tables) * SCALE)
    first, second = session.spec.parties
    session.at(1)
    if session.party == first:
        # The same after a restart, so that the second party never gets two.
        mask = session.random("mask").read(BYTES)
        session.send(second, Mask(mask))
        number += int.from_bytes(mask)
    else:
        number -= int.from_bytes(session.recv(first, Mask).value)
    session.send(session.coordinator, Hidden((number % MODULUS).to_bytes(BYTES)))
    total = session.recv(session.coordinator, Announced).value
    return Result({"total": total}, {"columns": 1})


def check(spec: TotalJob, brought: Brought, rows: int) -> None:
    """See PartySide: the party has the column."""
    _sum(spec, brought.tables)


def compare(spec: TotalJob, report: TotalReport, parties: Sequence[PartySettings]) -> dict[str, Any]:
    """See PartySide."""
    return {"pooled_total": math.fsum(_sum(spec, load(party, spec)) for party in parties)}


def _sum(spec: TotalJob, tables: Tables) -> float:
    table = tables.fit(tables.train).apply(tables.train)
    if spec.column not in table.columns:
        raise DataError(f"{table.name}: no column {spec.column!r}; it has {', '.join(table.columns)}")
    total = math.fsum(table.features[:, table.columns.index(spec.column)])
    if abs(total) > _MOST:
        raise DataError(f"{table.name}: column {spec.column!r} adds up to more than 2^80; change its unit")
    return total
