"""A job asks a party for one way of hiding vectors."""

from __future__ import annotations

from typing import Any

from fedbus.algorithms.sums.rules import SumRules
from fedbus.crypto.engine import Engine
from fedbus.job import JobSpec
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from parties.sums.hiding import Contributor, Hiding
from parties.sums.homomorphic import Encryption
from parties.sums.masked import Masking
from parties.sums.plain import Plain
from parties.sums.trust import Trust


def hiding_of(
    rules: SumRules,
    session: Session[JobSpec],
    contributor: Contributor,
    engine: Engine,
    settings: PartySettings,
    state: dict[str, Any],
) -> Hiding:
    """Return the job's way of hiding vectors.

    Args:
        state: of the contributor's checkpoint, {} before the first.

    Raises:
        ConfigError: a party of the job is not on the roster, where the aggregation needs that.
    """
    if not rules.hides:
        return Plain(session, contributor)
    trust = Trust.of(session.credentials, settings.path(settings.roster), rules.parties)
    if rules.aggregation == "masked":
        return Masking(session, rules, contributor, trust, state)
    return Encryption(session, rules, contributor, trust, engine, state)
