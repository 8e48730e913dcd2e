"""A party's part of a job, from its consent to what it tells at the end."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import structlog

from fedbus import codec, models
from fedbus.crypto.engine import Engine
from fedbus.job import JobSpec
from fedbus.messages.control import Accepted, Finished
from fedbus.messages.fields import nulled
from fedbus.service.process import peak_memory
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from fedbus.store.base import Store
from parties import consent, outputs
from parties.approval import Approvals, check_answer
from parties.data import tables
from parties.data.tables import Tables
from parties.past import Remembered
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
    consent.check_part(policy, spec, settings.name)
    outputs.check(settings, spec)
    own = tables.load(settings, spec)
    consent.check_columns(policy, spec.part_of(settings.name).dataset, own.named)
    return own


def take_part(
    session: Session[JobSpec], engine: Engine, store: Store, settings: PartySettings, policy: Policy, metrics_url: str
) -> None:
    """Take part in a job, or go on with it: at the end the store has the model, and the coordinator the figures.

    Raises:
        FedbusError: the party does not consent, or cannot go on; see the algorithm's module.
    """
    spec = session.spec
    session.open()
    own = _join(session, store, settings, policy, metrics_url)
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


def _join(session: Session[JobSpec], store: Store, settings: PartySettings, policy: Policy, metrics_url: str) -> Tables:
    """Consent to a job and tell the coordinator so, unless that is done; the tables that it is given."""
    spec = session.spec
    use = Remembered(session, store, policy)
    joined = session.resumed
    try:
        if joined:
            use.go_on()
        else:
            _permit(session, store, settings, policy, use)
        own = replace(bring(settings, spec, policy), use=use)
        for note in own.notes:
            log.warning("a table is not taken as it is", job=session.job, note=note)
        if not joined:
            rows = {"train": len(own.train), "test": len(own.test) if own.test else 0}
            session.when_there_is_room(lambda: _enter_consent(session, store, rows))
            joined = True
            session.send(session.coordinator, Accepted(rows, len(own.train.columns), metrics_url))
    finally:
        if not joined:
            use.take_back()
    return own


def _permit(session: Session[JobSpec], store: Store, settings: PartySettings, policy: Policy, use: Remembered) -> None:
    """Hold a job that has not begun here against who submitted it and what came before, and have the operator asked.

    No data are read for that. What the job may spend is charged before the operator is asked, so that two jobs that
    wait at the same time cannot both have it.

    Raises:
        JobRefused: the policy or the operator does not allow the job.
    """
    spec, submitter = session.spec, _submitter(session, store)
    policy.check_job(spec)
    consent.check_part(policy, spec, settings.name)
    if not settings.simulation:
        consent.check_submitter(policy, submitter)
    use.begin()
    if policy.ask and not settings.simulation:
        length, unit = spec.length
        facts = {**_facts(session, store), f"{unit}s": length}
        answer = Approvals.of(settings).wait(session, facts)
        decided = "approved" if answer.approved else "rejected"
        session.when_there_is_room(
            lambda: store.audit.enter(decided, session.job, by=answer.by, answered=answer.at, why=answer.why)
        )
        check_answer(answer)


def _enter_consent(session: Session[JobSpec], store: Store, rows: dict[str, int]) -> None:
    """Enter into the audit log that this party takes part, before anybody hears of it."""
    digest = hashlib.sha256(codec.pack(session.spec.to_map())).hexdigest()
    store.audit.enter("accepted", session.job, **_facts(session, store), rows=rows, digest=digest)


def _facts(session: Session[JobSpec], store: Store) -> dict[str, object]:
    """What an operator wants to know of a job."""
    spec = session.spec
    part = spec.part_of(session.party)
    return {
        "name": spec.name,
        "submitter": _submitter(session, store),
        "algorithm": spec.algorithm,
        "parties": list(spec.parties),
        "dataset": part.dataset,
        "test": part.test,
        "label": spec.label_of(session.party),
        "epsilon": spec.epsilon,
    }


def _submitter(session: Session[JobSpec], store: Store) -> str:
    record = store.job(session.job)
    return "" if record is None else record.owner
