"""A party's part of a job, from its consent to what it tells at the end; of the algorithm, by the job."""

from __future__ import annotations

import structlog

from fedbus import models
from fedbus.crypto.engine import Engine
from fedbus.jobs import LinearJob
from fedbus.messages import Accepted, Finished
from fedbus.messages.fields import nulled
from fedbus.service.process import peak_memory
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from fedbus.store.sqlite import Store
from parties import outputs
from parties.data import tables
from parties.data.tables import Tables
from parties.linear import gram, sgd
from parties.policy import Policy
from parties.vertical.share import Result

log = structlog.get_logger()

_SOLVERS = {"gram": gram, "sgd": sgd}


def take_part(
    session: Session, engine: Engine, store: Store, settings: PartySettings, policy: Policy, metrics_url: str
) -> None:
    """Take part in a job, or go on with it: at the end the store has the model, and the coordinator the figures.

    Raises:
        FedbusError: the party does not consent, or cannot go on; see the algorithm's module.
    """
    spec = session.spec
    session.open()
    policy.check_job(spec)
    outputs.check(settings, spec)
    own = tables.load(settings, spec)
    for note in own.notes:
        log.warning("a table is not taken as it is", job=session.job, note=note)
    if not session.resumed:
        rows = {"train": len(own.train), "test": len(own.test) if own.test else 0}
        session.send(session.coordinator, Accepted(rows, len(own.train.columns), metrics_url))
    result = _carry_out(session, engine, own, policy, settings)
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


def _carry_out(session: Session, engine: Engine, own: Tables, policy: Policy, settings: PartySettings) -> Result:
    """This party's part; raises what the algorithm's module says."""
    result: Result
    if isinstance(session.spec, LinearJob):
        solver = _SOLVERS[session.spec.params.solver]
        role = solver.guest if session.role == "guest" else solver.host
        result = role(session, engine, own, policy)
        return result
    # Only those who train networks wait for torch to be loaded.
    from parties.fedavg import member

    result = member.take_part(session, engine, own, policy, settings)
    return result
