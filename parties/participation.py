"""A party's part of a job, from its consent to what it tells at the end."""

from __future__ import annotations

import structlog

from fedbus import models
from fedbus.crypto.engine import Engine
from fedbus.job import JobSpec
from fedbus.messages.control import Accepted, Finished
from fedbus.messages.fields import nulled
from fedbus.service.process import peak_memory
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from fedbus.store.base import Store
from parties import outputs
from parties.data import tables
from parties.data.tables import Tables
from parties.policy import Policy
from parties.side import side_of

log = structlog.get_logger()


def bring(settings: PartySettings, spec: JobSpec, policy: Policy) -> Tables:
    """The tables of this party's part in a job to which it consents.

    Raises:
        JobRefused: the policy does not allow the job, or the party has no such data.
        ConfigError: a key of its file has no effect, or predictions cannot be written where it says.
        DataError: a table is missing or wrong.
    """
    policy.check_job(spec)
    outputs.check(settings, spec)
    return tables.load(settings, spec)


def take_part(
    session: Session[JobSpec], engine: Engine, store: Store, settings: PartySettings, policy: Policy, metrics_url: str
) -> None:
    """Take part in a job, or go on with it: at the end the store has the model, and the coordinator the figures.

    Raises:
        FedbusError: the party does not consent, or cannot go on; see the algorithm's module.
    """
    spec = session.spec
    session.open()
    own = bring(settings, spec, policy)
    for note in own.notes:
        log.warning("a table is not taken as it is", job=session.job, note=note)
    if not session.resumed:
        rows = {"train": len(own.train), "test": len(own.test) if own.test else 0}
        session.send(session.coordinator, Accepted(rows, len(own.train.columns), metrics_url))
    result = side_of(spec).take_part(session, engine, own, policy, settings)
    model = models.pack(spec, session.job, session.party, result.model)
    session.when_there_is_room(lambda: store.save_model(session.job, model))
    session.at(session.round + 1)
    figures = {
        **nulled(result.figures),
        **own.counts(result.missing),
        **outputs.keep(settings, session.job, result.predictions),
        "bytes_sent": session.bytes_sent,
        "peak_memory_bytes": peak_memory(),
        "metrics": metrics_url,
    }
    session.send(session.coordinator, Finished(figures))
